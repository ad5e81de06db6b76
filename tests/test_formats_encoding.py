"""Neutral requests in each format: the rules that a target imposes (TRANSLATION 2.4, 2.7, 3, 4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.capabilities import default_capabilities, merge
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import (
    Audio,
    Call,
    Choice,
    Document,
    Format,
    Image,
    Inline,
    Limits,
    Opaque,
    Output,
    Part,
    PlainText,
    Refusal,
    Request,
    Result,
    Sampling,
    SystemText,
    Text,
    Thinking,
    Tool,
    Turn,
    Url,
)
from llmux.formats.opaque import BYPASS_SIGNATURE
from llmux.formats.requests import REQUESTS
from llmux.formats.target import Encoded, Target

_HELLO = Turn("user", (Text("hi"),))
_LOOK = Tool("look", schema={"type": "object", "properties": {"q": {"type": "string"}}})
_PNG = Inline("image/png", "AAAA")
_SEARCH = Tool(
    "web_search", server=True, server_kind="web_search", label="tools.web_search", config={"allowed": ["e.org"]}
)


def _user(*parts: Part) -> Turn:
    return Turn("user", parts)


def _assistant(*parts: Part) -> Turn:
    return Turn("assistant", parts)


def _encode(
    upstream: Format, *turns: Turn, caps: dict[str, Any] | None = None, client: Format | None = None, **members: Any
) -> Encoded:
    client = client or ("chat" if upstream != "chat" else "anthropic")
    request = Request(client, turns=turns or (_HELLO,), **members)
    target = Target("gemini-2.5-pro", merge(default_capabilities(upstream), caps or {}))
    return REQUESTS[upstream].encode(request, target)


class RefusalCase(SynchronousTestCase):
    """Refusals carry code and path."""

    def refusal(self, code: str, param: str | None, run: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Assert that `run` is refused in this way."""
        error = self.assertRaises(RequestRefused, run, *args, **kwargs).error
        self.assertEqual((error.status, error.code, error.param), (400, code, param))


class AnthropicTests(RefusalCase):
    """Messages."""

    def _messages(self, *turns: Turn, **members: Any) -> list[Any]:
        messages: list[Any] = _encode("anthropic", *turns, **members).body["messages"]
        return messages

    def test_blankTextAndEmptyTurnsGoAndNeighboursMerge(self) -> None:
        messages = self._messages(_HELLO, _assistant(Text(" \n"), Thinking("foreign")), _user(Text(""), Text("b")))
        texts = [{"type": "text", "text": "hi"}, {"type": "text", "text": "b"}]
        self.assertEqual(messages, [{"role": "user", "content": texts}])

    def test_aPrefillLosesItsTrailingSpace(self) -> None:
        self.assertEqual(self._messages(_HELLO, _assistant(Text("so \n")))[1]["content"][0]["text"], "so")
        encoded = _encode("anthropic", _HELLO, _assistant(Text("so ")), caps={"prefill": False})
        self.assertEqual(encoded.body["messages"][2]["content"][0]["text"], "Continue.")
        self.assertEqual(encoded.warnings, ("changed:prefill",))

    def test_aConversationWithoutTextIsRefused(self) -> None:
        self.refusal("unsupported_content", "messages", _encode, "anthropic", _user(Text(" ")))

    def test_lateSystemTextStaysAfterAUserTurnWhereThereIsASlot(self) -> None:
        late = Turn("system", (Text("Short."),))
        messages = self._messages(_HELLO, late, caps={"mid_system": True})
        self.assertEqual(messages[1], {"role": "system", "content": [{"type": "text", "text": "Short."}]})
        encoded = _encode("anthropic", _HELLO, late)
        self.assertEqual(encoded.body["messages"][0]["content"][1]["text"], "<system>Short.</system>")
        self.assertEqual(encoded.warnings, ("inlined:system",))

    def test_argumentsAreObjects(self) -> None:
        for text, given, warnings in (
            ("", {}, ()),
            ("[1]", {"value": [1]}, ()),
            ('{"a":', {"_raw": '{"a":'}, ("changed:tool_arguments",)),
        ):
            encoded = _encode("anthropic", _assistant(Call("a", "look", text)), _user(Result("a", (Text(""),))))
            messages = encoded.body["messages"]
            self.assertEqual(messages[1]["content"][0]["input"], given)
            self.assertEqual(messages[2]["content"], [{"type": "tool_result", "tool_use_id": "a"}])
            self.assertEqual(encoded.warnings, warnings)

    def test_argumentsOfAWrappedSchemaAreWrapped(self) -> None:
        tool = Tool("look", schema={"anyOf": [{"type": "string"}]})
        encoded = _encode("anthropic", _assistant(Call("a", "look", '"x"')), tools=(tool,))
        self.assertEqual(encoded.body["messages"][1]["content"][0]["input"], {"value": "x"})
        self.assertEqual(encoded.body["tools"][0]["input_schema"]["required"], ["value"])

    def test_mediaThatMessagesCannotCarryIsRefused(self) -> None:
        for part in (
            Image(Inline("image/svg+xml", "AAAA"), path="p"),
            Audio(Inline("audio/wav", "AAAA"), path="p"),
            Document(Inline("application/zip", "AAAA"), path="p"),
        ):
            self.refusal("unsupported_content", "p", _encode, "anthropic", _user(part))
        picture = Image(Url("https://e.org/a.png"), path="p")
        self.refusal("unsupported_content", "p", _encode, "anthropic", _user(picture), caps={"remote_media": False})

    def test_textFilesAreTextDocuments(self) -> None:
        file = Document(Inline("text/plain", "aGk="), filename="a.txt")
        source = {"type": "text", "media_type": "text/plain", "data": "hi"}
        block = {"type": "document", "title": "a.txt", "source": source}
        self.assertEqual(self._messages(_user(file))[0]["content"], [block])

    def test_choices(self) -> None:
        cases: tuple[tuple[Choice | None, bool | None, Any], ...] = (
            (Choice("any"), None, {"type": "any"}),
            (Choice("one", ("look",)), False, {"type": "tool", "name": "look", "disable_parallel_tool_use": True}),
            (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
            (Choice("none"), False, {"type": "none"}),
            (None, True, None),
            (Choice("subset", ("look",), forced=True), None, {"type": "any"}),
        )
        for choice, parallel, written in cases:
            encoded = _encode("anthropic", tools=(_LOOK, Tool("x")), choice=choice, parallel=parallel)
            self.assertEqual(encoded.body.get("tool_choice"), written)
            self.assertEqual(len(encoded.body["tools"]), 1 if choice and choice.kind == "subset" else 2)
        self.assertNotIn("tool_choice", _encode("anthropic", choice=Choice("any"), parallel=False).body)

    def test_webSearchTravelsWithTheCapability(self) -> None:
        search = {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["e.org"]}
        self.assertEqual(_encode("anthropic", tools=(_SEARCH,), caps={"web_search": True}).body["tools"], [search])
        forced = Choice("one", server_kind="web_search")
        encoded = _encode("anthropic", tools=(_SEARCH,), choice=forced, caps={"web_search": True})
        self.assertEqual(encoded.body["tool_choice"], {"type": "tool", "name": "web_search"})
        self.refusal("unsupported_parameter", "tool_choice", _encode, "anthropic", tools=(_SEARCH,), choice=forced)

    def test_limitsAndTiers(self) -> None:
        encoded = _encode("anthropic", limits=Limits(0), tier="flex", output=Output("json", verbosity="low"))
        self.assertEqual(encoded.body["max_tokens"], 1)
        self.assertEqual(
            set(encoded.warnings),
            {"clamped:max_completion_tokens", "dropped:service_tier", "dropped:response_format", "dropped:verbosity"},
        )
        self.assertEqual(_encode("anthropic", tier="default").body["service_tier"], "standard_only")
        encoded = _encode("anthropic", limits=Limits(90), caps={"max_output": 50})
        self.assertEqual((encoded.body["max_tokens"], encoded.warnings), (50, ("clamped:max_completion_tokens",)))
        self.assertEqual(_encode("anthropic", caps={"max_output": 50}).body["max_tokens"], 50)

    def test_theVersionIsAHeader(self) -> None:
        encoded = _encode("anthropic", caps={"api_version": "2026-10-21"}, sampling=Sampling(temperature=1))
        self.assertEqual(encoded.headers, [(b"anthropic-version", b"2026-10-21")])
        self.assertEqual(encoded.warnings, ("dropped:temperature",))


class GeminiTests(RefusalCase):
    """generateContent."""

    def _contents(self, *turns: Turn, **members: Any) -> list[Any]:
        contents: list[Any] = _encode("gemini", *turns, **members).body["contents"]
        return contents

    def test_aStepWithoutASignatureGetsTheBypassOnItsFirstCall(self) -> None:
        first, second = Call("a", "look", "{}"), Call("b", "look", "{}")
        old = (_assistant(Call("o", "look", "{}")), _user(Result("o")))
        foreign = Thinking("t", Opaque("anthropic", "think", "x"))
        results = _user(Result("a"), Result("b"))
        turns = (*old, _HELLO, _assistant(foreign, first, second), results)
        contents = self._contents(*turns, caps={"signature_required": True})
        self.assertNotIn("thoughtSignature", contents[0]["parts"][0])
        self.assertEqual(contents[3]["parts"][0]["thoughtSignature"], BYPASS_SIGNATURE)
        self.assertNotIn("thoughtSignature", contents[3]["parts"][1])
        self.assertNotIn("thoughtSignature", json.dumps(self._contents(*turns)))

    def test_geminisOwnBlobNeedsNoBypass(self) -> None:
        blob = Opaque("gemini", "part", "Q2k=")
        for parts in ((Thinking("", blob), Call("a", "look", "{}")), (Call("a", "look", "{}", signature=blob),)):
            contents = self._contents(_HELLO, _assistant(*parts), caps={"signature_required": True})
            self.assertEqual(contents[1]["parts"][0]["thoughtSignature"], "Q2k=")

    def test_aBlobThatGoesBackOnATextLeavesTheCallToTheBypass(self) -> None:
        thought, call = Thinking("", Opaque("gemini", "part", "Q2k=")), Call("a", "look", "{}")
        for text, blobs in (("t", ["Q2k=", BYPASS_SIGNATURE]), (" ", ["Q2k="])):
            turn = _assistant(thought, Text(text), call)
            contents = self._contents(_HELLO, turn, caps={"signature_required": True})
            self.assertEqual([part["thoughtSignature"] for part in contents[1]["parts"]], blobs)

    def test_aBlobWithoutANextPartEndsTheTurn(self) -> None:
        blob = Opaque("gemini", "part", "Q2k=")
        parts = self._contents(_HELLO, _assistant(Text("t"), Thinking("", blob)))[1]["parts"]
        self.assertEqual(parts, [{"text": "t"}, {"text": "", "thoughtSignature": "Q2k="}])

    def test_resultsNeverShareAContent(self) -> None:
        contents = self._contents(
            _HELLO, _assistant(Call("a", "look", "{}")), _user(Result("a", (Text("[1]"),)), Text("so?"))
        )
        self.assertEqual([content["role"] for content in contents], ["user", "model", "user", "user"])
        self.assertEqual(contents[2]["parts"][0]["functionResponse"]["response"], {"output": "[1]"})

    def test_mediaOfResultsStaysWithTheCapability(self) -> None:
        turns = (_assistant(Call("a", "look", "{}")), _user(Result("a", (Text("x"), Image(_PNG)))))
        kept = self._contents(*turns, caps={"function_media": True})[1]["parts"][0]["functionResponse"]
        self.assertEqual(kept["parts"], [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}])

    def test_pathsNameModelAndVerb(self) -> None:
        self.assertEqual(
            _encode("gemini", stream=True).path, "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
        )
        caps = default_capabilities("gemini")
        for model, path in (("tunedModels/x", "/v1beta/tunedModels/x"), ("a b?c", "/v1beta/models/a%20b%3Fc")):
            encoded = REQUESTS["gemini"].encode(Request("chat", turns=(_HELLO,)), Target(model, caps))
            self.assertEqual(encoded.path, f"{path}:generateContent")

    def test_emptyContentsAreRefused(self) -> None:
        system = (SystemText("Sys."),)
        self.refusal("unsupported_content", "messages", _encode, "gemini", _user(Text("")), system=system)

    def test_choicesAndTools(self) -> None:
        encoded = _encode(
            "gemini",
            tools=(_LOOK, Tool("z"), _SEARCH),
            choice=Choice("subset", ("look",)),
            parallel=False,
            caps={"web_search": True},
            client="anthropic",
        )
        calling = {"mode": "VALIDATED", "allowedFunctionNames": ["look"]}
        self.assertEqual(encoded.body["toolConfig"], {"functionCallingConfig": calling})
        declared, search = encoded.body["tools"]
        self.assertEqual((declared["functionDeclarations"][1], search), ({"name": "z"}, {"googleSearch": {}}))
        self.assertEqual(encoded.warnings, ("dropped:disable_parallel_tool_use",))

    def test_outputAndTier(self) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        encoded = _encode(
            "gemini", output=Output("schema", schema=schema), tier="priority", caps={"schema_dialect": "openapi"}
        )
        config = encoded.body["generationConfig"]
        self.assertEqual(config["responseSchema"]["type"], "OBJECT")
        self.assertEqual((config["responseMimeType"], encoded.body["serviceTier"]), ("application/json", "priority"))

    def test_stopsBeyondFiveAreClamped(self) -> None:
        encoded = _encode("gemini", limits=Limits(stop=tuple("abcdef")))
        self.assertEqual(encoded.body["generationConfig"]["stopSequences"], list("abcde"))
        self.assertEqual(encoded.warnings, ("clamped:stop",))

    def test_remoteMediaNeedsTheCapability(self) -> None:
        picture = Image(Url("https://e.org/a.png", "image/png"), path="p")
        self.refusal("unsupported_content", "p", _encode, "gemini", _user(picture))
        contents = self._contents(_user(picture), caps={"remote_media": True})
        self.assertEqual(
            contents[0]["parts"][0], {"fileData": {"fileUri": "https://e.org/a.png", "mimeType": "image/png"}}
        )


class ResponsesTests(RefusalCase):
    """Responses."""

    def test_itemsKeepTheOrderOfTheTurn(self) -> None:
        native = Thinking("p", Opaque("openai", "enc", "rs_1|enc"))
        parts = (native, Text("a"), Text("b"), Call("c" * 70, "look", ' {"q": 1}'), Refusal("no"))
        items = _encode("responses", _HELLO, _assistant(*parts), client="anthropic").body["input"]
        self.assertEqual(
            [item["type"] for item in items[1:]],
            [
                "reasoning",
                "message",
                "function_call",
                "message",
                "function_call_output",
            ],
        )
        self.assertEqual((items[2]["content"], items[3]["arguments"]), ("ab", ' {"q": 1}'))
        self.assertEqual(items[3]["call_id"], items[5]["call_id"])
        self.assertNotIn("id", items[3])

    def test_smallLimitsAreRaised(self) -> None:
        encoded = _encode("responses", limits=Limits(3), client="gemini")
        self.assertEqual((encoded.body["max_output_tokens"], encoded.warnings), (16, ("clamped:maxOutputTokens",)))

    def test_customToolsAreNative(self) -> None:
        grammar = {"syntax": "lark", "definition": "x"}
        tool = Tool("p", custom=True, grammar=grammar)
        turns = (_assistant(Call("a", "p", "raw", custom=True)), _user(Result("a", (Text("r"),))))
        encoded = _encode("responses", *turns, tools=(tool,), choice=Choice("one", ("p",)))
        self.assertEqual(
            encoded.body["tools"], [{"type": "custom", "name": "p", "format": {"type": "grammar", **grammar}}]
        )
        self.assertEqual(encoded.body["tool_choice"], {"type": "custom", "name": "p"})
        self.assertEqual(
            [item["type"] for item in encoded.body["input"]], ["custom_tool_call", "custom_tool_call_output"]
        )

    def test_subsetsAreNative(self) -> None:
        encoded = _encode("responses", tools=(_LOOK, Tool("z")), choice=Choice("subset", ("look",), forced=True))
        allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]}
        self.assertEqual(encoded.body["tool_choice"], allowed)
        self.assertFalse(encoded.body["tools"][0]["strict"])

    def test_developersAndLateSystemTextKeepTheirRole(self) -> None:
        turns = (_HELLO, Turn("system", (Text("d"),), "developer"))
        self.assertEqual(_encode("responses", *turns).body["input"][1]["role"], "developer")
        items = _encode("responses", _user(), system=(SystemText("s"),)).body["input"]
        self.assertEqual(
            items, [{"type": "message", "role": "system", "content": [{"type": "input_text", "text": "s"}]}]
        )

    def test_whatResponsesLacksIsRefusedOrWarnedOf(self) -> None:
        self.refusal("unsupported_parameter", "n", _encode, "responses", sampling=Sampling(n=2))
        self.refusal("unsupported_parameter", "modalities", _encode, "responses", output=Output(modalities=("audio",)))
        audio = Audio(Inline("audio/wav", "AAAA"), path="p")
        self.refusal("unsupported_content", "p", _encode, "responses", _user(audio))
        encoded = _encode(
            "responses", sampling=Sampling(top_k=1, logit_bias={"1": 2}, frequency_penalty=0, logprobs=True)
        )
        self.assertEqual(set(encoded.warnings), {"dropped:top_k", "dropped:logit_bias"})
        self.assertIn("message.output_text.logprobs", encoded.body["include"])


class ChatTests(RefusalCase):
    """Chat Completions."""

    def test_listsAreJoinedWithoutTheCapability(self) -> None:
        system = (SystemText("a"), SystemText("b"), SystemText("c", unit=1))
        turns = (_user(Text("x"), Text("y")), _user(Text("x"), Image(_PNG)))
        messages = _encode("chat", *turns, system=system, caps={"content_lists": False}).body["messages"]
        self.assertEqual([message["content"] for message in messages[:3]], ["a\n\nb", "c", "x\n\ny"])
        self.assertEqual(len(messages[3]["content"]), 2)

    def test_developersKeepTheirRoleWithTheCapability(self) -> None:
        system = (SystemText("a", "developer"),)
        for able, role in ((True, "developer"), (False, "system")):
            encoded = _encode("chat", system=system, caps={"developer_role": able}, client="responses")
            self.assertEqual(encoded.body["messages"][0]["role"], role)

    def test_anAssistantTurnIsOneMessage(self) -> None:
        parts = (Thinking("hm"), Call("a", "look", ""), Text("t"), Refusal("no"))
        message = _encode("chat", _assistant(*parts), caps={"reasoning_content": True}).body["messages"][0]
        self.assertEqual((message["content"], message["refusal"], message["reasoning_content"]), ("t", "no", "hm"))
        self.assertEqual(message["tool_calls"][0]["function"], {"name": "look", "arguments": "{}"})
        self.assertNotIn("reasoning_content", _encode("chat", _assistant(*parts)).body["messages"][0])

    def test_customToolsAreFunctionsWithoutTheCapability(self) -> None:
        tool = Tool("p", custom=True, grammar={"syntax": "lark", "definition": "x"})
        turns = (_HELLO, _assistant(Call("a", "p", "raw", custom=True)))
        encoded = _encode("chat", *turns, tools=(tool,), choice=Choice("one", ("p",)), client="responses")
        self.assertEqual(encoded.body["tool_choice"]["type"], "function")
        self.assertEqual(encoded.body["messages"][1]["tool_calls"][0]["function"]["arguments"], '{"input":"raw"}')
        self.assertIn("dropped:tools.format", encoded.warnings)
        native = _encode("chat", *turns, tools=(tool,), choice=Choice("one", ("p",)), caps={"custom_tools": True})
        self.assertEqual(native.body["tools"][0]["custom"]["format"]["grammar"]["syntax"], "lark")
        self.assertEqual(native.body["messages"][1]["tool_calls"][0]["custom"], {"name": "p", "input": "raw"})
        self.assertEqual(native.body["tool_choice"], {"type": "custom", "custom": {"name": "p"}})

    def test_audioThatChatTakes(self) -> None:
        part = Audio(Inline("audio/mpeg", "AAAA"), path="p")
        content = _encode("chat", _user(part)).body["messages"][0]["content"]
        self.assertEqual(content, [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}])
        ogg = Audio(Inline("audio/ogg", "AAAA"), path="p")
        self.refusal("unsupported_content", "p", _encode, "chat", _user(ogg))

    def test_documents(self) -> None:
        text = Document(PlainText("b"), "T")
        encoded = _encode("chat", _user(text, Document(Inline("application/pdf", "AAAA"))))
        file = {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AAAA"}
        self.assertEqual(encoded.body["messages"][0]["content"][1], {"type": "file", "file": file})
        by_url = Document(Url("https://e.org/a.pdf"), path="p")
        self.refusal("unsupported_content", "p", _encode, "chat", _user(by_url))

    def test_aForcedServerToolIsRefusedAnUnforcedOneWarnedOf(self) -> None:
        tool = Tool("bash", server=True, server_kind="bash_20250124", label="tools.bash")
        self.assertEqual(_encode("chat", tools=(tool,)).warnings, ("dropped:tools.bash",))
        self.assertNotIn("tools", _encode("chat", tools=(tool,), choice=Choice("any")).body)
        self.refusal(
            "unsupported_parameter", "tool_choice", _encode, "chat", tools=(tool,), choice=Choice("one", ("bash",))
        )

    def test_optionalMembersNeedTheirCapability(self) -> None:
        encoded = _encode(
            "chat",
            sampling=Sampling(top_k=5),
            caps={"top_k": True, "max_tokens_field": "max_tokens"},
            limits=Limits(7),
            tools=(_SEARCH,),
            parallel=True,
            tier="ultrafast",
        )
        self.assertEqual((encoded.body["top_k"], encoded.body["max_tokens"]), (5, 7))
        self.assertEqual(encoded.warnings, ("dropped:service_tier", "dropped:tools.web_search"))
        self.assertNotIn("parallel_tool_calls", encoded.body)
        searching = _encode("chat", tools=(_SEARCH,), caps={"web_search": True}).body
        self.assertEqual((searching["web_search_options"], "tools" in searching), ({}, False))

    def test_strictRefusesWhatIsOtherwiseWarnedOf(self) -> None:
        request = Request("anthropic", turns=(_HELLO,), sampling=Sampling(top_k=5))
        target = Target("m", default_capabilities("chat"), strict=True)
        self.refusal("unsupported_parameter", "top_k", REQUESTS["chat"].encode, request, target)
