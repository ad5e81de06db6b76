"""The nastiest cases of streams (TRANSLATION 5.4, 6), in the shape in which a client sees them."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.neutral import Format
from tests.translation_adapter import run_stream

TAG = "llmux:1:gemini:part:QQ=="


def through(upstream: Format, client: Format, inputs: list[dict[str, Any]], request: Any = None) -> list[list[Any]]:
    """What a client gets for each message of the provider, and at the end of its stream: (event, data)."""
    vector = {
        "from": upstream,
        "to": client,
        "input": [{"data": data, "event": data.get("type")} for data in inputs],
        "context": {"request": request} if request else {},
    }
    return [[(message["event"], message["data"]) for message in turn] for turn in run_stream(vector)]


def chat(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """One chunk of Chat."""
    return {"id": "chatcmpl-9x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int, arguments: str, **start: str) -> dict[str, Any]:
    """One piece of a Chat call."""
    function: dict[str, Any] = {"arguments": arguments}
    entry: dict[str, Any] = {"index": index, "function": function}
    if start:
        entry["id"] = start["id"]
        function["name"] = start["name"]
    return {"tool_calls": [entry]}


def gemini(*parts: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """One chunk of Gemini."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "responseId": "g7"}


def short(turns: list[list[Any]]) -> list[list[str]]:
    """Messages stream events in a word each: the index and what happened."""
    out = []
    for turn in turns:
        words = []
        for name, data in turn:
            index = data.get("index", "")
            block = data.get("content_block", {})
            delta = data.get("delta", {})
            kind = block.get("type") or delta.get("type", "").removesuffix("_delta")
            value = delta.get("text") or delta.get("thinking") or delta.get("partial_json") or delta.get("signature")
            verb = str(name).removeprefix("content_block_")
            words.append(f"{verb} {index} {kind} {value or ''}".rstrip())
        out.append(words)
    return out


class FreeFormCalls(SynchronousTestCase):
    """A free-form call for a client whose format has none: its text is the member `input` (TRANSLATION 3.2)."""

    ITEM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "patch", "input": ""}
    INPUT: ClassVar[list[dict[str, Any]]] = [
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_item.added", "output_index": 0, "item": ITEM},
        {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": '"a'},
        {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": "\nb"},
        {"type": "response.output_item.done", "output_index": 0, "item": {**ITEM, "input": '"a\nb'}},
        {"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}},
    ]

    def test_aMessagesClientGetsAnObject(self) -> None:
        turns = short(through("responses", "anthropic", self.INPUT))
        self.assertEqual(turns[1:4], [["start 0 tool_use"], [], []])
        self.assertEqual(turns[4], ['delta 0 input_json {"input":"\\"a\\nb"}', "stop 0"])

    def test_aGeminiClientGetsAnObject(self) -> None:
        _, data = through("responses", "gemini", self.INPUT)[4][0]
        call = data["candidates"][0]["content"]["parts"][0]["functionCall"]
        self.assertEqual(call, {"id": "call_1", "name": "patch", "args": {"input": '"a\nb'}})


class ParallelCalls(SynchronousTestCase):
    """Two calls whose pieces alternate."""

    INPUT = [
        chat(call(0, '{"q":', id="call_1", name="look")),
        chat(call(1, '{"r":', id="call_2", name="list")),
        chat(call(0, "1")),
        chat(call(1, "2")),
        chat(call(0, "}")),
        chat(call(1, "}")),
        chat({}, "stop"),
    ]

    def test_aMessagesClientGetsTheSecondWhenTheFirstIsWhole(self) -> None:
        got = short(through("chat", "anthropic", self.INPUT)[:7])
        self.assertEqual(got[0][1:], ["start 0 tool_use", 'delta 0 input_json {"q":'])
        self.assertEqual(got[1:4], [[], ["delta 0 input_json 1"], []])
        self.assertEqual(
            got[4],
            ["delta 0 input_json }", "stop 0", "start 1 tool_use", 'delta 1 input_json {"r":', "delta 1 input_json 2"],
        )
        self.assertEqual(got[5:], [["delta 1 input_json }"], ["stop 1"]])

    def test_aGeminiClientGetsEachWhenItIsWhole(self) -> None:
        got = through("chat", "gemini", self.INPUT)
        calls = [
            (number, data["candidates"][0]["content"]["parts"][0]["functionCall"])
            for number, turn in enumerate(got)
            for _, data in turn
            if "functionCall" in data["candidates"][0]["content"]["parts"][0]
        ]
        self.assertEqual(
            calls,
            [
                (4, {"id": "call_1", "name": "look", "args": {"q": 1}}),
                (6, {"id": "call_2", "name": "list", "args": {"r": 2}}),
            ],
        )

    def test_aCutCallIsRawForGeminiAndAsItCameForTheOthers(self) -> None:
        cut = [chat(call(0, '{"q":', id="call_1", name="look")), chat({}, "length")]
        got = through("chat", "gemini", cut)
        self.assertEqual(
            got[1][0][1]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"], {"_raw": '{"q":'}
        )
        self.assertEqual(got[2][-1][1]["candidates"][0]["finishReason"], "MAX_TOKENS")
        self.assertEqual(short(through("chat", "anthropic", cut))[0][2:], ['delta 0 input_json {"q":'])
        done = through("chat", "responses", cut)[1]
        self.assertEqual([data["item"]["status"] for name, data in done if name.endswith("item.done")], ["incomplete"])

    def test_aCallWaitsForItsId(self) -> None:
        pieces: list[dict[str, Any]] = [
            {"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": '{"a"'}}]},
            {"tool_calls": [{"index": 0, "id": "call_1", "function": {"arguments": ":1}"}}]},
        ]
        got = short(through("chat", "anthropic", [*[chat(piece) for piece in pieces], chat({}, "tool_calls")]))
        self.assertEqual(got[0], ["message_start"])
        self.assertEqual(got[1], ["start 0 tool_use", 'delta 0 input_json {"a"', "delta 0 input_json :1}"])

    def test_callsWithoutIndexAreToldApartByTheirIds(self) -> None:
        pieces: list[dict[str, Any]] = [
            {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
            {"tool_calls": [{"id": "b", "function": {"name": "g", "arguments": '{"x"'}}]},
            {"tool_calls": [{"function": {"arguments": ":1}"}}]},
        ]
        got = short(through("chat", "anthropic", [*[chat(piece) for piece in pieces], chat({}, "tool_calls")]))
        self.assertEqual(got[1], ["stop 0", "start 1 tool_use", 'delta 1 input_json {"x"'])
        self.assertEqual(got[2], ["delta 1 input_json :1}"])


class Signatures(SynchronousTestCase):
    """Gemini's signatures in the slots of the others."""

    def test_theSignatureOfACallClosesTheThoughtBeforeIt(self) -> None:
        parts = gemini({"functionCall": {"name": "look", "args": {}}, "thoughtSignature": "QQ=="}, finish="STOP")
        got = short(through("gemini", "anthropic", [gemini({"text": "plan", "thought": True}), parts]))
        self.assertEqual(got[0], ["message_start", "start 0 thinking", "delta 0 thinking plan"])
        self.assertEqual(
            got[1],
            [f"delta 0 signature {TAG}", "stop 0", "start 1 tool_use", "delta 1 input_json {}", "stop 1"],
        )

    def test_withoutAThoughtAnEmptyBlockCarriesIt(self) -> None:
        got = short(through("gemini", "anthropic", [gemini({"text": "x", "thoughtSignature": "QQ=="}, finish="STOP")]))
        self.assertEqual(
            got[0],
            [
                "message_start",
                "start 0 thinking",
                f"delta 0 signature {TAG}",
                "stop 0",
                "start 1 text",
                "delta 1 text x",
                "stop 1",
            ],
        )

    def test_aLateSignatureFollowsItsText(self) -> None:
        chunks = [gemini({"text": "x"}), gemini({"text": "", "thoughtSignature": "QQ=="}, finish="STOP")]
        got = short(through("gemini", "anthropic", chunks))
        self.assertEqual(got[1], ["stop 0", "start 1 thinking", f"delta 1 signature {TAG}", "stop 1"])
        items = [data["item"] for name, data in through("gemini", "responses", chunks)[1] if name.endswith("item.done")]
        self.assertEqual([item["type"] for item in items], ["message", "reasoning"])
        self.assertEqual(items[1]["encrypted_content"], TAG)

    def test_aResponsesClientFindsItInTheItemBefore(self) -> None:
        chunks: list[dict[str, Any]] = [
            gemini({"text": "plan", "thought": True}),
            gemini({"functionCall": {"name": "look", "args": {}}, "thoughtSignature": "QQ=="}, finish="STOP"),
        ]
        items = [data["item"] for name, data in through("gemini", "responses", chunks)[1] if name.endswith("item.done")]
        self.assertEqual([item["type"] for item in items], ["reasoning", "function_call"])
        self.assertEqual(items[0]["encrypted_content"], TAG)
        self.assertEqual(items[0]["summary"], [{"type": "summary_text", "text": "plan"}])

    def test_aChatClientFindsItOnTheCall(self) -> None:
        part = {"functionCall": {"name": "look", "args": {"q": 1}}, "thoughtSignature": "QQ=="}
        got = through("gemini", "chat", [gemini(part, finish="STOP")])
        opening = got[0][1][1]["choices"][0]["delta"]["tool_calls"][0]
        self.assertEqual(opening["id"], "call_g7_0")
        self.assertEqual(opening["extra_content"], {"google": {"thought_signature": "QQ=="}})


class Odds(SynchronousTestCase):
    """Single rules."""

    def test_aFailedResponseRepeatsWhatWasSaid(self) -> None:
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {"id": "msg_01"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Ok"}},
            {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
        ]
        ((name, data),) = through("anthropic", "responses", events)[3]
        self.assertEqual(name, "response.failed")
        self.assertEqual(data["response"]["error"], {"code": "server_error", "message": "busy"})
        self.assertEqual([item["status"] for item in data["response"]["output"]], ["incomplete"])

    def test_anEmptyToolBlockIsAnEmptyObject(self) -> None:
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {"id": "msg_01"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
            {"type": "message_stop"},
        ]
        got = through("anthropic", "responses", events)
        done = [data for name, data in got[3] if name == "response.function_call_arguments.done"]
        self.assertEqual(done[0]["arguments"], "{}")
        got = through("anthropic", "gemini", events)
        self.assertEqual(got[2][0][1]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"], {})

    def test_anAnthropicStreamWithoutItsLastEventEndsIfAReasonCame(self) -> None:
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {"id": "msg_01"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        ]
        self.assertEqual(through("anthropic", "chat", events)[2][-1][1], "[DONE]")

    def test_doneWithoutAReasonIsAnEndAndEofIsNone(self) -> None:
        vector = {"from": "chat", "to": "anthropic", "context": {}}
        begun = [{"data": chat({"content": "x"})}]
        ended = run_stream({**vector, "input": [*begun, {"data": "[DONE]"}]})
        self.assertEqual(ended[1][-1]["event"], "message_stop")
        cut = run_stream({**vector, "input": begun})
        self.assertEqual([message["event"] for message in cut[1]], ["error"])

    def test_annotationsLeaveInOneChunkBeforeTheFinish(self) -> None:
        cite = {"type": "web_search_result_location", "url": "https://e.org", "title": "E", "cited_text": "x"}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "msg_01"}}]
        for index in (0, 1):
            events += [
                {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": index, "delta": {"type": "citations_delta", "citation": cite}},
                {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": "Äb"}},
                {"type": "content_block_stop", "index": index},
            ]
        events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
        annotations, finish = through("anthropic", "chat", events)[9]
        found = annotations[1]["choices"][0]["delta"]["annotations"]
        places = [(entry["url_citation"]["start_index"], entry["url_citation"]["end_index"]) for entry in found]
        self.assertEqual(places, [(0, 2), (2, 4)])
        self.assertEqual(finish[1]["choices"][0]["finish_reason"], "stop")

    def test_partialArgumentsOfVertexAreJoined(self) -> None:
        def piece(going_on: bool, *arguments: dict[str, Any], name: str | None = None) -> dict[str, Any]:
            function: dict[str, Any] = {"partialArgs": list(arguments), "willContinue": going_on}
            if name:
                function["name"] = name
            return gemini({"functionCall": function}, finish=None if going_on else "STOP")

        chunks = [
            piece(True, {"jsonPath": "$.city", "stringValue": "Bos"}, name="look"),
            piece(True, {"jsonPath": "$.city", "stringValue": "ton"}, {"jsonPath": "$.days[0]", "numberValue": 2}),
            piece(
                False,
                {"jsonPath": "$.days[5]", "numberValue": 9},
                {"jsonPath": "$['a b'].c", "stringValue": "d"},
                {"jsonPath": "$.ok", "boolValue": True},
            ),
        ]
        got = through("gemini", "chat", chunks)
        text = got[2][0][1]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]
        self.assertEqual(json.loads(text), {"city": "Boston", "days": [2], "a b": {"c": "d"}, "ok": True})

    def test_anOldClientOfFunctionsGetsItsShapeInStreamsToo(self) -> None:
        request = {"model": "m", "messages": [{"role": "user", "content": "x"}], "functions": [{"name": "look"}]}
        got = through(
            "gemini", "chat", [gemini({"functionCall": {"name": "look", "args": {}}}, finish="STOP")], request
        )
        deltas = [data["choices"][0]["delta"] for _, data in got[0]]
        self.assertEqual(deltas[1], {"function_call": {"name": "look", "arguments": ""}})
        self.assertEqual(deltas[2], {"function_call": {"arguments": "{}"}})
        self.assertEqual(got[0][3][1]["choices"][0]["finish_reason"], "function_call")
