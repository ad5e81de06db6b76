"""The real SDKs through the real daemon to every kind of vendor: four native routes and twelve crossings.

The vendors of `tests.vendors` refuse whatever the official services refuse. `python -m tests.crossings` prints the
same cases as a matrix.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.crossings.cases import CASES, FORMATS, Crossing
from tests.crossings.rig import MODELS, shared


class CrossingTests(SynchronousTestCase):
    """One test for each case, SDK and vendor, whole and streamed; all before one daemon."""


def _add(client: str, vendor: str, case: str, stream: bool) -> None:
    def test(self: object) -> None:
        CASES[case](Crossing(shared().url, client, vendor, MODELS[vendor]), stream)

    words = [client, "to", vendor, *case.replace("+", "with").split(), *(["streamed"] if stream else [])]
    test.__name__ = "test_" + words[0] + "".join(word.capitalize() for word in words[1:])
    setattr(CrossingTests, test.__name__, test)


for _client in FORMATS:
    for _vendor in FORMATS:
        for _case in CASES:
            for _stream in (False, True):
                _add(_client, _vendor, _case, _stream)
