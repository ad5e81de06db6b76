"""The upstream that costs credits: its address, its credential, and the requests that go there (SPEC 11, 13)."""

from __future__ import annotations

from dataclasses import dataclass

from llmux.headers import RawHeaders, to_upstream
from llmux.peers.secrets import UpstreamKeys
from llmux.targets import join_target, strip_query
from llmux.wire.body import RequestBody
from llmux.wire.origin import Origin
from llmux.wire.outgoing import Clocks, OutgoingRequest


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured upstream; `base_path` is what its URL puts before every target."""

    origin: Origin
    base_path: bytes
    keys: UpstreamKeys
    clocks: Clocks

    def key_for(self, client_key: str | None) -> str | None:
        """The credential that goes with requests of this client, or None when there is none."""
        return self.keys.get(client_key)

    def request(
        self,
        method: bytes,
        target: bytes,
        headers: RawHeaders,
        body: bytes | bytearray | RequestBody | None,
        *,
        client_key: str | None,
        upstream_key: str | None,
        upgrade: bytes | None = None,
    ) -> OutgoingRequest:
        """The request as the upstream gets it: path and query as received, our credential instead of the client's."""
        return OutgoingRequest(
            origin=self.origin,
            method=method,
            target=join_target(self.base_path, strip_query(target, client_key)),
            headers=to_upstream(headers, upstream_key),
            body=body,
            clocks=self.clocks,
            upgrade=upgrade,
        )
