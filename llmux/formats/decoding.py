"""What the four request decoders share: leading system messages, and one guard against endless nesting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmux.formats.losses import malformed, too_deep
from llmux.formats.neutral import Part, Request, SystemText, Text, Turn

Decoder = Callable[[Mapping[str, Any], str | None, bool | None], Request]


def guarded(decode: Decoder, body: object, url_model: str | None, stream: bool | None) -> Request:
    """Run a decoder so that it raises RequestRefused and nothing else."""
    if not isinstance(body, Mapping):
        raise malformed("", "a JSON object")
    try:
        return decode(body, url_model, stream)
    except RecursionError:
        raise too_deep() from None


def leading_system(turns: Iterable[Turn], units: int = 0) -> tuple[tuple[SystemText, ...], tuple[Turn, ...]]:
    """The system messages before the first other turn as system texts, numbered from `units`, and the other turns."""
    rest = list(turns)
    texts: list[SystemText] = []
    count = 0
    for count, turn in enumerate(rest):
        if turn.role != "system":
            break
        unit = units + count
        texts += [SystemText(part.text, turn.authority, unit) for part in turn.parts if isinstance(part, Text)]
    else:
        count = len(rest)
    return tuple(texts), tuple(rest[count:])


def merged(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with neighbours of one role joined; system turns stay apart."""
    joined: list[tuple[Turn, list[Part]]] = []
    for turn in turns:
        if joined and turn.role == joined[-1][0].role != "system":
            joined[-1][1].extend(turn.parts)
        else:
            joined.append((turn, list(turn.parts)))
    return [replace(turn, parts=tuple(parts)) for turn, parts in joined]
