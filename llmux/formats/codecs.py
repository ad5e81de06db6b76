"""The answer half of the four formats under their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmux.formats.anthropic import decode_response as anthropic_decode_response
from llmux.formats.anthropic import decode_stream as anthropic_decode_stream
from llmux.formats.anthropic import encode_response as anthropic_encode_response
from llmux.formats.anthropic import encode_stream as anthropic_encode_stream
from llmux.formats.anthropic import errors as anthropic_errors
from llmux.formats.chat import decode_response as chat_decode_response
from llmux.formats.chat import decode_stream as chat_decode_stream
from llmux.formats.chat import encode_response as chat_encode_response
from llmux.formats.chat import encode_stream as chat_encode_stream
from llmux.formats.chat import errors as chat_errors
from llmux.formats.client import ClientCtx
from llmux.formats.events import Error, Event
from llmux.formats.gemini import decode_response as gemini_decode_response
from llmux.formats.gemini import decode_stream as gemini_decode_stream
from llmux.formats.gemini import encode_response as gemini_encode_response
from llmux.formats.gemini import encode_stream as gemini_encode_stream
from llmux.formats.gemini import errors as gemini_errors
from llmux.formats.neutral import Format
from llmux.formats.responses import decode_response as responses_decode_response
from llmux.formats.responses import decode_stream as responses_decode_stream
from llmux.formats.responses import encode_response as responses_encode_response
from llmux.formats.responses import encode_stream as responses_encode_stream
from llmux.formats.responses import errors as responses_errors
from llmux.formats.stream_decoder import Decoder
from llmux.formats.stream_encoder import Encoder
from llmux.headers import RawHeaders


@dataclass(frozen=True, slots=True)
class AnswerCodec:
    """How one format reads and writes answers and errors."""

    decoder: Callable[[], Decoder]
    encoder: Callable[[ClientCtx], Encoder]
    decode_response: Callable[[dict[str, Any]], tuple[list[Event], list[str]]]
    encode_response: Callable[[Iterable[Event], ClientCtx], tuple[dict[str, Any], list[str]]]
    decode_error: Callable[[int, RawHeaders, bytes], Error]
    encode_error: Callable[[Error], tuple[int, RawHeaders, dict[str, Any]]]


ANSWERS: Mapping[Format, AnswerCodec] = {
    "chat": AnswerCodec(
        chat_decode_stream.StreamDecoder,
        chat_encode_stream.StreamEncoder,
        chat_decode_response.decode_response,
        chat_encode_response.encode_response,
        chat_errors.decode_error,
        chat_errors.encode_error,
    ),
    "responses": AnswerCodec(
        responses_decode_stream.StreamDecoder,
        responses_encode_stream.StreamEncoder,
        responses_decode_response.decode_response,
        responses_encode_response.encode_response,
        responses_errors.decode_error,
        responses_errors.encode_error,
    ),
    "anthropic": AnswerCodec(
        anthropic_decode_stream.StreamDecoder,
        anthropic_encode_stream.StreamEncoder,
        anthropic_decode_response.decode_response,
        anthropic_encode_response.encode_response,
        anthropic_errors.decode_error,
        anthropic_errors.encode_error,
    ),
    "gemini": AnswerCodec(
        gemini_decode_stream.StreamDecoder,
        gemini_encode_stream.StreamEncoder,
        gemini_decode_response.decode_response,
        gemini_encode_response.encode_response,
        gemini_errors.decode_error,
        gemini_errors.encode_error,
    ),
}
