"""The one play that every vendor's model performs; the user's words say which part of it."""

from __future__ import annotations

import hashlib
from zlib import crc32

from tests.vendors.speech import Call, Heard, Said, dumps, pieces, require

HELLO = "Héllo — a text in pieces 👋."
FORECAST = {"city": "Paris", "degrees": 18}
THOUGHT = "Both towns matter, so ask for both."
ASKED = (Call("get_weather", {"city": "Paris"}), Call("get_weather", {"city": "Zürich", "days": [1, 2]}))


def seen(mime: str, data: bytes) -> str:
    """What a model says of a picture."""
    return f"I see {mime} {hashlib.sha256(data).hexdigest()[:12]}."


def reported(results: tuple[tuple[Call, str], ...]) -> str:
    """What a model says of the results of its calls, by town."""
    return "; ".join(sorted(f"{call.arguments.get('city')}: {text}" for call, text in results))


def play(heard: Heard) -> Said:
    """What the model says to what it heard."""
    prompt = heard.prompt
    number = f"{crc32(repr(heard).encode()):08x}"
    thoughts = pieces(THOUGHT) if heard.thinking and heard.shown and "think" in prompt else ()
    thinking = heard.thinking and "think" in prompt
    if "fault:" in prompt:
        fault = prompt.partition("fault:")[2].split()[0]
        return Said(pieces(HELLO), fault=fault, number=number)
    if heard.results:
        recalled = heard.recalled or "whoever" in prompt
        require(not thinking or recalled, "the reasoning before these calls did not come back")
        return Said(pieces(reported(heard.results)), number=number)
    if "weather" in prompt:
        require("get_weather" in heard.tools, "the model was given no get_weather")
        return Said((), thoughts, ASKED, thinking=thinking, number=number)
    if "picture" in prompt:
        return Said(pieces(" ".join(seen(*image) for image in heard.images)), number=number)
    if "instructions" in prompt:
        return Said(pieces(" | ".join(heard.system)), number=number)
    if heard.schema:
        return Said(pieces(dumps(FORECAST)), number=number)
    return Said(pieces(HELLO), thoughts, thinking=thinking, number=number)
