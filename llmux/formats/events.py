"""What a model answers, as neutral events that every format decodes to and encodes from (TRANSLATION 2.3).

A decoder owns well-formedness: `Start (PartStart (Delta|Args|Sign|Cite)* PartStop | Use | Ping)* Finish+ Use? End`, or
a prefix of it followed by `Fail`. Parts are numbered in order of their `PartStart`, dense from 0 over all choices. Only
a call may still be open when another part of its choice starts. `Ground` may stand wherever `Use` may. The structs are
made per event of a stream, so they are msgspec structs: a frozen dataclass with slots costs four times as much to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from llmux.formats.neutral import Opaque

PartKind = Literal["text", "refusal", "thinking", "redacted", "call"]
StopKind = Literal[
    "end", "max", "window", "sequence", "tool", "filter", "refusal", "pause", "error", "cancelled"
]  # fmt: skip
ErrorKind = Literal[
    "invalid",
    "context",
    "too_large",
    "policy",
    "auth",
    "upstream_auth",
    "permission",
    "not_found",
    "rate",
    "quota",
    "overloaded",
    "timeout",
    "server",
    "generation",
]


class Usage(Struct, frozen=True, gc=False):
    """Token counts of one answer; `None` means that nobody said (TRANSLATION 3.5).

    `input` is everything the model read, cached or not; `output` includes reasoning.
    """

    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None
    audio_in: int | None = None
    audio_out: int | None = None
    tool_prompt: int | None = None
    web_searches: int | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a choice ended (TRANSLATION 3.6); `raw` is the provider's own word, `detail` its explanation."""

    kind: StopKind
    sequence: str | None = None
    detail: str | None = None
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Error:
    """A failure in the vocabulary of TRANSLATION 3.7.

    `status` matters for kind `server` only (500, or 502 for a gateway's page): the client's format decides the others.
    """

    kind: ErrorKind
    message: str
    status: int | None = None
    code: str | None = None
    param: str | None = None
    retry_after_s: int | None = None
    upstream_status: int | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A source of a stretch of text; `start` and `end` count characters in the joined text of the choice."""

    url: str
    title: str | None = None
    quoted: str | None = None
    start: int = 0
    end: int = 0
    opaque: str | None = None


class Start(Struct, frozen=True, gc=False):
    """The answer begins; `id` and `model` are the provider's, `created` is in Unix seconds."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    usage: Usage | None = None
    tier: str | None = None


class PartStart(Struct, frozen=True):
    """Part `i` opens; `signature` is a blob that sits on the part itself (Gemini).

    `call_id` is None for a call that came without one: the encoder then makes it (TRANSLATION 4.1). `custom` marks a
    free-form call, whose `Args` are plain text.
    """

    i: int
    kind: PartKind
    call_id: str | None = None
    name: str | None = None
    signature: Opaque | None = None
    choice: int = 0
    custom: bool = False
    namespace: str | None = None


class Delta(Struct, frozen=True):
    """A piece of text, refusal or visible thinking; never empty.

    `logprobs` are those of this piece, in the shape of Chat Completions: `{token, logprob, bytes, top_logprobs}`.
    They ride on the piece, not on their own event as in TRANSLATION 2.3, because Chat and Responses carry them so.
    """

    i: int
    text: str
    logprobs: list[dict[str, Any]] | None = None


class Args(Struct, frozen=True, gc=False):
    """A piece of the argument string of a call, unparsed; never empty."""

    i: int
    json_text: str


class Sign(Struct, frozen=True):
    """The opaque state of a part, whole; at most once per part."""

    i: int
    opaque: Opaque


class Cite(Struct, frozen=True):
    """A source for text of part `i`; may come until the choice finishes, as Gemini names its sources last."""

    i: int
    citation: Citation


class Ground(Struct, frozen=True):
    """The server searched the web for these queries."""

    choice: int
    queries: tuple[str, ...]


class PartStop(Struct, frozen=True, gc=False):
    """Part `i` is over."""

    i: int


class Use(Struct, frozen=True, gc=False):
    """A cumulative snapshot of the token counts; the last one counts."""

    usage: Usage
    tier: str | None = None


class Finish(Struct, frozen=True, gc=False):
    """A choice is over."""

    choice: int
    stop: Stop


class End(Struct, frozen=True, gc=False):
    """The provider said that it is done, or ended legally (TRANSLATION 5.1)."""


class Fail(Struct, frozen=True, gc=False):
    """The answer failed; nothing follows."""

    error: Error


class Ping(Struct, frozen=True, gc=False):
    """The provider is alive."""


Event = (
    Start | PartStart | Delta | Args | Sign | Cite | Ground | PartStop | Use | Finish | End | Fail | Ping
)  # fmt: skip
