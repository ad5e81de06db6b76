"""The cases of the matrix: what is asked through an SDK, and what it must show of the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
from google.genai.errors import APIError

from tests.crossings.talk import Talk, Told, Wants
from tests.crossings.with_anthropic import AnthropicTalk
from tests.crossings.with_google import GoogleTalk
from tests.crossings.with_openai import ChatTalk, ResponseFailed, ResponsesTalk
from tests.vendors.scene import ASKED, FORECAST, HELLO, THOUGHT, seen
from tests.vendors.speech import CACHED, INPUT, OUTPUT, REASONING, RETRY_AFTER, pieces

TALKS: Mapping[str, type[Talk]] = {
    "chat": ChatTalk,
    "responses": ResponsesTalk,
    "anthropic": AnthropicTalk,
    "gemini": GoogleTalk,
}
FORMATS = tuple(TALKS)
# Its base64 has both of the characters that the URL-safe alphabet writes otherwise.
PICTURE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) + b"\xfb\xef\xbe\xff\xff\xfe"


class Wrong(Exception):
    """An SDK showed something else than it must."""


@dataclass(frozen=True)
class Crossing:
    """One SDK format before one vendor."""

    url: str
    client: str
    vendor: str
    model: str

    @property
    def native(self) -> bool:
        """Whether nothing is translated."""
        return self.client == self.vendor

    def talk(self, **wants: Any) -> Talk:
        """A new conversation."""
        return TALKS[self.client](self.url, self.model, Wants(**wants))


def expect(what: str, got: object, wanted: object) -> None:
    """Raise Wrong unless both are equal."""
    if got != wanted:
        raise Wrong(f"{what}: {got!r} instead of {wanted!r}")


def expect_usage(told: Told, crossing: Crossing, reasoning: int = 0) -> None:
    """Check the counts."""
    expect("usage", (told.input, told.cached, told.output), (INPUT, CACHED, OUTPUT))
    if crossing.vendor != "anthropic":  # its answers do not say how many tokens were thoughts
        expect("reasoning tokens", told.reasoning, reasoning)
    expect("model", told.model.startswith(crossing.model), True)
    expect("x-llmux-body", told.headers["x-llmux-body"] == "translated", not crossing.native)


def thoughts_seen(crossing: Crossing) -> str:
    """Whether the client sees what the model thought: OpenAI shows it only on request, and Chat has no such request."""
    hidden = crossing.vendor == "chat" or (crossing.client == "chat" and crossing.vendor != "anthropic")
    return "" if hidden else THOUGHT


def plain(crossing: Crossing, stream: bool) -> None:
    """A text."""
    told = crossing.talk(stream=stream).say("Say hello.")
    expect("text", (told.text, told.stop, told.calls), (HELLO, "end", ()))
    expect_usage(told, crossing)


def system(crossing: Crossing, stream: bool) -> None:
    """A system prompt."""
    told = crossing.talk(stream=stream, system="Be brief.\n\nBe kind.").say("What are your instructions?")
    expect("text", told.text, "Be brief.\n\nBe kind.")


def picture(crossing: Crossing, stream: bool) -> None:
    """An image."""
    told = crossing.talk(stream=stream).say("What is in this picture?", PICTURE)
    expect("text", told.text, seen("image/png", PICTURE))


def schema(crossing: Crossing, stream: bool) -> None:
    """Output that follows a JSON schema."""
    told = crossing.talk(stream=stream, schema=True).say("The forecast, please.")
    expect("object", json.loads(told.text), FORECAST)


def tools(crossing: Crossing, stream: bool) -> None:
    """Two parallel calls, their results in the other order, and a third turn over the whole history."""
    _tools(crossing, stream, think=False)


def thinking(crossing: Crossing, stream: bool) -> None:
    """Thoughts before a text."""
    talk = crossing.talk(stream=stream, think=True)
    told = talk.say("Please think, then say hello.")
    expect("text", told.text, HELLO)
    expect("thinking", told.thinking, thoughts_seen(crossing))
    expect_usage(told, crossing, REASONING)
    expect("text", talk.say("And again: think.").text, HELLO)


def thinking_tools(crossing: Crossing, stream: bool) -> None:
    """Thoughts before two calls; what only the vendor can read comes back to it with their results."""
    _tools(crossing, stream, think=True)


def _tools(crossing: Crossing, stream: bool, think: bool) -> None:
    talk = crossing.talk(stream=stream, tools=True, think=think)
    told = talk.say("Please think. How is the weather?" if think else "How is the weather?")
    expect("calls", [(call.name, call.arguments) for call in told.calls], [(x.name, x.arguments) for x in ASKED])
    expect("stop", told.stop, "tool")
    expect_usage(told, crossing, REASONING if think else 0)
    if think:
        expect("thinking", told.thinking, thoughts_seen(crossing))
    results = [(call, f"{number} degrees") for number, call in enumerate(told.calls, 7)]
    ordered = crossing.client == "gemini" or crossing.vendor == "gemini"  # Gemini pairs results with calls by order
    told = talk.give(results if ordered and crossing.native else results[::-1] if told.calls[0].id else results)
    expect("text", (told.text, told.stop), ("Paris: 7 degrees; Zürich: 8 degrees", "end"))
    told = talk.say("Say hello.")
    expect("text", told.text, HELLO)


@dataclass(frozen=True)
class Failure:
    """How an SDK must fail: by one of these classes, with this status where it has one."""

    classes: tuple[type[BaseException], ...]
    status: int | None


def rate(crossing: Crossing, stream: bool) -> None:
    """A rate limit, with the time to wait."""
    openai_s, anthropic_s = (openai.RateLimitError,), (anthropic.RateLimitError,)
    by_client = {"chat": openai_s, "responses": openai_s, "anthropic": anthropic_s, "gemini": (APIError,)}
    problem = _fails(crossing, stream, "rate", Failure(by_client[crossing.client], 429))
    headers: Any = problem.response.headers
    waits = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    expect("retry-after", waits, str(RETRY_AFTER))


def overload(crossing: Crossing, stream: bool) -> None:
    """An overload: of the whole answer, or in the middle of a stream."""
    _breaks(crossing, stream, "overload")


def cut(crossing: Crossing, stream: bool) -> None:
    """A provider that breaks off in the middle."""
    _breaks(crossing, stream, "cut")


def early(crossing: Crossing, stream: bool) -> None:
    """An error as the first event of a stream, under a status of success."""
    if stream and not crossing.native:
        _fails(crossing, stream, "first", _whole("overload", crossing))


def _breaks(crossing: Crossing, stream: bool, fault: str) -> None:
    if not stream:
        wanted = _transport(crossing) if fault == "cut" and crossing.native else _whole(fault, crossing)
        _fails(crossing, stream, fault, wanted)
        return
    talk = crossing.talk(stream=True)
    try:
        told = talk.say(f"Say hello, fault:{fault} then.")
    except Exception as problem:
        wanted = _transport(crossing) if fault == "cut" and crossing.native else _streamed(crossing)
        if not isinstance(problem, wanted.classes):
            raise Wrong(f"{type(problem).__name__} instead of {wanted.classes}: {problem}") from problem
        expect("the text before", talk.partial, pieces(HELLO)[0])
    else:
        raise Wrong(f"no error was seen, but {told.text!r}")


def _fails(crossing: Crossing, stream: bool, fault: str, wanted: Failure) -> Any:
    try:
        told = crossing.talk(stream=stream).say(f"Say hello, fault:{fault} then.")
    except Exception as problem:
        if not isinstance(problem, wanted.classes):
            raise Wrong(f"{type(problem).__name__} instead of {wanted.classes}: {problem}") from problem
        status = getattr(problem, "status_code", None) or getattr(problem, "code", None)
        if wanted.status is not None:
            expect("status", status, wanted.status)
        return problem
    raise Wrong(f"no error was seen, but {told.text!r}")


def _whole(fault: str, crossing: Crossing) -> Failure:
    """The exception for an answer that fails before it began."""
    if crossing.client == "gemini":
        return Failure((APIError,), 502 if fault == "cut" else 503)
    if crossing.client == "anthropic":
        status = 529 if fault == "overload" else 502
        return Failure((anthropic.InternalServerError if status == 502 else anthropic.APIStatusError,), status)
    return Failure((openai.InternalServerError,), 502 if fault == "cut" else 503)


def _streamed(crossing: Crossing) -> Failure:
    """The exception for an error in a stream."""
    by_client: dict[str, tuple[type[BaseException], ...]] = {
        "chat": (openai.APIError,),
        "responses": (openai.APIError,) if crossing.native else (ResponseFailed,),
        "anthropic": (anthropic.APIStatusError,),
        "gemini": (APIError,),
    }
    return Failure(by_client[crossing.client], None)


def _transport(crossing: Crossing) -> Failure:
    """The exception for a connection that broke, which is what a native cut is to a client.

    Amp's shape fixes hold a native Message back until it is whole, so that this cut still gets a status.
    """
    lost = (httpx2.TransportError, openai.APIConnectionError, anthropic.APIConnectionError)
    return Failure((*lost, anthropic.InternalServerError) if crossing.client == "anthropic" else lost, None)


Case = Callable[[Crossing, bool], None]
CASES: Mapping[str, Case] = {
    "plain": plain,
    "system": system,
    "schema": schema,
    "image": picture,
    "tools": tools,
    "thinking": thinking,
    "thinking + tools": thinking_tools,
    "rate limit": rate,
    "overload": overload,
    "cut": cut,
    "early error": early,
}
