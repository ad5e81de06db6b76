"""A request whose answer is written down as it goes to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from llmux.headers import RawHeaders
from llmux.peers.capture import Capture
from llmux.wire.request import Request


class CapturedRequest:
    """Stands for the client's request: everything is its own, and what answers it is seen by a capture."""

    def __init__(self, request: Request, capture: Capture) -> None:
        self._request = request
        self._capture = capture

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return getattr(self._request, name)

    def respond(self, status: int, headers: RawHeaders, body: bytes = b"") -> None:
        """Send a whole answer."""
        self._capture.head("client-answer", status, headers)
        self._capture.data("client-data", body)
        self._request.respond(status, headers, body)

    def start(self, status: int, headers: RawHeaders, reason: bytes | None = None) -> None:
        """Begin a streaming answer."""
        self._capture.head("client-answer", status, headers)
        self._request.start(status, headers, reason)

    def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._capture.data("client-data", data)
        self._request.write(data)

    def finish(self, trailers: RawHeaders | tuple[()] = ()) -> None:
        """End the answer."""
        self._capture.over("client-data", "client-end")
        self._request.finish(trailers)

    def break_off(self) -> None:
        """Cut the answer."""
        self._capture.over("client-data", "client-cut")
        self._request.break_off()


def captured(request: Request, capture: Capture) -> Request:
    """The request for whoever answers it."""
    return cast(Request, CapturedRequest(request, capture))
