"""Counting tokens (TRANSLATION 7.3)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats import count
from llmux.formats.capabilities import default_capabilities
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import Format
from llmux.formats.target import Encoded, Target

_BODY: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9000,
    "temperature": 1,
    "system": "Sys.",
    "messages": [{"role": "user", "content": "hi"}],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "stream": True,
}


def _question(upstream: Format) -> Encoded | None:
    request = count.decode_count_request("anthropic", _BODY)
    return count.encode_count_request(request, upstream, Target("up", default_capabilities(upstream)))


class QuestionTests(SynchronousTestCase):
    """The ordinary encoding, reduced to what the endpoint knows."""

    def test_geminiWrapsTheRequest(self) -> None:
        encoded = _question("gemini")
        assert encoded is not None
        self.assertEqual(encoded.path, "/v1beta/models/up:countTokens")
        inner = encoded.body["generateContentRequest"]
        self.assertEqual(inner["model"], "models/up")
        self.assertEqual(inner["contents"], [{"role": "user", "parts": [{"text": "hi"}]}])

    def test_responsesKeepsWhatItKnows(self) -> None:
        encoded = _question("responses")
        assert encoded is not None
        self.assertEqual(encoded.path, "/v1/responses/input_tokens")
        self.assertEqual(set(encoded.body), {"model", "input", "instructions", "tools", "reasoning"})

    def test_anthropicKeepsWhatItKnows(self) -> None:
        inner = {"contents": [{"parts": [{"text": "hi"}]}], "generation_config": {"maxOutputTokens": 5}}
        for body in (inner, {"generateContentRequest": inner}, {"generate_content_request": inner}):
            request = count.decode_count_request("gemini", body, "alias")
            encoded = count.encode_count_request(request, "anthropic", Target("up", default_capabilities("anthropic")))
            assert encoded is not None
            self.assertEqual(encoded.path, "/v1/messages/count_tokens")
            self.assertEqual(set(encoded.body), {"model", "messages"})

    def test_chatCannotCount(self) -> None:
        self.assertIsNone(_question("chat"))


class AnswerTests(SynchronousTestCase):
    """Numbers in and out."""

    def test_aCountIsReadAndWritten(self) -> None:
        for upstream in ("anthropic", "gemini", "responses"):
            self.assertEqual(count.decode_count(upstream, count.encode_count(upstream, 7)), 7)
        broken: Any
        for broken in (None, [], {}, {"input_tokens": "7"}, {"input_tokens": True}, {"input_tokens": -1}):
            self.assertIsNone(count.decode_count("anthropic", broken))


class EstimateTests(SynchronousTestCase):
    """Over-estimating is the safe side."""

    def _estimate(self, body: dict[str, Any]) -> int:
        return count.estimate(count.decode_count_request("anthropic", body))

    def test_textArgumentsAndSchemasCountByBytes(self) -> None:
        self.assertEqual(self._estimate({"messages": [{"role": "user", "content": "é" * 35}]}), 20 + 4)
        call = {"type": "tool_use", "id": "a", "name": "abcdefg", "input": {}}
        self.assertEqual(self._estimate({"messages": [{"role": "assistant", "content": [call]}]}), 3 + 4)
        tools = [{"name": "abc", "description": "d", "input_schema": {"a": "b"}}]
        self.assertEqual(self._estimate({"messages": [], "tools": tools}), 4 + 10)

    def test_picturesAndPagesHaveAPrice(self) -> None:
        source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
        picture = {"type": "image", "source": source}
        result = {"type": "tool_result", "tool_use_id": "a", "content": [picture]}
        self.assertEqual(self._estimate({"messages": [{"role": "user", "content": [picture, result]}]}), 2200 + 4)
        pdf = {"type": "document", "source": {**source, "media_type": "application/pdf", "data": "AAAA" * 20000}}
        self.assertEqual(self._estimate({"messages": [{"role": "user", "content": [pdf]}]}), 3200 + 4)

    def test_endlessNestingIsRefused(self) -> None:
        nested: Any = {}
        for _ in range(5000):
            nested = {"a": nested}
        tools = [{"name": "t", "input_schema": nested}]
        self.assertRaises(RequestRefused, self._estimate, {"messages": [], "tools": tools})
