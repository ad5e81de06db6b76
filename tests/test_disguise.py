"""What an error under a status of success should have been."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.peers.disguise import disguised


class Statuses(SynchronousTestCase):
    """The status, by the error's own words."""

    def test_aNumberInTheErrorCounts(self) -> None:
        for text, status in (
            (b'{"error":{"code":400}}', 400),
            (b'{"error":{"code":"429"}}', 429),
            (b'[{"error":{"code":503,"status":"UNAVAILABLE"}}]', 503),
            (b'{"error":{"code":200}}', 500),
            (b'{"error":{"code":4000}}', 500),
        ):
            self.assertEqual(disguised(text).status, status, text)

    def test_elseItsWordsDo(self) -> None:
        for error, status in (
            ({"type": "overloaded_error"}, 529),
            ({"type": "rate_limit_error"}, 429),
            ({"type": "invalid_request_error"}, 400),
            ({"type": "invalid_request_error", "code": "invalid_api_key"}, 401),
            ({"type": "authentication_error"}, 401),
            ({"type": "permission_error"}, 403),
            ({"type": "not_found_error"}, 404),
            ({"type": "request_too_large"}, 413),
            ({"type": "api_error"}, 500),
            ({"code": "insufficient_quota"}, 402),
            ({"code": "context_length_exceeded"}, 400),
            ({"status": "RESOURCE_EXHAUSTED"}, 429),
            ({"status": "INVALID_ARGUMENT"}, 400),
            ({"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}, 401),
            ({"message": "rate_limit_error, said somebody"}, 500),
        ):
            self.assertEqual(disguised(json.dumps({"error": error}).encode()).status, status, error)

    def test_whatSaysNothingIsTheServersFault(self) -> None:
        for text in (
            b"{}",
            b"",
            b"nonsense",
            b'{"error":"no such thing"}',
            b'{"error":{}}',
            b"[]",
            b'{"error":{"code":',
        ):
            self.assertEqual(disguised(text).status, 500, text)

    @settings(max_examples=100, deadline=None)
    @given(
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(("error", "response", "code", "type", "status")), inner, max_size=4)
            ),
            max_leaves=12,
        )
    )
    def test_anyErrorHasAStatusAndABody(self, value: object) -> None:
        found = disguised(json.dumps(value).encode())
        self.assertTrue(400 <= found.status < 600 and found.document)


class Documents(SynchronousTestCase):
    """The body that goes with the status."""

    def test_anErrorInItsUsualShapeStaysAsItCame(self) -> None:
        for text in (b'{"type":"error", "error":{"type":"x"}}', b'{"error":{"code":529}}', b'[{"error":{"code":529}}]'):
            self.assertEqual(disguised(text).document, text)

    def test_whatOnlyStreamsSayIsPutAsElsewhere(self) -> None:
        error = {"code": "server_is_overloaded", "message": "busy"}
        for said in (
            {"type": "response.failed", "response": {"id": "r", "status": "failed", "error": error}},
            {"type": "error", "sequence_number": 1, **error},
        ):
            found = disguised(json.dumps(said).encode())
            self.assertEqual((found.status, json.loads(found.document)), (529, {"error": error}))

    def test_anErrorWithoutWordsHasAMessage(self) -> None:
        self.assertTrue(json.loads(disguised(b"nonsense").document)["error"]["message"])
