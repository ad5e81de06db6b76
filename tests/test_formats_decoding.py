"""Client requests as neutral ones: what each format spells its own way (TRANSLATION 3)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats import ids
from llmux.formats.anthropic.decode_request import without_billing_line
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import (
    Blocker,
    Call,
    Choice,
    Document,
    Format,
    Image,
    Inline,
    Opaque,
    PlainText,
    Reasoning,
    Redacted,
    Refusal,
    Request,
    Result,
    SystemText,
    Text,
    Thinking,
    Turn,
    Url,
    Video,
)
from llmux.formats.opaque import tag_for_gemini
from llmux.formats.requests import REQUESTS


def _decode(client: Format, **body: Any) -> Request:
    return REQUESTS[client].decode(body, None, None)


class ChatTests(SynchronousTestCase):
    """Chat Completions."""

    def test_legacyFunctionsPairByName(self) -> None:
        call = {"name": "f", "arguments": "{}"}
        messages = [
            {"role": "assistant", "content": None, "function_call": call},
            {"role": "function", "name": "f", "content": "r"},
        ]
        request = _decode("chat", messages=messages, functions=[{"name": "f"}], function_call={"name": "f"})
        call_id = ids.history_id(0, 0, "f")
        self.assertEqual(request.turns[0].parts, (Call(call_id, "f", "{}"),))
        self.assertEqual(request.turns[1].parts, (Result(call_id, (Text("r"),), "f"),))
        self.assertEqual((request.choice, request.legacy_functions), (Choice("one", ("f",)), True))
        self.assertEqual([tool.name for tool in request.tools], ["f"])

    def test_leadingSystemMessagesKeepTheirUnits(self) -> None:
        listed = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        messages = [{"role": "developer", "content": listed}, {"role": "system", "content": "c"}]
        request = _decode("chat", messages=[*messages, {"role": "user", "content": "x"}, *messages[1:]])
        texts = (SystemText("a", "developer"), SystemText("b", "developer"), SystemText("c", unit=1))
        self.assertEqual(request.system, texts)
        self.assertEqual([turn.role for turn in request.turns], ["user", "system"])

    def test_anAssistantMessageIsThoughtsTextRefusalAndCalls(self) -> None:
        call = {"id": "a", "type": "custom", "custom": {"name": "p", "input": "raw"}}
        message = {"role": "assistant", "content": "", "refusal": "no", "reasoning_content": "hm", "tool_calls": [call]}
        parts = _decode("chat", messages=[message]).turns[0].parts
        self.assertEqual(parts, (Thinking("hm"), Refusal("no"), Call("a", "p", "raw", custom=True)))

    def test_aTagAmongGeminisSignaturesKeepsItsOrigin(self) -> None:
        claude = Opaque("anthropic", "think", "EqQB")
        for written, blob in ((tag_for_gemini(claude), claude), ("Q2k=", Opaque("gemini", "part", "Q2k="))):
            call = {"id": "a", "type": "function", "function": {"name": "f"}}
            call["extra_content"] = {"google": {"thought_signature": written}}
            turn = _decode("chat", messages=[{"role": "assistant", "tool_calls": [call]}]).turns[0]
            self.assertEqual(turn.parts, (Call("a", "f", "", signature=blob),))

    def test_theNameOfTheLimitIsTheOneThatWasUsed(self) -> None:
        self.assertEqual(_decode("chat", max_tokens=5).names, {"max_tokens": "max_tokens"})
        self.assertEqual(_decode("chat", max_tokens=5, max_completion_tokens=6).limits.max_tokens, 6)

    def test_membersThatNobodyElseHasAreLost(self) -> None:
        request = _decode("chat", prediction={"type": "content", "content": "x"}, reasoning_effort="ultra")
        self.assertEqual(request.lost, ("dropped:prediction", "dropped:reasoning_effort"))
        self.assertEqual(request.reasoning, Reasoning())

    def test_filesAtTheProviderBlock(self) -> None:
        parts = [{"type": "file", "file": {"file_id": "f"}}, {"type": "unheard_of"}]
        request = _decode("chat", messages=[{"role": "user", "content": parts}])
        self.assertEqual(request.blockers, (Blocker("unsupported_content", "messages.0.content.0"),))

    def test_allowedToolsAreASubset(self) -> None:
        tools = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
        self.assertEqual(_decode("chat", tool_choice=choice).choice, Choice("subset", ("f", "g"), forced=True))

    def test_malformedMembersAreNamed(self) -> None:
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({"messages": {}}, "messages"),
            ({"messages": [{"role": "wizard"}]}, "messages.0.role"),
            ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
            ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
            ({"temperature": "hot"}, "temperature"),
            ({"tool_choice": "maybe"}, "tool_choice"),
            ({"response_format": {"type": "yaml"}}, "response_format.type"),
            ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name"),
        )
        for body, path in cases:
            self.assertEqual(self.assertRaises(RequestRefused, _decode, "chat", **body).error.param, path)


class ResponsesTests(SynchronousTestCase):
    """Responses."""

    def test_neighbouringAssistantItemsAreOneTurn(self) -> None:
        items = [
            {"type": "reasoning", "id": "rs_1", "summary": [{"text": "a"}, {"text": "b"}], "encrypted_content": "enc"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "namespace": "n"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
            {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "c"}]},
        ]
        turns = _decode("responses", input=items).turns
        thought = Thinking("a\n\nb", Opaque("openai", "enc", "rs_1|enc"))
        self.assertEqual(turns[0].parts, (thought, Text("t"), Call("c", "f", "{}", namespace="n")))
        self.assertEqual(turns[1:], (Turn("user", (Result("c", (Text("r"),)),)), Turn("assistant", (Thinking("c"),))))

    def test_stateAtTheProviderBlocks(self) -> None:
        request = _decode("responses", conversation="c", prompt={}, background=True, input=[{"type": "item_reference"}])
        params = {blocker.param for blocker in request.blockers}
        self.assertEqual(params, {"conversation", "prompt", "background", "input.0"})

    def test_itemsOfServerToolsAreDroppedByClass(self) -> None:
        kinds = ("web_search_call", "mcp_list_tools", "shell_call_output", "tool_search_call", "program")
        request = _decode("responses", input=[{"type": kind} for kind in kinds])
        self.assertEqual(set(request.lost), {"dropped:server_tool_history", "dropped:input.program"})

    def test_namespacesAreFlattened(self) -> None:
        tools = [
            {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "f"}]},
            {"type": "tool_search"},
            {"type": "web_search_preview", "search_context_size": "low"},
        ]
        request = _decode("responses", tools=tools)
        function, search, web = request.tools
        self.assertEqual((function.name, function.namespace), ("f", "ns"))
        self.assertTrue(search.silent)
        self.assertEqual(
            (web.server_kind, web.label, web.config), ("web_search", "tools.web_search_preview", {"size": "low"})
        )

    def test_lossesAndEcho(self) -> None:
        request = _decode("responses", truncation="auto", max_tool_calls=3, input="x", text={"verbosity": "low"})
        self.assertEqual(request.lost, ("dropped:max_tool_calls", "dropped:truncation"))
        self.assertEqual(request.echo, {"truncation": "auto", "text": {"verbosity": "low"}})

    def test_logprobsAreAskedForInEitherWay(self) -> None:
        self.assertTrue(_decode("responses", include=["message.output_text.logprobs"]).sampling.logprobs)
        self.assertEqual(_decode("responses", top_logprobs=2).sampling.top_logprobs, 2)

    def test_filesAreMedia(self) -> None:
        parts = [
            {"type": "input_file", "file_url": "https://e.org/a.pdf"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            {"type": "input_image", "file_id": "f"},
        ]
        request = _decode("responses", input=[{"role": "user", "content": parts}])
        by_url, inline = request.turns[0].parts
        assert isinstance(by_url, Document) and isinstance(inline, Document)
        self.assertEqual(by_url.source, Url("https://e.org/a.pdf", "application/pdf"))
        self.assertEqual((inline.filename, inline.source), ("a.pdf", Inline("application/pdf", "AAAA")))
        self.assertEqual(request.blockers, (Blocker("unsupported_content", "input.0.content.2"),))


class AnthropicTests(SynchronousTestCase):
    """Messages."""

    def test_thinkingInAllItsForms(self) -> None:
        cases: tuple[tuple[Any, Any, Reasoning], ...] = (
            ({"type": "enabled", "budget_tokens": 2000}, None, Reasoning("budget", budget=2000, show=True)),
            (
                {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
                None,
                Reasoning("budget", budget=2000, show=False),
            ),
            ({"type": "adaptive"}, None, Reasoning("auto")),
            ({"type": "adaptive", "display": "summarized"}, "high", Reasoning("effort", effort="high", show=True)),
            ({"type": "between_tools"}, None, Reasoning("auto")),
            ({"type": "disabled"}, "high", Reasoning("off")),
            (None, "low", Reasoning("effort", effort="low")),
            (None, None, Reasoning()),
        )
        for wanted, effort, reasoning in cases:
            self.assertEqual(
                _decode("anthropic", thinking=wanted, output_config={"effort": effort}).reasoning, reasoning
            )

    def test_theBillingLineGoes(self) -> None:
        for text in ("x-anthropic-billing-header: cc_version=1; cch=abc;", " cc_entrypoint=cli; cch=00000;"):
            self.assertEqual(without_billing_line(text), "")
        for text in ("You are Claude Code.", "a\ncch=1", "x" * 300 + " cch=1", " \n"):
            self.assertEqual(without_billing_line(text), text)

    def test_theTextAroundTheBillingLineStays(self) -> None:
        line = "x-anthropic-billing-header: cc_version=1; cch=abc;"
        for text, rest in (
            (f"{line}\nSys.\n\nMore.", "Sys.\n\nMore."),
            (f"Sys.\r\n  {line}\r\nMore.", "Sys.\r\nMore."),
            (f"Sys.\n{line}", "Sys.\n"),
            (f"Say {line}", f"Say {line}"),
            (f"{line}\n\n", ""),
        ):
            self.assertEqual(without_billing_line(text), rest)
        self.assertEqual(_decode("anthropic", system=f"{line}\nSys.").system, (SystemText("Sys."),))

    def test_aTextThatWasTheBillingLineAloneIsNone(self) -> None:
        system = [{"type": "text", "text": "x-anthropic-billing-header: cch=1"}, {"type": "text", "text": "Sys."}]
        self.assertEqual(_decode("anthropic", system=system).system, (SystemText("Sys."),))

    def test_blocksOfEveryKind(self) -> None:
        blocks = [
            {"type": "redacted_thinking", "data": "R"},
            {"type": "thinking", "thinking": "", "signature": "llmux:1:openai:enc:rs_1|x"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"q": 1}},
            {"type": "search_result", "title": "T", "source": "s", "content": [{"type": "text", "text": "b"}]},
            {"type": "document", "source": {"type": "content", "content": "inner"}},
            {"type": "mcp_tool_result", "tool_use_id": "x"},
            {"type": "brand_new"},
        ]
        request = _decode("anthropic", messages=[{"role": "assistant", "content": blocks}])
        path = "messages.0.content."
        parts = (
            Redacted(Opaque("anthropic", "redacted", "R")),
            Thinking("", Opaque("openai", "enc", "rs_1|x")),
            Call("a", "f", value={"q": 1}),
            Document(PlainText("b"), "T", path=path + "3"),
            Document(PlainText("inner"), path=path + "4"),
        )
        self.assertEqual(request.turns[0].parts, parts)
        self.assertEqual(request.lost, ("dropped:server_tool_history",))

    def test_filesAndContainersBlock(self) -> None:
        image = {"type": "image", "source": {"type": "file", "file_id": "f"}}
        request = _decode("anthropic", container="c", messages=[{"role": "user", "content": [image]}])
        self.assertEqual([blocker.param for blocker in request.blockers], ["container", "messages.0.content.0"])

    def test_aServerToolMayBeChosen(self) -> None:
        tools = [{"type": "web_search_20260209", "name": "web_search", "allowed_domains": ["e.org"]}]
        choice = {"type": "tool", "name": "web_search"}
        request = _decode("anthropic", tools=tools, tool_choice=choice)
        self.assertEqual(request.choice, Choice("one", ("web_search",), server_kind="web_search"))
        self.assertEqual(request.tools[0].config, {"allowed": ["e.org"]})


class GeminiTests(SynchronousTestCase):
    """generateContent."""

    def test_resultsPairByIdThenNameThenOrder(self) -> None:
        def calls(*members: dict[str, Any]) -> dict[str, Any]:
            return {"role": "model", "parts": [{"functionCall": member} for member in members]}

        def results(*members: dict[str, Any]) -> dict[str, Any]:
            return {"role": "user", "parts": [{"function_response": member} for member in members]}

        contents = [
            calls({"id": "x", "name": "f"}, {"name": "f"}, {"name": "g"}, {"name": "h"}),
            results({"name": "g"}, {"name": "f", "id": "x"}, {"name": "f"}, {"name": "other"}, {"name": "none"}),
        ]
        turns = _decode("gemini", contents=contents).turns
        answered = [part.call_id for part in turns[1].parts if isinstance(part, Result)]
        made = [ids.history_id(0, place, name) for place, name in ((2, "g"), (1, "f"), (3, "h"))]
        self.assertEqual(answered, [made[0], "x", made[1], made[2], ids.history_id(1, 4, "none")])

    def test_aLaterStepPairsWithItsOwnCalls(self) -> None:
        call, answer = {"functionCall": {"name": "f"}}, {"functionResponse": {"name": "f"}}
        step = [{"role": "model", "parts": [call, call]}, {"parts": [answer]}]
        turns = _decode("gemini", contents=step + step).turns
        answered = [part.call_id for turn in turns for part in turn.parts if isinstance(part, Result)]
        self.assertEqual(answered, [ids.history_id(0, 0, "f"), ids.history_id(2, 0, "f")])

    def test_resultBodies(self) -> None:
        bodies: tuple[tuple[Any, str, bool], ...] = (
            ({"output": "x"}, "x", False),
            ({"error": "x"}, "x", True),
            ({"error": {"a": 1}}, '{"a":1}', True),
            ({"output": {"é": 1}}, '{"output":{"é":1}}', False),
            ({"output": "x", "error": "y"}, '{"output":"x","error":"y"}', False),
            ({}, "", False),
        )
        for response, text, is_error in bodies:
            part = {"functionResponse": {"name": "f", "response": response}}
            result = _decode("gemini", contents=[{"parts": [part]}]).turns[0].parts[0]
            assert isinstance(result, Result)
            self.assertEqual((result.parts, result.is_error), ((Text(text),), is_error))

    def test_thoughtPiecesJoinTheSignatureThatFollows(self) -> None:
        tagged = "bGxtdXg6MTphbnRocm9waWM6dGhpbms6RXFRQnNpZw=="
        parts = [
            {"text": "a", "thought": True},
            {"text": "b", "thought": True},
            {"text": "", "thought": True, "thought_signature": tagged},
            {"text": "said", "thoughtSignature": "Q2k="},
            {"text": "", "thoughtSignature": "Q2k="},
        ]
        turn = _decode("gemini", contents=[{"role": "model", "parts": parts}]).turns[0]
        self.assertEqual(turn.parts, (Thinking("ab", Opaque("anthropic", "think", "EqQBsig")), Text("said")))

    def test_mediaByType(self) -> None:
        parts = [
            {"inlineData": {"mimeType": "image/jpg", "data": "_-8"}},
            {"fileData": {"fileUri": "https://e.org/x", "mimeType": "application/pdf"}},
            {"fileData": {"fileUri": "https://youtu.be/x"}},
            {"file_data": {"file_uri": "gs://b/o"}},
        ]
        request = _decode("gemini", contents=[{"parts": parts}])
        image, document, video = request.turns[0].parts
        assert isinstance(image, Image) and isinstance(document, Document) and isinstance(video, Video)
        self.assertEqual(
            (image.source, document.source), (Inline("image/jpeg", "/+8="), Url("https://e.org/x", "application/pdf"))
        )
        self.assertEqual(request.blockers, (Blocker("unsupported_content", "contents.0.parts.3"),))

    def test_choices(self) -> None:
        cases: tuple[tuple[dict[str, Any], Choice | None], ...] = (
            ({"mode": "ANY", "allowedFunctionNames": ["a"]}, Choice("one", ("a",))),
            ({"mode": "ANY", "allowed_function_names": ["a", "b"]}, Choice("subset", ("a", "b"), forced=True)),
            ({"mode": "VALIDATED", "allowedFunctionNames": ["a"]}, Choice("subset", ("a",))),
            ({"mode": "VALIDATED"}, Choice("auto")),
            ({"mode": "none"}, Choice("none")),
            ({}, None),
        )
        for config, choice in cases:
            self.assertEqual(_decode("gemini", toolConfig={"functionCallingConfig": config}).choice, choice)

    def test_thinkingInAllItsForms(self) -> None:
        cases: tuple[tuple[dict[str, Any], Reasoning], ...] = (
            ({"thinkingBudget": 0}, Reasoning("off")),
            ({"thinkingBudget": -1, "includeThoughts": True}, Reasoning("auto", show=True)),
            ({"thinking_budget": 5}, Reasoning("budget", budget=5)),
            ({"thinkingLevel": "LOW"}, Reasoning("effort", effort="low")),
            ({"includeThoughts": True}, Reasoning(show=True)),
        )
        for config, reasoning in cases:
            self.assertEqual(_decode("gemini", generationConfig={"thinkingConfig": config}).reasoning, reasoning)

    def test_cachedContentBlocks(self) -> None:
        self.assertEqual(
            _decode("gemini", cached_content="c").blockers, (Blocker("unsupported_parameter", "cachedContent"),)
        )
