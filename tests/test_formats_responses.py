"""Every vector of a whole answer, and what the vectors leave open."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.answer import Answer, translate_response
from llmux.formats.client import ClientCtx
from llmux.formats.neutral import Format, Request
from tests.translation_adapter import CREATED, FRESH_ID, client_ctx, decode_client_request, judge, run_response
from tests.vectors import translation

VECTORS = translation("response")
JUDGE = judge()


class ResponseVectors(SynchronousTestCase):
    """One test per vector."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)


def _test(vector: dict[str, Any]) -> Callable[[ResponseVectors], None]:
    def test(self: ResponseVectors) -> None:
        result = run_response(vector)
        self.assertEqual(JUDGE.compare(vector, result), [], vector["id"])
        if "warnings" in vector:
            self.assertEqual(result["warnings"], vector["warnings"], vector["id"])

    return test


for _vector in VECTORS:
    setattr(ResponseVectors, "test_" + _vector["id"].replace("-", "_"), _test(_vector))


def answer(upstream: Format, client: Format, body: Any, request: dict[str, Any] | None = None) -> Answer:
    """A whole answer for a client whose request is `request`."""
    decoded = Request(client) if request is None else decode_client_request(client, request)
    ctx = ClientCtx.of(decoded, "my-alias", upstream, "", CREATED, FRESH_ID)
    return translate_response(200, [], json.dumps(body).encode(), upstream, client, ctx)


def chat_call(name: str, arguments: str) -> dict[str, Any]:
    """A Chat answer with one call."""
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"id": "chatcmpl-9x", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


class Answers(SynchronousTestCase):
    """Rules that no visible vector holds."""

    def test_aFinishOfStopWithACallIsToolUse(self) -> None:
        body = json.loads(answer("chat", "anthropic", chat_call("look", "{}")).body)
        self.assertEqual(body["stop_reason"], "tool_use")

    def test_aMalformedGeminiCallWithoutContentIsAnError(self) -> None:
        body = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "index": 0}], "responseId": "g"}
        got = answer("gemini", "chat", body)
        self.assertEqual(got.status, 502)
        self.assertEqual(json.loads(got.body)["error"]["code"], "malformed_function_call")

    def test_thoughtsAloneAreNoContent(self) -> None:
        parts = [{"text": "x", "thought": True}]
        candidate = {"content": {"parts": parts}, "finishReason": "MALFORMED_FUNCTION_CALL", "index": 0}
        self.assertEqual(answer("gemini", "anthropic", {"candidates": [candidate]}).status, 502)

    def test_aMalformedGeminiCallWithTextIsAnEnd(self) -> None:
        candidate = {"content": {"parts": [{"text": "x"}]}, "finishReason": "MALFORMED_FUNCTION_CALL", "index": 0}
        got = answer("gemini", "chat", {"candidates": [candidate]})
        self.assertEqual(json.loads(got.body)["choices"][0]["finish_reason"], "stop")
        self.assertEqual(got.warnings, ("changed:stop_reason",))

    def test_aBlockedGeminiPromptIsAnEmptyFilteredAnswer(self) -> None:
        body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}}
        got = json.loads(answer("gemini", "anthropic", body).body)
        self.assertEqual((got["content"], got["stop_reason"]), ([], "refusal"))
        self.assertEqual(got["stop_details"]["explanation"], "SAFETY")
        self.assertEqual(got["usage"]["input_tokens"], 5)
        got = json.loads(answer("gemini", "responses", body).body)
        self.assertEqual((got["output"], got["status"]), ([], "incomplete"))
        got = json.loads(answer("gemini", "chat", body).body)
        self.assertEqual(got["choices"][0]["finish_reason"], "content_filter")

    def test_aWrappedSchemaIsUnwrapped(self) -> None:
        schema = {"oneOf": [{"type": "object", "properties": {"q": {"type": "string"}}}, {"type": "null"}]}
        request = {
            "model": "m",
            "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "look", "parameters": schema}}],
        }
        body = {
            "id": "msg_1",
            "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {"value": {"q": "ü"}}}],
            "stop_reason": "tool_use",
        }
        got = json.loads(answer("anthropic", "chat", body, request).body)
        self.assertEqual(got["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], '{"q":"ü"}')

    def test_aClientOfFunctionsGetsTheOldShape(self) -> None:
        request = {"model": "m", "messages": [{"role": "user", "content": "x"}], "functions": [{"name": "look"}]}
        body = {
            "id": "msg_1",
            "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {"q": 1}}],
            "stop_reason": "tool_use",
        }
        choice = json.loads(answer("anthropic", "chat", body, request).body)["choices"][0]
        self.assertEqual(choice["message"]["function_call"], {"name": "look", "arguments": '{"q":1}'})
        self.assertEqual(choice["finish_reason"], "function_call")

    def test_geminiOffsetsAreBytesAndTheOthersAreCharacters(self) -> None:
        candidate = {
            "content": {"parts": [{"text": "Ärger: nass"}]},
            "finishReason": "STOP",
            "index": 0,
            "groundingMetadata": {
                "groundingChunks": [{"web": {"uri": "https://e.org", "title": "E"}}],
                "groundingSupports": [
                    {"segment": {"startIndex": 8, "endIndex": 12, "text": "nass"}, "groundingChunkIndices": [0, 7]}
                ],
            },
        }
        got = json.loads(answer("gemini", "chat", {"candidates": [candidate]}).body)
        (cite,) = got["choices"][0]["message"]["annotations"]
        self.assertEqual((cite["url_citation"]["start_index"], cite["url_citation"]["end_index"]), (7, 11))
        back = json.loads(answer("chat", "gemini", {**got, "usage": None}).body)
        segment = back["candidates"][0]["groundingMetadata"]["groundingSupports"][0]["segment"]
        self.assertEqual(segment, {"startIndex": 8, "endIndex": 12, "text": "nass"})

    def test_signaturesOfGeminiReachAChatClientOnTheCall(self) -> None:
        part = {"functionCall": {"name": "look", "args": {}}, "thoughtSignature": "QQ=="}
        body = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}], "responseId": "g"}
        got = answer("gemini", "chat", body)
        (call,) = json.loads(got.body)["choices"][0]["message"]["tool_calls"]
        self.assertEqual(call["extra_content"], {"google": {"thought_signature": "QQ=="}})
        self.assertEqual(call["id"], "call_g_0")
        self.assertEqual(list(got.vault_entries), ["call_g_0"])

    def test_logprobsCrossFormats(self) -> None:
        logprobs = {
            "chosenCandidates": [{"token": "x", "logProbability": -0.5}],
            "topCandidates": [{"candidates": [{"token": "x", "logProbability": -0.5}]}],
        }
        candidate = {"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP", "logprobsResult": logprobs}
        got = json.loads(answer("gemini", "chat", {"candidates": [candidate]}).body)
        entry = got["choices"][0]["logprobs"]["content"][0]
        self.assertEqual((entry["token"], entry["logprob"], entry["bytes"]), ("x", -0.5, [120]))
        back = json.loads(answer("chat", "gemini", got).body)
        self.assertEqual(back["candidates"][0]["logprobsResult"], logprobs)

    def test_aBodyThatIsNotJsonIsAnErrorWithoutItsMarkup(self) -> None:
        vector = VECTORS[0]
        got = translate_response(200, [], b"<html>x</html>", vector["from"], vector["to"], client_ctx(vector))
        self.assertEqual(got.status, 502)
        self.assertNotIn(b"<", got.body)
