"""Blobs of other vendors do not reach a vendor on its own route (TRANSLATION 2.7)."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.neutral import Opaque
from llmux.formats.opaque import BYPASS_SIGNATURE, tag, tag_for_gemini
from llmux.rewrite.untagging import untag_request

GEMINI = Opaque("gemini", "part", "Z2VtaW5p")
OPENAI = Opaque("openai", "enc", "rs_1|secret")
CLAUDE = Opaque("anthropic", "think", "c2lnbmVk")


def written(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


class AnthropicTests(SynchronousTestCase):
    def untagged(self, *blocks: dict[str, Any], **members: Any) -> Any:
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": list(blocks)}]
        body = written({"model": "m", "messages": [*messages, {"role": "user", "content": "b"}], **members})
        return json.loads(untag_request(body, "anthropic"))

    def test_aBodyWithoutTagsIsTheSameObject(self) -> None:
        body = written({"messages": [{"role": "assistant", "content": [{"type": "thinking", "signature": "own"}]}]})
        for protocol in ("anthropic", "responses", "gemini", "chat", "completions"):
            self.assertIs(untag_request(body, protocol, signs_calls=True), body)

    def test_thinkingOfAnotherVendorGoesAndEverythingElseStays(self) -> None:
        own = {"type": "thinking", "thinking": "x", "signature": "own"}
        foreign = {"type": "thinking", "thinking": "y", "signature": tag(GEMINI)}
        hidden = {"type": "redacted_thinking", "data": tag(OPENAI)}
        text = {"type": "text", "text": 'say "llmux:1:gemini:part:x" é'}
        found = self.untagged(own, foreign, text, hidden)
        self.assertEqual(found["messages"][1]["content"], [own, text])

    def test_aTagOfAnthropicsOwnIsUnwrapped(self) -> None:
        found = self.untagged({"type": "thinking", "thinking": "x", "signature": tag(CLAUDE)})
        self.assertEqual(found["messages"][1]["content"][0]["signature"], CLAUDE.raw)

    def test_aMessageThatHeldNothingElseGoes(self) -> None:
        found = self.untagged({"type": "thinking", "thinking": "", "signature": tag(GEMINI)})
        self.assertEqual([message["content"] for message in found["messages"]], ["a", "b"])

    def test_aBudgetGoesWhenTheLastCallsWereAnotherVendors(self) -> None:
        budget = {"type": "enabled", "budget_tokens": 2000}
        foreign = {"type": "thinking", "thinking": "", "signature": tag(GEMINI)}
        call = {"type": "tool_use", "id": "toolu_1", "name": "n", "input": {}}
        cases: list[tuple[tuple[dict[str, Any], ...], dict[str, Any], bool]] = [
            ((foreign, call), budget, False),
            (({**call, "id": "call_1"},), budget, False),
            (({**call, "id": "call_1"},), {"type": "adaptive"}, True),
            (({"type": "thinking", "thinking": "x", "signature": "own"}, {**call, "id": "call_1"}), budget, True),
            ((foreign, {"type": "text", "text": "x"}), budget, True),
        ]
        for blocks, thinking, stays in cases:
            with self.subTest(blocks=blocks, thinking=thinking):
                found = self.untagged(*blocks, thinking=thinking, last=1)
                self.assertEqual((found.get("thinking"), found["last"]), (thinking if stays else None, 1))

    def test_whatIsNoJSONStays(self) -> None:
        for body in (
            b'{"messages": [ "llmux:1:',
            b'"llmux:1:"',
            b'{"messages": "\\"llmux:1:"}',
            b'{"input": 3, "llmux:1:": 1}',
        ):
            for protocol in ("anthropic", "responses"):
                self.assertEqual(untag_request(body, protocol), body)

    def test_aBudgetThatGoesIsWarnedOf(self) -> None:
        call = {"type": "tool_use", "id": "call_1", "name": "n", "input": {}}
        messages = [{"role": "assistant", "content": [call]}, {"role": "user", "content": "b"}]
        for kind, codes in (("enabled", ["dropped:reasoning_effort"]), ("adaptive", [])):
            warned: list[str] = []
            body = written({"messages": messages, "thinking": {"type": kind, "budget_tokens": 2000}})
            untag_request(body, "anthropic", warn=warned.append)
            self.assertEqual(warned, codes)


class ChatTests(SynchronousTestCase):
    def test_signaturesOfGeminiGoAndEverythingElseStays(self) -> None:
        signed = {"google": {"thought_signature": GEMINI.raw}}
        call = {"id": "call_1", "type": "function", "function": {"name": "n", "arguments": '{"thought_signature": 1}'}}
        other = {"role": "assistant", "content": "a", "extra_content": {"mine": 1}}
        for first, last in ((call, {"extra_content": signed}), ({"extra_content": signed}, call)):
            calls = [{**first, **last}, call]
            said = {"role": "assistant", "content": None, "tool_calls": calls, "extra_content": signed}
            body = written({"messages": [said, other, {"role": "user", "content": '"thought_signature"'}, 3], "n": 1.0})
            found = json.loads(untag_request(body, "chat"))
            self.assertEqual(found["messages"][0], {"role": "assistant", "content": None, "tool_calls": [call, call]})
            self.assertEqual(found["messages"][1:], json.loads(body)["messages"][1:])
            self.assertIs(untag_request(body, "chat", signs_calls=True), body)

    def test_bytesOfNoListStay(self) -> None:
        for body in (
            b'{"messages": "thought_signature"}',
            b'"thought_signature"',
            b'{"messages": ["thought_signature"]}',
        ):
            self.assertEqual(untag_request(body, "chat"), body)


class ResponsesTests(SynchronousTestCase):
    def test_reasoningOfAnotherVendorGoesAndOpenAIsOwnIsUnwrapped(self) -> None:
        foreign = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": tag(CLAUDE)}
        tagged = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": tag(OPENAI)}
        own = {"type": "reasoning", "id": "rs_0", "summary": [], "encrypted_content": "own"}
        message = {"role": "user", "content": "x"}
        body = written({"input": [message, foreign, own, tagged], "model": "m"})
        found = json.loads(untag_request(body, "responses"))
        self.assertEqual(found["input"], [message, own, {**tagged, "encrypted_content": "secret"}])


class GeminiTests(SynchronousTestCase):
    def untagged(self, *parts: dict[str, Any], signs_calls: bool = False) -> Any:
        contents = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": list(parts)}]
        return json.loads(untag_request(written({"contents": contents}), "gemini", signs_calls))["contents"][-1]

    def test_thoughtsOfAnotherVendorGo(self) -> None:
        text = {"text": "b"}
        for blob in (CLAUDE, OPENAI):
            for slot in ("thoughtSignature", "thought_signature"):
                foreign = {"text": "", "thought": True, slot: tag_for_gemini(blob)}
                self.assertEqual(self.untagged(foreign, text)["parts"], [text])

    def test_onlyTheSignatureGoesFromAPartThatSaysSomething(self) -> None:
        part = {"text": "b", "thoughtSignature": tag_for_gemini(CLAUDE)}
        self.assertEqual(self.untagged(part)["parts"], [{"text": "b"}])

    def test_theFirstCallOfAnotherVendorGetsTheBypass(self) -> None:
        first = {"functionCall": {"id": "toolu_1", "name": "n", "args": {}}}
        second = {"functionCall": {"id": "toolu_2", "name": "n", "args": {}}}
        own = {"functionCall": {"id": "abc", "name": "n", "args": {}}, "thoughtSignature": "own"}
        self.assertEqual(self.untagged(first, second)["parts"], [first, second])
        signed = {**first, "thoughtSignature": BYPASS_SIGNATURE}
        self.assertEqual(self.untagged(first, second, signs_calls=True)["parts"], [signed, second])
        self.assertEqual(self.untagged(own, second, signs_calls=True)["parts"], [own, second])
        ours = {**first, "thoughtSignature": "own"}
        self.assertEqual(self.untagged(ours, signs_calls=True)["parts"], [ours])
