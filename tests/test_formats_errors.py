"""Every error vector, and the table of kinds in all four formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.codecs import ANSWERS
from llmux.formats.events import Error, ErrorKind
from llmux.formats.neutral import Format
from tests.translation_adapter import judge, run_error
from tests.vectors import translation

VECTORS = translation("error")
JUDGE = judge()
FORMATS = tuple(ANSWERS)


class ErrorVectors(SynchronousTestCase):
    """One test per vector."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)


def _test(vector: dict[str, Any]) -> Callable[[ErrorVectors], None]:
    def test(self: ErrorVectors) -> None:
        self.assertEqual(JUDGE.compare(vector, run_error(vector)), [], vector["id"])

    return test


for _vector in VECTORS:
    setattr(ErrorVectors, "test_" + _vector["id"].replace("-", "_"), _test(_vector))

# kind -> (status, type, code) for OpenAI, (status, type) for Anthropic, (status, word) for Gemini
TABLE: dict[str, tuple[tuple[int, str, str | None], tuple[int, str], tuple[int, str]]] = {
    "invalid": ((400, "invalid_request_error", None), (400, "invalid_request_error"), (400, "INVALID_ARGUMENT")),
    "context": (
        (400, "invalid_request_error", "context_length_exceeded"),
        (400, "invalid_request_error"),
        (400, "INVALID_ARGUMENT"),
    ),
    "too_large": (
        (413, "invalid_request_error", "request_too_large"),
        (413, "invalid_request_error"),
        (413, "INVALID_ARGUMENT"),
    ),
    "policy": (
        (400, "invalid_request_error", "content_policy_violation"),
        (400, "invalid_request_error"),
        (400, "INVALID_ARGUMENT"),
    ),
    "auth": (
        (401, "invalid_request_error", "invalid_api_key"),
        (401, "authentication_error"),
        (401, "UNAUTHENTICATED"),
    ),
    "upstream_auth": ((502, "server_error", "upstream_auth"), (502, "api_error"), (502, "INTERNAL")),
    "permission": (
        (403, "invalid_request_error", "permission_denied"),
        (403, "permission_error"),
        (403, "PERMISSION_DENIED"),
    ),
    "not_found": ((404, "invalid_request_error", "model_not_found"), (404, "not_found_error"), (404, "NOT_FOUND")),
    "rate": ((429, "rate_limit_error", "rate_limit_exceeded"), (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")),
    "quota": ((429, "insufficient_quota", "insufficient_quota"), (402, "billing_error"), (429, "RESOURCE_EXHAUSTED")),
    "overloaded": ((503, "server_error", "overloaded"), (529, "overloaded_error"), (503, "UNAVAILABLE")),
    "timeout": ((504, "server_error", "timeout"), (504, "timeout_error"), (504, "DEADLINE_EXCEEDED")),
    "server": ((500, "server_error", None), (500, "api_error"), (500, "INTERNAL")),
    "generation": ((502, "server_error", None), (502, "api_error"), (502, "INTERNAL")),
}

# format, status, headers, body -> kind
DECODED: list[tuple[Format, int, Any, str]] = [
    ("anthropic", 400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9"}}, "context"),
    ("gemini", 400, {"error": {"message": "The input token count (9) exceeds the maximum"}}, "context"),
    ("chat", 400, {"error": {"message": "This model's maximum context length is 9", "code": None}}, "context"),
    ("chat", 401, {"error": {"message": "Incorrect API key provided: sk-1"}}, "upstream_auth"),
    ("anthropic", 401, {"error": {"type": "authentication_error", "message": "bad"}}, "upstream_auth"),
    ("anthropic", 403, {"error": {"type": "permission_error", "message": "no"}}, "permission"),
    ("gemini", 403, {"error": {"status": "PERMISSION_DENIED", "message": "no access to the model"}}, "permission"),
    ("gemini", 403, {"error": {"status": "PERMISSION_DENIED", "message": "API disabled"}}, "upstream_auth"),
    ("chat", 403, {"error": {"message": "Country not supported"}}, "upstream_auth"),
    ("anthropic", 402, {"error": {"type": "billing_error", "message": "pay"}}, "quota"),
    ("anthropic", 413, {"error": {"type": "request_too_large", "message": "big"}}, "too_large"),
    ("anthropic", 529, {"error": {"type": "overloaded_error", "message": "busy"}}, "overloaded"),
    ("anthropic", 504, {"error": {"type": "timeout_error", "message": "slow"}}, "timeout"),
    ("gemini", 504, {"error": {"status": "DEADLINE_EXCEEDED", "message": "slow"}}, "timeout"),
    ("gemini", 400, {"error": {"status": "FAILED_PRECONDITION", "message": "no"}}, "invalid"),
    ("responses", 400, {"error": {"code": "content_policy_violation", "message": "no"}}, "policy"),
    ("responses", 404, {"error": {"message": "no such thing"}}, "not_found"),
    ("chat", 422, {"detail": "x"}, "invalid"),
    ("chat", 408, {"error": "late"}, "timeout"),
    ("chat", 500, "<html>oops</html>", "server"),
    ("chat", 429, "", "rate"),
    ("chat", 200, {"error": {"message": "x", "code": 429}}, "rate"),
    ("gemini", 200, {"error": {"message": "x", "code": 503}}, "overloaded"),
]


class ErrorKinds(SynchronousTestCase):
    """The table of TRANSLATION 3.7."""

    def test_everyKindHasItsStatusAndWordInEveryFormat(self) -> None:
        self.assertEqual(set(TABLE), set(get_args(ErrorKind)))
        for kind, (openai, anthropic, google) in TABLE.items():
            error = Error(kind, "m")  # type: ignore[arg-type]  # the table is keyed by plain text
            for client in ("chat", "responses"):
                status, _, body = ANSWERS[client].encode_error(error)
                inner = body["error"]
                self.assertEqual((status, inner["type"], inner["code"]), openai, kind)
                self.assertEqual(set(inner), {"message", "type", "param", "code"})
            status, _, body = ANSWERS["anthropic"].encode_error(error)
            self.assertEqual((status, body["error"]["type"]), anthropic, kind)
            status, _, body = ANSWERS["gemini"].encode_error(error)
            self.assertEqual((status, body["error"]["code"], body["error"]["status"]), (google[0], *google), kind)
            self.assertEqual(next(iter(body)), "error")

    def test_statusesAndWordsTellTheKind(self) -> None:
        for upstream, status, body, kind in DECODED:
            raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            error = ANSWERS[upstream].decode_error(status, [], raw)
            self.assertEqual(error.kind, kind, (upstream, status, body))

    def test_rejectedCredentialsAreNeverQuoted(self) -> None:
        for upstream in FORMATS:
            body = json.dumps({"error": {"message": "Incorrect API key provided: sk-secret", "type": "x"}}).encode()
            error = ANSWERS[upstream].decode_error(401, [], body)
            for client in FORMATS:
                self.assertNotIn("sk-secret", json.dumps(ANSWERS[client].encode_error(error)[2]))

    def test_aGatewaysPageIsA502WithoutItsMarkup(self) -> None:
        error = ANSWERS["chat"].decode_error(500, [], b"<html>")
        status, headers, body = ANSWERS["gemini"].encode_error(error)
        self.assertEqual(status, 502)
        self.assertEqual(body["error"]["message"], "upstream returned 500 with a body that is not JSON")
        self.assertIn((b"x-llmux-upstream-status", b"500"), headers)

    def test_agentsKnowAFullContextByItsFirstWords(self) -> None:
        _, _, body = ANSWERS["anthropic"].encode_error(Error("context", "too many tokens"))
        self.assertEqual(body["error"]["message"], "prompt is too long: too many tokens")

    def test_theDelayIsRoundedUpFromEverySource(self) -> None:
        body = b'{"error":{"message":"x"}}'
        cases: list[tuple[list[tuple[bytes, bytes]], int | None]] = [
            ([(b"Retry-After", b"3")], 3),
            ([(b"retry-after-ms", b"1500"), (b"retry-after", b"9")], 2),
            ([(b"retry-after", b"Wed, 21 Oct 2026 07:28:10 GMT"), (b"date", b"Wed, 21 Oct 2026 07:28:00 GMT")], 10),
            ([(b"retry-after", b"soon")], None),
            ([], None),
        ]
        for headers, seconds in cases:
            self.assertEqual(ANSWERS["chat"].decode_error(429, headers, body).retry_after_s, seconds, headers)

    def test_rubbishNeverRaises(self) -> None:
        for upstream in FORMATS:
            for body in (b"", b"[]", b"null", b'"x"', b"\xff", b'{"error":[]}', b'{"error":{"code":{}}}', b"[" * 99999):
                for status in (200, 400, 500):
                    self.assertIsInstance(ANSWERS[upstream].decode_error(status, [], body), Error)
