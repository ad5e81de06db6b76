"""The request half of the four formats under their names.

Both steps are synchronous and touch nothing but their arguments, so a caller may run them in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmux.formats.anthropic import decode_request as anthropic_decode
from llmux.formats.anthropic import encode_request as anthropic_encode
from llmux.formats.chat import decode_request as chat_decode
from llmux.formats.chat import encode_request as chat_encode
from llmux.formats.gemini import decode_request as gemini_decode
from llmux.formats.gemini import encode_request as gemini_encode
from llmux.formats.neutral import Format, Request
from llmux.formats.responses import decode_request as responses_decode
from llmux.formats.responses import encode_request as responses_encode
from llmux.formats.target import Encoded, Target


@dataclass(frozen=True, slots=True)
class RequestCodec:
    """How one format reads and writes requests; both raise RequestRefused and nothing else.

    `decode` takes the body, the model and whether to stream (None: the body says so).
    """

    decode: Callable[[Mapping[str, Any], str | None, bool | None], Request]
    encode: Callable[[Request, Target], Encoded]


REQUESTS: Mapping[Format, RequestCodec] = {
    "chat": RequestCodec(chat_decode.decode_request, chat_encode.encode_request),
    "responses": RequestCodec(responses_decode.decode_request, responses_encode.encode_request),
    "anthropic": RequestCodec(anthropic_decode.decode_request, anthropic_encode.encode_request),
    "gemini": RequestCodec(gemini_decode.decode_request, gemini_encode.encode_request),
}
