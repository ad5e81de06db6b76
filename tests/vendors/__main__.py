"""`python -m tests.vendors [PORT]`: the vendors on loopback, until the standard input ends."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from tests.scripted import ScriptedServer
from tests.vendors.service import Vendors

reactor: Any = installed


class UntilTheEnd(Protocol):
    """Stops the reactor when nobody holds the other end of the standard input any more."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        reactor.stop()


def main() -> None:
    """Listen, say where, and serve."""
    server = ScriptedServer(Vendors())
    sys.stdout.write(f"{server.number}\n")
    sys.stdout.flush()
    StandardIO(UntilTheEnd())
    reactor.run()


if __name__ == "__main__":
    main()
