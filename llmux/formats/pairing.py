"""Tool calls and their results in the order that every vendor insists on (TRANSLATION 4.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmux.formats import ids
from llmux.formats.losses import Losses
from llmux.formats.neutral import MEDIA, Call, Part, Result, Text, Turn

NO_RESULT = "No result was provided for this tool call."


def pair(turns: Sequence[Turn], losses: Losses) -> list[Turn]:
    """The turns with all results of an assistant turn in one user turn of their own, at once and in call order.

    Looks for results up to the next assistant turn with calls; of two for one call the later counts. A call without
    one gets an error result, a result without a call becomes user text; both are warned of.
    """
    paired: list[Turn] = []
    calls: list[Call] = []
    results: dict[str, Result] = {}
    place = 0

    def close() -> None:
        if calls:
            paired[place] = Turn("user", tuple(_result_of(call, results.get(call.id), losses) for call in calls))

    for turn in turns:
        if turn.role == "assistant":
            paired.append(turn)
            made = [part for part in turn.parts if isinstance(part, Call)]
            if made:
                close()
                calls, results, place = made, {}, len(paired)
                paired.append(turn)  # `close` puts the results here
        elif turn.role == "user" and any(isinstance(part, Result) for part in turn.parts):
            open_ids = {call.id for call in calls}
            left: list[Part] = []
            for part in turn.parts:
                if not isinstance(part, Result):
                    left.append(part)
                elif part.call_id in open_ids:
                    results[part.call_id] = part
                else:
                    losses.warn("orphan:tool_result")
                    left.extend(_orphan(part))
            if left:
                paired.append(replace(turn, parts=tuple(left)))
        else:
            paired.append(turn)
    close()
    return paired


def is_results(turn: Turn) -> bool:
    """Whether this is a turn of results alone, as `pair` makes them."""
    return turn.role == "user" and bool(turn.parts) and isinstance(turn.parts[0], Result)


def result_text(result: Result) -> str:
    """The texts of a result, one per line."""
    return "\n".join(part.text for part in result.parts if isinstance(part, Text))


def _result_of(call: Call, result: Result | None, losses: Losses) -> Result:
    if result is None:
        losses.warn("missing:tool_result")
        return Result(call.id, (Text(NO_RESULT),), call.name, is_error=True, custom=call.custom)
    if result.name == call.name and result.custom == call.custom:
        return result
    return replace(result, name=call.name, custom=call.custom)


def _orphan(result: Result) -> list[Part]:
    shown = (result.name or "") if ids.is_history_id(result.call_id) else result.call_id
    text = Text(f"[tool result for unknown call {shown}]\n{result_text(result)}")
    return [text, *(part for part in result.parts if isinstance(part, MEDIA))]
