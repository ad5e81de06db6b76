"""Runs one translation vector through llmux and compares (TRANSLATION 8).

`run` also serves the vectors' own judge, started in the root of the repository: `validate.py --run
tests.translation_adapter:run`.
"""

from __future__ import annotations

import importlib.util
import json
from importlib import import_module
from types import ModuleType
from typing import Any

from llmux.formats.answer import translate_response
from llmux.formats.capabilities import default_capabilities, merge
from llmux.formats.client import ClientCtx
from llmux.formats.codecs import ANSWERS
from llmux.formats.events import Event
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import Format, Request
from llmux.formats.restoring import Restorer
from llmux.formats.target import Target
from llmux.headers import RawHeaders
from tests.grammar import EventGrammar
from tests.vectors import find

CREATED = 1760000000
FRESH_ID = "f" * 24
Vector = dict[str, Any]


def run(vector: Vector) -> Any:
    """The result in the shape that `validate.compare` takes."""
    runners = {"request": run_request, "response": run_response, "stream": run_stream, "error": run_error}
    return runners[vector["kind"]](vector)


def judge() -> ModuleType:
    """The vectors' own judge; `compare(vector, result)` gives complaints."""
    spec = importlib.util.spec_from_file_location("translation_judge", find("translation/validate.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decode_client_request(client: Format, body: dict[str, Any], path: str | None = None) -> Request:
    """A client's body decoded by its format; `path` is the URL of a Gemini request."""
    decode = import_module(f"llmux.formats.{client}.decode_request").decode_request
    url_model = stream = None
    if path is not None:
        url_model, _, verb = path.partition("?")[0].rpartition("/")[2].partition(":")
        stream = verb.startswith("stream")
    request: Request = decode(body, url_model, stream)
    return request


def client_ctx(vector: Vector) -> ClientCtx:
    """The client of a response, stream or error vector."""
    context = vector.get("context") or {}
    client: Format = vector["to"]
    raw = context.get("request")
    request = Request(client) if raw is None else decode_client_request(client, raw)
    return ClientCtx.of(request, context.get("client_model", "my-alias"), vector["from"], "", CREATED, FRESH_ID)


def raw_headers(headers: dict[str, Any] | None) -> RawHeaders:
    """Headers of a vector as they come from the wire."""
    return [(name.encode(), str(value).encode()) for name, value in (headers or {}).items()]


def raw_body(value: Any) -> bytes:
    """The body of a vector as it comes from the wire; text stands for itself."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def run_request(vector: Vector) -> dict[str, Any]:
    """A client's request for the upstream, or the refusal in the client's own shape."""
    context = vector.get("context") or {}
    target: Format = vector["to"]
    model = context.get("upstream_model", "")
    caps = merge(default_capabilities(target, model), context.get("caps") or {})
    try:
        request = decode_client_request(vector["from"], vector["input"], vector.get("input_path"))
        encoded = import_module(f"llmux.formats.{target}.encode_request").encode_request(request, Target(model, caps))
    except RequestRefused as refusal:
        status, _, body = ANSWERS[vector["from"]].encode_error(refusal.error)
        return {"error": {"status": status, "body": body}}
    return {"body": encoded.body, "path": encoded.path, "warnings": list(encoded.warnings)}


def run_response(vector: Vector) -> dict[str, Any]:
    """A provider's JSON answer for the client."""
    answer = translate_response(
        vector.get("input_status", 200),
        raw_headers(vector.get("input_headers")),
        raw_body(vector["input"]),
        vector["from"],
        vector["to"],
        client_ctx(vector),
    )
    return {"body": json.loads(answer.body), "warnings": list(answer.warnings), "status": answer.status}


def run_error(vector: Vector) -> dict[str, Any]:
    """A provider's error for the client."""
    answer = translate_response(
        vector["input_status"],
        raw_headers(vector.get("input_headers")),
        raw_body(vector["input"]),
        vector["from"],
        vector["to"],
        client_ctx(vector),
    )
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return {"status": answer.status, "headers": headers, "body": json.loads(answer.body)}


def run_stream(vector: Vector) -> list[list[dict[str, Any]]]:
    """The client's events for each event of the provider, and for the end of its stream."""
    ctx = client_ctx(vector)
    decoder = ANSWERS[vector["from"]].decoder()
    encoder = ANSWERS[vector["to"]].encoder(ctx)
    restorer = Restorer(ctx, wraps=vector["from"] == "anthropic")
    grammar = EventGrammar()

    def written(events: list[Event]) -> list[dict[str, Any]]:
        grammar.feed(events)
        out = []
        for event in restorer.feed(events):
            for name, data in encoder.feed(event):
                text = data.decode()
                out.append({"event": name, "data": text if text == "[DONE]" else json.loads(text)})
        return out

    result = []
    for message in vector["input"]:
        data = message["data"]
        text = data if isinstance(data, str) else json.dumps(data)
        result.append(written(decoder.feed(message.get("event"), text.encode())))
    result.append(written(decoder.close()))
    grammar.close()
    return result
