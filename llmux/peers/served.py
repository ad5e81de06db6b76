"""Which requests were served from own keys, for the client that asks what each of them cost (DESIGN D-50)."""

from __future__ import annotations

from collections import OrderedDict

MOST_REMEMBERED = 4096
LONGEST_ID = 128


class ServedRequests:
    """Remembers the newest request ids, up to a bound."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._ids: OrderedDict[bytes, None] = OrderedDict()

    def add(self, request_id: bytes) -> None:
        """Remember one; absurdly long ones are not worth the memory."""
        if len(request_id) > LONGEST_ID:
            return
        self._ids[request_id] = None
        self._ids.move_to_end(request_id)
        while len(self._ids) > self._most:
            self._ids.popitem(last=False)

    def __contains__(self, request_id: bytes) -> bool:
        return request_id in self._ids
