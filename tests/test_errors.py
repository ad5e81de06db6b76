"""Error answers: statuses, exact bodies, and the shapes of the four protocols."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
from google.genai import errors as google_errors
from twisted.trial.unittest import SynchronousTestCase

from llmux import errors
from llmux.errors import HTTPProblem

OPENAI = ("chat", "completions", "responses")
PROTOCOLS = (*OPENAI, "anthropic", "gemini")


def body(problem: HTTPProblem) -> Any:
    """The parsed body of an answer."""
    return json.loads(problem.body)


class FixedBodies(SynchronousTestCase):
    """The bodies that SPEC 15 spells out."""

    def test_theyAreExact(self) -> None:
        for problem, status, wanted in (
            (errors.missing_key(), 401, {"error": "Missing API key"}),
            (errors.invalid_key(), 401, {"error": "Invalid API key"}),
            (errors.forbidden_origin(), 403, {"error": "Access denied: management routes restricted to localhost"}),
            (errors.not_found(), 404, {"error": "Not found"}),
            (errors.method_not_allowed("POST"), 405, {"error": "Method not allowed"}),
            (errors.no_upstream(), 503, {"error": "amp upstream proxy not available"}),
            (errors.bridge_path_invalid(), 400, {"error": "Invalid Gemini API path format"}),
            (errors.model_not_found("gemini", "m"), 404, {"error": {"message": "Not Found", "type": "not_found"}}),
            (
                errors.upstream_failed(),
                502,
                {"error": "amp_upstream_proxy_error", "message": "Failed to reach Amp upstream"},
            ),
        ):
            self.assertEqual((problem.status, body(problem)), (status, wanted))
            self.assertIn((b"Content-Type", b"application/json"), problem.headers)

    def test_aWrongMethodNamesTheRightOnes(self) -> None:
        self.assertIn((b"Allow", b"GET, HEAD"), errors.method_not_allowed("GET, HEAD").headers)

    def test_optionsOnPassthroughIsAnEmptyRefusal(self) -> None:
        problem = errors.options_refused()
        self.assertEqual((problem.status, problem.body, problem.headers), (403, b"", []))


class Shapes(SynchronousTestCase):
    """Each protocol's own shape and words."""

    def test_typesFollowTheStatus(self) -> None:
        for status, openai_type, anthropic_type, google_status in (
            (400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
            (401, "authentication_error", "authentication_error", "UNAUTHENTICATED"),
            (403, "permission_error", "permission_error", "PERMISSION_DENIED"),
            (404, "invalid_request_error", "not_found_error", "NOT_FOUND"),
            (413, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
            (429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
            (500, "server_error", "api_error", "INTERNAL"),
            (502, "server_error", "api_error", "INTERNAL"),
            (503, "server_error", "api_error", "UNAVAILABLE"),
            (504, "server_error", "timeout_error", "DEADLINE_EXCEEDED"),
            (529, "server_error", "overloaded_error", "UNAVAILABLE"),
        ):
            for protocol in OPENAI:
                found = body(errors.problem(protocol, status, "m"))["error"]
                self.assertEqual((found["type"], found["message"], found["param"]), (openai_type, "m", None))
            wanted = {"type": "error", "error": {"type": anthropic_type, "message": "m"}}
            self.assertEqual(body(errors.problem("anthropic", status, "m")), wanted)
            found = body(errors.problem("gemini", status, "m"))["error"]
            self.assertEqual((found["code"], found["status"], found["message"]), (status, google_status, "m"))

    def test_everyProtocolNamesTheModelThatNothingServes(self) -> None:
        for protocol in PROTOCOLS:
            problem = errors.no_provider(protocol, "ghost-7(high)")
            self.assertEqual(problem.status, 503)
            self.assertIn(b"No provider available for model: ghost-7(high)", problem.body)

    def test_theRoutersRefusalIsPassedOn(self) -> None:
        problem = errors.no_provider("chat", "m", "credits are denied for m")
        self.assertEqual(body(problem)["error"]["message"], "credits are denied for m")

    def test_modelNamesAreEscaped(self) -> None:
        for name in ('a"b\\c\n', "modèle", "\ud800"):
            message = body(errors.no_provider("anthropic", name))["error"]["message"]
            self.assertEqual(message, f"No provider available for model: {name}")

    def test_aHugeModelNameIsCut(self) -> None:
        self.assertLess(len(errors.no_provider("chat", "m" * 100_000).body), 1000)

    def test_aRequestWithoutAModelIsInvalid(self) -> None:
        for protocol in PROTOCOLS:
            problem = errors.model_missing(protocol)
            self.assertEqual(problem.status, 400)
            self.assertIn(b"invalid_request_error", problem.body)

    def test_anUnknownGeminiActionIsNotFound(self) -> None:
        problem = errors.action_not_found("gem-9:explode")
        self.assertEqual(problem.status, 404)
        self.assertIn(b"gem-9:explode not found", problem.body)
        self.assertIn(b"invalid_request_error", problem.body)

    def test_aTimeoutSaysWhichClock(self) -> None:
        problem = errors.timed_out("chat", "first-byte-timeout", 600.0)
        self.assertEqual(problem.status, 504)
        self.assertIn(b"600 seconds (timeouts.first-byte)", problem.body)
        self.assertIn(b"timeouts.idle", errors.timed_out(None, "idle-timeout", 0.5).body)

    def test_limitsAndRefusalsHaveTheirStatus(self) -> None:
        for problem, status in (
            (errors.body_too_large("chat", 10), 413),
            (errors.upgrade_refused("responses"), 426),
            (errors.unsafe_path(), 400),
            (errors.provider_failed("anthropic", "mine"), 502),
            (errors.internal_error("gemini"), 500),
            (errors.model_not_found("chat", "m"), 404),
            *((errors.problem(None, status), status) for status in (400, 408, 414, 417, 431, 501, 505)),
        ):
            self.assertEqual(problem.status, status)
            self.assertTrue(body(problem)["error"])
            self.assertNotIn(b"amp_upstream", problem.body)

    def test_aProblemPrintsItsTextOnly(self) -> None:
        self.assertEqual(str(errors.invalid_key()), "Invalid API key")


class RealClients(SynchronousTestCase):
    """The SDKs read our errors as errors of their own kind."""

    def client(self, problem: HTTPProblem) -> httpx2.Client:
        def answer(request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(problem.status, headers=problem.headers, content=problem.body)

        return httpx2.Client(transport=httpx2.MockTransport(answer))

    def test_openaiRaisesTheRightClass(self) -> None:
        for problem, kind in (
            (errors.missing_key(), openai.AuthenticationError),
            (errors.model_missing("chat"), openai.BadRequestError),
            (errors.no_provider("chat", "ghost"), openai.InternalServerError),
        ):
            client = openai.OpenAI(base_url="http://t/v1", api_key="k", http_client=self.client(problem))
            raised = self.assertRaises(kind, client.chat.completions.create, model="ghost", messages=[])
            self.assertEqual(raised.status_code, problem.status)

    def test_anthropicRaisesTheRightClass(self) -> None:
        problem = errors.no_provider("anthropic", "ghost")
        client = anthropic.Anthropic(base_url="http://t", api_key="k", http_client=self.client(problem))
        raised = self.assertRaises(
            anthropic.InternalServerError, client.messages.create, model="ghost", max_tokens=1, messages=[]
        )
        self.assertIn("No provider available for model: ghost", str(raised))

    def test_googleReadsCodeStatusAndMessage(self) -> None:
        found = google_errors.ServerError(503, body(errors.no_provider("gemini", "ghost")))
        self.assertEqual((found.code, found.status), (503, "UNAVAILABLE"))
        self.assertEqual(found.message, "No provider available for model: ghost")
