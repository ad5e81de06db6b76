"""A model request in no vendor's dialect: what every decoder makes and every encoder reads (TRANSLATION 2.2).

`None` means "not said", which differs from 0, False and `auto`. Paths (`path`) name the member in the client's own
body, dot separated, so that a refusal can point at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Format: TypeAlias = Literal["chat", "responses", "anthropic", "gemini"]
Vendor: TypeAlias = Literal["anthropic", "openai", "gemini"]
Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Opaque:
    """State that only its vendor can read and that it wants back (TRANSLATION 2.7).

    `kind`: think (an Anthropic thinking signature), redacted (Anthropic redacted data), enc (OpenAI, `raw` is
    `<item id>|<encrypted content>`), part (a Gemini thought signature as on the wire, base64).
    """

    origin: Vendor
    kind: Literal["think", "redacted", "enc", "part"]
    raw: str = field(repr=False)


# ---------------------------------------------------------------------------------------------------------- sources


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes in the body; `data` is standard base64 with padding."""

    mime: str
    data: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Url:
    """Something the model service fetches itself; llmux never does."""

    url: str = field(repr=False)
    mime: str | None = None


@dataclass(frozen=True, slots=True)
class PlainText:
    """A document that is text."""

    text: str = field(repr=False)
    mime: str = "text/plain"


Source: TypeAlias = Inline | Url | PlainText


# ------------------------------------------------------------------------------------------------------------ parts


@dataclass(frozen=True, slots=True)
class Text:
    """Visible text. `signature` is a blob that sits on the part itself (Gemini)."""

    text: str = field(repr=False)
    signature: Opaque | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model's words when it declines."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Image:
    """A picture; `detail` as OpenAI spells it (low, high, auto, original)."""

    source: Source
    detail: str | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A file to read: pdf, text and what the target takes besides."""

    source: Source
    title: str | None = None
    filename: str | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound; `source` is inline with an `audio/*` type, or a URL."""

    source: Source
    path: str = ""


@dataclass(frozen=True, slots=True)
class Video:
    """Moving pictures; only Gemini takes them."""

    source: Source
    path: str = ""


@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning text, perhaps empty, with the blob that proves it."""

    text: str = field(repr=False)
    signature: Opaque | None = None


@dataclass(frozen=True, slots=True)
class Redacted:
    """Reasoning that nobody may read: the blob alone (kind redacted)."""

    signature: Opaque


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. `arguments` is the text as the client sent it, or None when it sent an object (`value`).

    For `custom` (free-form) calls `arguments` is the input itself, not JSON. An id that begins with NUL is one that
    the client's history lacked (ids.history_id); `ids.fit` turns it into a real one.
    """

    id: str
    name: str
    arguments: str | None = field(default=None, repr=False)
    value: Any = field(default=None, repr=False)
    custom: bool = False
    namespace: str | None = None
    signature: Opaque | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool call gave: texts and media."""

    call_id: str
    parts: tuple[Part, ...] = field(default=(), repr=False)
    name: str | None = None
    is_error: bool = False
    custom: bool = False


Media: TypeAlias = Image | Document | Audio | Video
Part: TypeAlias = Text | Refusal | Media | Thinking | Redacted | Call | Result
MEDIA = (Image, Document, Audio, Video)


# ---------------------------------------------------------------------------------------------------------- request


@dataclass(frozen=True, slots=True)
class SystemText:
    """One leading system text; texts with the same `unit` came in one message or list."""

    text: str = field(repr=False)
    authority: Literal["system", "developer"] = "system"
    unit: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One message; `authority` matters for role system only."""

    role: Literal["user", "assistant", "system"]
    parts: tuple[Part, ...]
    authority: Literal["system", "developer"] = "system"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool definition. `server` tools are run by the vendor; `server_kind` is `web_search` or the client's type name.

    `custom` tools take free text; `grammar` is OpenAI's `{syntax, definition}` for it. `label` is its name in a
    warning (`dropped:<label>`). `silent` server tools vanish without one.
    """

    name: str
    description: str | None = None
    schema: Json | None = field(default=None, repr=False)
    strict: bool | None = None
    custom: bool = False
    grammar: Json | None = field(default=None, repr=False)
    namespace: str | None = None
    server: bool = False
    server_kind: str = ""
    label: str = ""
    silent: bool = False
    config: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tools the model may or must call. `names` has one entry for `one`, any number for `subset`.

    `forced` says whether a `subset` is any (True) or auto (False).
    """

    kind: Literal["auto", "none", "any", "one", "subset"]
    names: tuple[str, ...] = ()
    forced: bool = False
    server_kind: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn, and how many answers are wanted."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Json | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the answer ends; tokens and texts."""

    max_tokens: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How much the model thinks: mode `effort` has `effort`, mode `budget` has `budget` (tokens).

    `show`: whether the client asked to see thoughts.
    """

    mode: Literal["default", "off", "auto", "effort", "budget"] = "default"
    effort: str | None = None
    budget: int | None = None
    show: bool | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """The form of the answer; `modalities` holds only those beyond text (audio, image), lower case."""

    kind: Literal["text", "json", "schema"] = "text"
    name: str | None = None
    schema: Json | None = field(default=None, repr=False)
    strict: bool | None = None
    description: str | None = None
    verbosity: str | None = None
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blocker:
    """A member that no other format can honour: every translation of this request is refused with it."""

    code: Literal["unsupported_parameter", "unsupported_content"]
    param: str


@dataclass(frozen=True, slots=True)
class Request:
    """One decoded request of a client.

    `format` is the client's. `names` overrides the client's word for a field in warnings and refusals (losses.py).
    `lost` are the warning codes that hold for every target; `blockers` the refusals that do. `echo` holds the raw
    members that a Responses answer repeats. `legacy_functions`: a Chat client that sent `functions`. `tier` is in
    OpenAI's words.
    """

    format: Format
    model: str = ""
    stream: bool = False
    want_usage: bool = False
    system: tuple[SystemText, ...] = ()
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    choice: Choice | None = None
    parallel: bool | None = None
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    reasoning: Reasoning = Reasoning()
    output: Output = Output()
    user: str | None = field(default=None, repr=False)
    cache_key: str | None = field(default=None, repr=False)
    tier: str | None = None
    lost: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    echo: Json = field(default_factory=dict, repr=False)
    legacy_functions: bool = False
