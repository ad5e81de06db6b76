"""Every request vector: the client's request as the upstream gets it, or the refusal in the client's shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.jsontext import dump_body
from tests import vectors
from tests.translation_adapter import judge, run_request

REQUEST_VECTORS = vectors.translation("request")
_compare = judge().compare


class RequestVectorTests(SynchronousTestCase):
    """One method per vector, made below."""

    def test_thereAreVectors(self) -> None:
        """An empty folder would prove nothing."""
        self.assertGreater(len(REQUEST_VECTORS), 0)


def _method(vector: dict[str, Any]) -> Callable[[RequestVectorTests], None]:
    def check(self: RequestVectorTests) -> None:
        result = run_request(vector)
        if "body" in result:
            result["body"] = json.loads(dump_body(result["body"]))
        complaints = _compare(vector, result)
        self.assertEqual(complaints, [], f"{vector['id']}: {vector.get('why')}\n" + "\n".join(complaints))

    return check


for _vector in REQUEST_VECTORS:
    setattr(RequestVectorTests, "test_" + _vector["id"].replace("-", "_"), _method(_vector))
