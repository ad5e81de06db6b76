"""`llmux replay FILE`: what a captured request would become now, beside what it became then."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import succeed

from llmux.config import Config
from llmux.daemon.commands.asking import add_config, configuration
from llmux.daemon.commands.printing import Command, print_json
from llmux.errors import HTTPProblem
from llmux.formats.losses import RequestRefused
from llmux.headers import RawHeaders, redact
from llmux.peers.call import ModelCall, native_request
from llmux.peers.capture import Captures, secrets_of
from llmux.peers.credentials import Credential, Credentials
from llmux.peers.credits import DailyCredits
from llmux.peers.generation import Generation, Lasting, build
from llmux.peers.secrets import UpstreamKeys
from llmux.peers.translation import decoded, translated_request
from llmux.peers.vault import Vault
from llmux.rewrite.cleaning import clean
from llmux.routing.decision import RoutingRequest
from llmux.routing.extractor import ModelExtractor
from llmux.web.matching import Match, Matcher, MethodNotAllowed, NotFound
from llmux.web.routes import ROUTES
from llmux.web.verbs import wanted
from llmux.wire.outgoing import OutgoingRequest

LARGEST_FILE = 256 * 1024 * 1024


class Unreadable(Exception):
    """The file is no capture; the text says why."""


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a file from the capture directory")
    add_config(parser)


def _run(options: argparse.Namespace) -> int:
    config = configuration(options.config)
    try:
        records = read(Path(options.file))
        then, now = before(records), after(records, config)
    except (Unreadable, HTTPProblem) as problem:
        print(f"llmux: {options.file}: {problem}", file=sys.stderr)
        return 1
    changed = differing(then, now)
    if options.json:
        print_json({"then": then, "now": now, "changed": changed})
    else:
        print("\n".join(report(then, now)))
    return 0


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a capture; raises Unreadable."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise Unreadable("it is too large")
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as problem:
        raise Unreadable(problem.strerror or "it cannot be read") from None
    except ValueError:
        raise Unreadable("it is no capture") from None
    if not records or not all(isinstance(record, dict) and "side" in record for record in records):
        raise Unreadable("it is no capture")
    if records[0]["side"] != "client-request":
        raise Unreadable("it does not begin with a request")
    return records


def before(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What became of the request then: the decision, and what was sent to whom."""
    found: dict[str, Any] = {"route": None, "reason": None, "sent": []}
    for record in records:
        if record["side"] == "decision":
            found |= {"route": record.get("route"), "reason": record.get("reason")}
        elif record["side"] == "provider-request":
            names = ("provider", "target", "headers", "body")
            found["sent"].append({name: record.get(name) for name in names})
    return found


def after(records: list[dict[str, Any]], config: Config) -> dict[str, Any]:
    """What would become of it now: the decision by the live code, and what each candidate would be sent."""
    request = records[0]
    target = str(request["target"]).encode("utf-8", "replace")
    headers: RawHeaders = [(str(name).encode(), str(value).encode()) for name, value in request["headers"]]
    body = str(request["body"]).encode("utf-8", "backslashreplace")
    generation = build(config, 1, lasting())
    match = _match(target)
    want = wanted(match)
    cleaned = clean(body)
    model = ModelExtractor().peek(cleaned, None, match.raw, want.protocol == "gemini")
    if model.model is None:
        raise Unreadable("the request names no model")
    force = config.ampcode.force_model_mappings
    decision = generation.router.resolve(RoutingRequest(model.model, want.protocol, force=force))
    call = ModelCall(
        generation=generation,
        protocol=want.protocol,
        verb=want.verb,
        action=want.action,
        target=target,
        headers=headers,
        body=cleaned,
        encoded=None,
        stream=want.action == "streamGenerateContent" if want.action else model.stream,
        client_key=None,
        requested_model=model.model,
        decision=decision,
    )
    sent = list(_sent(call, generation, [*secrets_of(config)]))
    return {"route": decision.route_type.value, "reason": decision.reason, "sent": sent}


def lasting() -> Lasting:
    """What outlives configurations, all of it empty."""
    return Lasting(
        Credentials(time.time),
        DailyCredits(time.time),
        UpstreamKeys(time.time, lambda: None, {}),
        Vault(),
        Captures(lambda *arguments: succeed(None)),
    )


def _match(target: bytes) -> Match:
    try:
        return Matcher(ROUTES).match("POST", target.partition(b"?")[0])
    except (NotFound, MethodNotAllowed):
        raise Unreadable("its path is that of no model route any more") from None


def _sent(call: ModelCall, generation: Generation, secrets: list[str]) -> Iterator[dict[str, Any]]:
    """What each candidate would be sent, without secrets as in a capture."""
    for attempt in call.decision.attempts:
        provider = generation.providers[attempt.candidate.provider]
        if provider.config.kind == "demo":
            continue
        credential = Credential(provider.config.name, None)
        try:
            if attempt.candidate.native:
                request: OutgoingRequest = native_request(call, provider, credential, attempt)[0]
            else:
                request = translated_request(call, decoded(call), provider, credential, attempt, Vault(), 0, "0" * 24)[
                    0
                ]
        except RequestRefused as problem:
            yield {"provider": provider.config.name, "refused": str(problem)}
            continue
        body = request.body
        yield {
            "provider": provider.config.name,
            "target": request.target.decode("latin-1"),
            "headers": [
                (name.decode("latin-1"), redact(value, secrets).decode("latin-1")) for name, value in request.headers
            ],
            "body": bytes(body).decode("utf-8", "backslashreplace") if isinstance(body, bytes | bytearray) else None,
        }


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which of decision, provider, target and body differ between then and now, for the first request of each."""
    found = [name for name in ("route", "reason") if then[name] != now[name]]
    first, second = _first(then), _first(now)
    return found + [name for name in ("provider", "target", "body") if first.get(name) != second.get(name)]


def _first(found: Mapping[str, Any]) -> dict[str, Any]:
    """The first request that was, or would be, sent; empty when none is."""
    sent: list[dict[str, Any]] = found["sent"]
    return sent[0] if sent else {}


def report(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The comparison for people: the decision, then the first request's differences line by line."""
    for name in ("route", "reason"):
        same = then[name] == now[name]
        yield f"{name:<7} {now[name]}" if same else f"{name:<7} {then[name]}\n     ->  {now[name]}"
    old, new = list(_lines(_first(then))), list(_lines(_first(now)))
    if old == new:
        yield "the provider would be sent the same" if old else "no provider is asked"
        return
    yield ""
    yield from difflib.unified_diff(old, new, "then", "now", lineterm="", n=2)


def _lines(request: Mapping[str, Any]) -> Iterator[str]:
    if not request:
        return
    yield f"provider: {request['provider']}"
    if "refused" in request:
        yield f"refused: {request['refused']}"
        return
    yield f"target: {request['target']}"
    hidden = ("authorization", "x-api-key", "x-goog-api-key")
    yield from sorted(f"{name.lower()}: {value}" for name, value in request["headers"] if name.lower() not in hidden)
    try:
        yield from json.dumps(json.loads(request["body"] or ""), indent=1, ensure_ascii=False).splitlines()
    except ValueError:
        yield str(request["body"])


COMMAND = Command("replay", "show how a captured request would be decided and sent now", _add, _run)
