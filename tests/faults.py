"""What can be wrong with an upstream or a provider: where its name leads, and how it answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet import reactor as installed

from tests.answering import body_of, pairs_of, send
from tests.harness import Harness
from tests.scripted import Seen

reactor: Any = installed
IMPATIENT = {"connect": 0.2, "tls": 0.2, "first-byte": 0.2, "idle": 0.2}
_WORDS: tuple[tuple[str, str], ...] = (
    (r"dns|resol|unknown_host", "dns"),
    (r"tls_timeout|handshake_timeout", "tls-timeout"),
    (r"tls|certificate|ssl", "tls"),
    (r"connect_?timeout|connect_times_out|blackhole", "connect-timeout"),
    (
        r"(stalls|hangs|silent|idle|timeout|times_out).*(mid|body|stream)|(mid|body|stream).*(stall|timeout|idle)",
        "idle",
    ),
    (r"timeout|times_out|hangs|silent|never_answers|no_answer|slow", "timeout"),
    (r"(reset|abort|rst).*(mid|body|stream)|(mid|body|stream).*(reset|abort|rst)", "reset-mid-body"),
    (r"mid|truncat|short_body|cut|breaks_off|incomplete|dies", "close-mid-body"),
    (r"reset|abort|rst", "reset"),
    (r"clos|disconnect|hangs_up|drops|empty", "close"),
    (r"garbage|not_http|no_http|broken|invalid|malformed|bad_", "garbage"),
    (r"refus|unreach|down|offline", "refused"),
)
GARBAGE = b"SSH-2.0-OpenSSH_9.9\r\n\r\n"
PARTIAL = b'{"partial":'


def fault_of(scenario: str) -> str | None:
    """The kind of fault that the rest of a scenario's name means; None when the peer just answers."""
    return next((fault for pattern, fault in _WORDS if re.search(pattern, scenario)), None)


def url_of(harness: Harness, name: str, fault: str | None, response: Mapping[str, Any]) -> str:
    """Set up a peer that has a fault (None: it answers `response`) and give its URL."""
    if fault == "dns":
        return f"http://{name}.invalid"
    if fault == "tls":
        harness.impostor(name)
        return f"https://{name}"
    if fault == "connect-timeout":
        harness.network.name(name, None)
    elif fault == "refused":
        harness.network.refuse(name)
    else:
        harness.server(name, answer_of(fault, response))
    return f"https://{name}" if fault == "tls-timeout" else f"http://{name}"


def answer_of(fault: str | None, response: Mapping[str, Any]) -> Callable[[Seen], None]:
    """The script of a server with this fault."""

    def silent(seen: Seen) -> None:
        """Say nothing."""

    def garbage(seen: Seen) -> None:
        seen.write(GARBAGE)

    def well(seen: Seen) -> None:
        send(seen, response, "application/json")

    def partly(end: Callable[[Seen], None]) -> Callable[[Seen], None]:
        def answer(seen: Seen) -> None:
            begin(seen, response)
            end(seen)

        return answer

    scripts: dict[str | None, Callable[[Seen], None]] = {
        "timeout": silent,
        "close": Seen.close,
        "reset": Seen.cut,
        "garbage": garbage,
        "close-mid-body": partly(Seen.close),
        "reset-mid-body": partly(cut_later),
        "idle": partly(silent),
    }
    return scripts.get(fault, well)


def cut_later(seen: Seen) -> None:
    """Reset, but not before what was written has arrived: a RST overtakes it."""
    reactor.callLater(0.05, seen.cut)


def begin(seen: Seen, response: Mapping[str, Any]) -> None:
    """Send a head and the first part of its body: chunked if the headers say so or it is a stream, else by length."""
    headers = [(name, value) for name, value in pairs_of(response.get("headers")) if name.lower() != "content-length"]
    names = {name.lower(): value.lower() for name, value in headers}
    part = body_of(response) or PARTIAL
    if "content-type" not in names:
        headers.append(("Content-Type", "application/json"))
    chunked = "transfer-encoding" in names or "event-stream" in names.get("content-type", "")
    if chunked and "transfer-encoding" not in names:
        headers.append(("Transfer-Encoding", "chunked"))
    if not chunked:
        headers.append(("Content-Length", str(len(part) + 100)))
    lines = [f"HTTP/1.1 {response.get('status', 200)} Scripted", *(f"{name}: {value}" for name, value in headers)]
    seen.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
    if chunked:
        seen.chunk(part)
    else:
        seen.write(part)
