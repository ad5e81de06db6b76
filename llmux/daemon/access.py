"""The access log: one line for each request that is over, without its query, which can hold a key."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from llmux.routing.decision import one_line
from llmux.web.accounts import CLIENT_GONE
from llmux.wire.request import Request
from llmux.wire.server import HTTPServer

LONGEST_PATH = 512  # characters


class AccessLog:
    """Logs what a server answers from now on; `seconds` gives the time."""

    log = Logger()

    def __init__(self, server: HTTPServer, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._begun: dict[Request, float] = {}
        self._handler = server.handler
        server.handler = self._begin
        server.over = self._over

    def _begin(self, request: Request) -> None:
        self._begun[request] = self._seconds()
        self._handler(request)

    def _over(self, request: Request) -> None:
        """The seconds are those since the request's head was there."""
        now = self._seconds()
        self.log.info(
            "{peer} {method} {path} {status} {size} B {seconds} s {end}",
            peer=request.peer or "-",
            method=request.method.decode("latin-1"),
            path=path_of(request),
            status=request.status or CLIENT_GONE,
            size=request.bytes_sent,
            seconds=round(max(0.0, now - self._begun.pop(request, now)), 3),
            end=end_of(request),
        )


def path_of(request: Request) -> str:
    """The path on one line."""
    text = one_line(request.path.decode("latin-1"))
    return text if len(text) <= LONGEST_PATH else f"{text[:LONGEST_PATH]}..."


def end_of(request: Request) -> str:
    """How an answer ended: `whole`, `cut`, or `left` by the client."""
    if request.broken:
        return "cut"
    return "left" if request.gone and request.status < 400 else "whole"
