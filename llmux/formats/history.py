"""Rearranges paired turns for targets that have fewer places to put things (TRANSLATION 3.2, 4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmux.formats import ids
from llmux.formats.losses import Losses
from llmux.formats.neutral import MEDIA, Audio, Call, Document, Format, Image, Part, Result, Text, Turn, Video
from llmux.formats.pairing import is_results

CONTINUE = Turn("user", (Text("Continue."),))


def move_media(turns: Sequence[Turn], target: Format, losses: Losses, of_tools: bool, of_assistant: bool) -> list[Turn]:
    """Put media of tool results and of assistant turns in front of the next user turn, each behind a marker text."""
    moved: list[Turn] = []
    held: list[Part] = []
    for turn in turns:
        if is_results(turn):
            moved.append(_without_tool_media(turn, target, held, losses) if of_tools else turn)
            continue
        if held and turn.role == "user":
            turn = replace(turn, parts=(*held, *turn.parts))
            held = []
        elif held:
            moved.append(Turn("user", tuple(held)))
            held = []
        if of_assistant and turn.role == "assistant" and any(isinstance(part, MEDIA) for part in turn.parts):
            losses.warn("moved:assistant_media")
            for part in turn.parts:
                if isinstance(part, MEDIA):
                    held += [Text(f"[{_word(part)} from the previous assistant turn]"), part]
            turn = replace(turn, parts=tuple(part for part in turn.parts if not isinstance(part, MEDIA)))
        moved.append(turn)
    if held:
        moved.append(Turn("user", tuple(held)))
    return moved


def _without_tool_media(turn: Turn, target: Format, held: list[Part], losses: Losses) -> Turn:
    results: list[Part] = []
    for result in turn.parts:
        if isinstance(result, Result) and any(isinstance(part, MEDIA) for part in result.parts):
            losses.warn("moved:tool_media")
            for part in result.parts:
                if isinstance(part, MEDIA):
                    held += [Text(f"[{_word(part)} returned by tool call {ids.fit(result.call_id, target)}]"), part]
            result = replace(result, parts=tuple(part for part in result.parts if not isinstance(part, MEDIA)))
        results.append(result)
    return replace(turn, parts=tuple(results))


def inline_system(turns: Sequence[Turn], losses: Losses, keep_after_user: bool = False) -> list[Turn]:
    """Put late system messages into user turns; with `keep_after_user` those directly after a user turn stay."""
    inlined: list[Turn] = []
    for turn in turns:
        if turn.role == "system" and not (keep_after_user and inlined and inlined[-1].role == "user"):
            losses.warn("inlined:system")
            texts = tuple(Text(f"<system>{part.text}</system>") for part in turn.parts if isinstance(part, Text))
            turn = Turn("user", texts)
        inlined.append(turn)
    return inlined


def answer_prefill(turns: list[Turn], allowed: bool, losses: Losses) -> list[Turn]:
    """Let the conversation end with a user turn if the target cannot go on from an assistant's."""
    if allowed or not turns or turns[-1].role != "assistant":
        return turns
    losses.warn("changed:prefill")
    return [*turns, CONTINUE]


def last_call_turn(turns: Sequence[Turn]) -> Turn | None:
    """The last assistant turn with calls of the client's tools."""
    for turn in reversed(turns):
        if turn.role == "assistant" and any(isinstance(part, Call) for part in turn.parts):
            return turn
    return None


def _word(part: Image | Document | Audio | Video) -> str:
    return type(part).__name__.lower()
