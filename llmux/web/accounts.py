"""What each model request came to: its account is opened with the decision and closed when the answer is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from twisted.logger import Logger

from llmux.config.secret import Secret
from llmux.errors import HTTPProblem
from llmux.formats.events import Usage
from llmux.peers.ledger import Ledger
from llmux.peers.tries import Answer
from llmux.routing.decision import RoutingDecision
from llmux.usage import NOTHING, StreamWatcher, Watcher
from llmux.web.tally import Tally
from llmux.web.vigil import Vigil

CLIENT_GONE = 499  # the status of a request whose client left before there was one


class Counting(Protocol):
    """Whoever knows the token counts of an answer."""

    @property
    def usage(self) -> Usage: ...


class Settled(NamedTuple):
    """Counts that do not change any more."""

    usage: Usage


class Answering(Protocol):
    """The client's request, as far as it tells how its answer ended."""

    @property
    def status(self) -> int: ...

    @property
    def gone(self) -> bool: ...

    @property
    def broken(self) -> bool: ...


class Account:
    """One request. `began` is when it was there as a whole, `first` when the first byte of its answer came; seconds.

    `see` is to be called with each piece of the answer as it came. `counting` is whoever knows the token counts.
    `failed` is set for an answer that told an error in its last words, `overhead` when there is an answer: the seconds
    until then that were not waited for providers. A `with` statement closes it.
    """

    log = Logger()
    # Not set before they are needed: these are most of what an account would cost.
    credential: Secret | None = None
    failed = False
    overhead = -1.0
    first = 0.0
    pieces = 0
    stream: Vigil | None = None
    counting: Counting | None = None
    _watcher: Watcher | StreamWatcher | None = None
    vigil: Vigil | None = None

    def __init__(
        self,
        accounts: Accounts,
        began: float,
        decision: RoutingDecision,
        client_key: str | None,
        request: Answering,
        generates: bool,
    ) -> None:
        self._accounts = accounts
        self.began = began
        self.decision = decision
        self.client_key = client_key
        self._request = request
        self.generates = generates
        self.provider = decision.provider or ""
        self.model = decision.resolved_model

    def answered(self, answer: Answer, vigil: Vigil | None) -> None:
        """A provider's answer is about to go to the client; `vigil` watches over it if it is a stream."""
        self.provider = answer.provider.config.name
        self.model = answer.attempt.candidate.model
        self.credential = answer.credential.key
        self.overhead = self._accounts.seconds() - self.began - answer.waited
        self.stream = vigil

    def watch(self, protocol: str, status: int, vigil: Vigil | None = None) -> Callable[[bytes], None]:
        """Read an answer of this format as it passes, and let `vigil` see it; gives what is to see every piece."""
        self.vigil = vigil
        if status < 400 and self.generates:
            self.counting = self._watcher = Watcher(protocol) if vigil is None else StreamWatcher(protocol)
        return self.see

    def see(self, data: bytes) -> None:
        """Take notice of a piece of the answer."""
        if not self.pieces:
            self.first = self._accounts.seconds()
        self.pieces += 1
        if self.vigil is not None:
            self.vigil.see(data)
        if self._watcher is not None:
            self._watcher.see(data)

    def whole(self) -> bool:
        """Whether the answer ended as its format says, as far as anybody knows."""
        return self.vigil is None or self.vigil.ended_well

    @property
    def usage(self) -> Usage:
        """The token counts as far as they were told."""
        return NOTHING if self.counting is None else self.counting.usage

    def __enter__(self) -> Account:
        """Close it at the end of a `with` statement."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """The request is over; a problem that was raised has the status that is yet to be sent."""
        status = error.status if isinstance(error, HTTPProblem) else self._request.status
        try:
            self._accounts.close(self, status, self._request)
        except Exception:
            # The client's answer may yet have to be written, and is worth more than its account (HOSTILE 2, rule 15).
            self.log.failure("while counting a request")


class Accounts:
    """Opens accounts, and brings those that are closed to the ledger and to the metrics; `seconds` gives the time."""

    def __init__(self, ledger: Ledger | None, tally: Tally, seconds: Callable[[], float]) -> None:
        self._ledger = ledger
        self._tally = tally
        self.seconds = seconds

    def open(
        self, began: float, decision: RoutingDecision, client_key: str | None, request: Answering, generates: bool
    ) -> Account:
        """A request was decided; `generates` is False for the question how many tokens it has."""
        return Account(self, began, decision, client_key, request, generates)

    def close(self, account: Account, status: int, request: Answering) -> None:
        """A request is over, whatever came of it."""
        aborted = request.gone and not request.broken
        if not status:
            status = CLIENT_GONE if request.gone else 500
        failed = not aborted and (account.failed or request.broken or status >= 400)
        now = self.seconds()
        route_type: str = account.decision.route_type._value_
        usage = None
        if account.counting is not None:
            usage = account.counting.usage
            account.counting = Settled(usage)
        first_byte = max(0.0, account.first - account.began) if account.pieces and status < 400 else None
        if self._ledger is not None and account.generates:
            self._ledger.add(
                route_type,
                account.provider,
                account.model,
                account.credential,
                account.client_key,
                failed=failed,
                aborted=aborted,
                usage=usage,
                first_byte=first_byte,
            )
        tally = self._tally
        tally.add(
            route_type,
            account.provider,
            account.model,
            status,
            aborted=aborted,
            duration=max(0.0, now - account.began),
            first_byte=first_byte,
            usage=usage,
        )
        if account.overhead >= 0.0:
            tally.overhead.observe(account.overhead)
        if account.stream is not None and account.pieces > 1:
            gap = max(0.0, now - account.first) / (account.pieces - 1)
            tally.stream(account.provider, gap, account.stream.longest)
