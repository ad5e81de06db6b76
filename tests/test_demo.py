"""The demo provider, read by the real SDKs of all formats, and its pace."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import anthropic
import httpx2
import openai
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google_types
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.headers import RawHeaders
from llmux.peers.demo.answers import DemoAnswer, answer
from llmux.peers.demo.exchange import Demo, DemoExchange
from llmux.peers.demo.script import INTRODUCTION, count_words, example
from llmux.wire.outgoing import UpstreamFailure

PATHS = {
    "/v1/messages": ("anthropic", "generate"),
    "/v1/messages/count_tokens": ("anthropic", "count"),
    "/v1/chat/completions": ("chat", "generate"),
    "/v1/completions": ("completions", "generate"),
    "/v1/responses": ("responses", "generate"),
    "/v1/responses/input_tokens": ("responses", "count"),
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "days", "unit"],
}
ARGUMENTS = {"city": "example", "days": 1, "unit": "C"}
HELLO = "hello there"
SAID = f"You said: {HELLO} - {INTRODUCTION}"


def serve(request: httpx2.Request) -> httpx2.Response:
    """Answer an SDK's request with the demo, whole streams at once."""
    body = json.loads(request.content)
    path = unquote(request.url.path)
    gemini = re.fullmatch(r"/v1(?:beta)?/models/([^:]+):(\w+)", path)
    if gemini:
        sse = request.url.params.get("alt") == "sse"
        found = answer("gemini", gemini[2], gemini[1], body, sse=sse)
    else:
        protocol, verb = PATHS[path]
        found = answer(protocol, verb, body["model"], body)
    return httpx2.Response(found.status, headers=found.headers, content=b"".join(found.chunks))


def client() -> httpx2.Client:
    """An HTTP client that reaches the demo and nothing else."""
    return httpx2.Client(transport=httpx2.MockTransport(serve))


class Anthropic(SynchronousTestCase):
    """The Messages format."""

    def setUp(self) -> None:
        self.sdk = anthropic.Anthropic(
            base_url="http://t", api_key="k", http_client=client(), max_retries=0, _strict_response_validation=True
        )
        self.tool: Any = {"name": "get_weather", "description": "d", "input_schema": SCHEMA}

    def ask(self, messages: Any, **options: Any) -> Any:
        return self.sdk.messages.create(model="demo", max_tokens=500, messages=messages, **options)

    def test_aMessageIsAnswered(self) -> None:
        found = self.ask([{"role": "user", "content": HELLO}], system="be brief")
        self.assertEqual((found.content[0].text, found.stop_reason, found.model), (SAID, "end_turn", "demo"))
        self.assertEqual(found.usage.output_tokens, len(SAID.split()))
        self.assertEqual(found.usage.input_tokens, 4)

    def test_aStreamSaysTheSame(self) -> None:
        with self.sdk.messages.stream(
            model="demo", max_tokens=500, messages=[{"role": "user", "content": [{"type": "text", "text": HELLO}]}]
        ) as stream:
            text = "".join(stream.text_stream)
            found = stream.get_final_message()
        self.assertEqual((text, found.stop_reason), (SAID, "end_turn"))
        self.assertEqual(found.usage.output_tokens, len(SAID.split()))

    def test_aToolIsCalledAndItsResultIsTold(self) -> None:
        messages: list[Any] = [{"role": "user", "content": "use the tool"}]
        found = self.ask(messages, tools=[self.tool])
        self.assertEqual(found.stop_reason, "tool_use")
        (call,) = found.content
        self.assertEqual((call.type, call.name, call.input), ("tool_use", "get_weather", ARGUMENTS))
        messages.append({"role": "assistant", "content": [call.model_dump()]})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "9 C"}
        messages.append({"role": "user", "content": [result]})
        self.assertTrue(self.ask(messages, tools=[self.tool]).content[0].text.startswith("The tool answered: 9 C"))

    def test_aStreamedCallHasItsArguments(self) -> None:
        with self.sdk.messages.stream(
            model="demo",
            max_tokens=500,
            messages=[{"role": "user", "content": HELLO}],
            tools=[{"name": "other", "input_schema": {"type": "object"}}, self.tool],
            tool_choice={"type": "tool", "name": "get_weather"},
        ) as stream:
            found = stream.get_final_message()
        call = found.content[0]
        assert call.type == "tool_use"
        self.assertEqual((call.name, call.input, found.stop_reason), ("get_weather", ARGUMENTS, "tool_use"))

    def test_toolsAreNotCalledUnasked(self) -> None:
        self.assertEqual(self.ask([{"role": "user", "content": HELLO}], tools=[self.tool]).stop_reason, "end_turn")
        found = self.ask([{"role": "user", "content": "a tool"}], tools=[self.tool], tool_choice={"type": "none"})
        self.assertEqual(found.stop_reason, "end_turn")

    def test_theLimitIsKept(self) -> None:
        found = self.sdk.messages.create(model="demo", max_tokens=2, messages=[{"role": "user", "content": HELLO}])
        self.assertEqual((found.stop_reason, found.usage.output_tokens), ("max_tokens", 2))

    def test_tokensAreCounted(self) -> None:
        found = self.sdk.messages.count_tokens(model="demo", messages=[{"role": "user", "content": "one two three"}])
        self.assertEqual(found.input_tokens, 3)

    def test_malformedRequestsAreRefused(self) -> None:
        short = [{"role": "user", "content": "x"}]
        bodies: list[dict[str, Any]] = [{}, {"messages": []}, {"messages": short}, {"messages": "x"}]
        for body in bodies:
            found = answer("anthropic", "generate", "demo", {"model": "demo", **body})
            self.assertEqual(found.status, 400, body)
            self.assertEqual(json.loads(found.chunks[0])["error"]["type"], "invalid_request_error")
        self.assertRaises(anthropic.BadRequestError, self.ask, [{"role": "robot", "content": "x"}])


class Chat(SynchronousTestCase):
    """Chat completions and legacy completions."""

    def setUp(self) -> None:
        self.sdk = openai.OpenAI(
            base_url="http://t/v1", api_key="k", http_client=client(), max_retries=0, _strict_response_validation=True
        )
        self.tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]

    def ask(self, messages: Any, **options: Any) -> Any:
        return self.sdk.chat.completions.create(model="demo", messages=messages, **options)

    def test_aMessageIsAnswered(self) -> None:
        found = self.ask([{"role": "user", "content": HELLO}])
        self.assertEqual((found.choices[0].message.content, found.choices[0].finish_reason), (SAID, "stop"))
        self.assertEqual(found.usage.total_tokens, found.usage.prompt_tokens + len(SAID.split()))

    def test_aStreamSaysTheSame(self) -> None:
        for asked in (False, True):
            options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
            chunks = list(self.ask([{"role": "user", "content": HELLO}], stream=True, **options))
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            self.assertEqual(text, SAID)
            self.assertEqual(chunks[-1].usage is not None, asked)
            self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_aToolIsCalledAndItsResultIsTold(self) -> None:
        messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "call a tool"}]}]
        found = self.ask(messages, tools=self.tools).choices[0]
        self.assertEqual(found.finish_reason, "tool_calls")
        (call,) = found.message.tool_calls
        self.assertEqual((call.function.name, json.loads(call.function.arguments)), ("get_weather", ARGUMENTS))
        messages += [found.message, {"role": "tool", "tool_call_id": call.id, "content": "9 C"}]
        found = self.ask(messages, tools=self.tools, tool_choice="required").choices[0]
        self.assertTrue(found.message.content.startswith("The tool answered: 9 C"))

    def test_aStreamedCallHasItsArguments(self) -> None:
        with self.sdk.chat.completions.stream(
            model="demo", messages=[{"role": "user", "content": HELLO}], tools=self.tools, tool_choice="required"
        ) as stream:
            found = stream.get_final_completion().choices[0]
        assert found.message.tool_calls is not None
        self.assertEqual(json.loads(found.message.tool_calls[0].function.arguments), ARGUMENTS)
        self.assertEqual(found.finish_reason, "tool_calls")

    def test_anAnswerInJsonFitsItsSchema(self) -> None:
        wanted: Any = {"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA}}
        found = self.ask([{"role": "user", "content": HELLO}], response_format=wanted)
        self.assertEqual(json.loads(found.choices[0].message.content), ARGUMENTS)
        found = self.ask([{"role": "user", "content": HELLO}], response_format={"type": "json_object"})
        self.assertEqual(json.loads(found.choices[0].message.content), {"you_said": HELLO})

    def test_legacyCompletionsWorkToo(self) -> None:
        found = self.sdk.completions.create(model="demo", prompt=HELLO)
        self.assertEqual((found.choices[0].text, found.choices[0].finish_reason), (SAID, "stop"))
        # The type of a chunk's finish_reason leaves out the null that the service itself sends.
        lenient = openai.OpenAI(base_url="http://t/v1", api_key="k", http_client=client())
        chunks = list(lenient.completions.create(model="demo", prompt=["x", HELLO], stream=True, max_tokens=3))
        self.assertEqual("".join(chunk.choices[0].text for chunk in chunks), "You said: hello")
        self.assertEqual(chunks[-1].choices[0].finish_reason, "length")

    def test_malformedRequestsAreRefused(self) -> None:
        self.assertRaises(openai.BadRequestError, self.ask, [])
        self.assertRaises(openai.BadRequestError, self.ask, [{"role": 1}])
        self.assertRaises(openai.BadRequestError, self.ask, [{"role": "user", "content": 7}])
        self.assertRaises(openai.BadRequestError, self.ask, [{"role": "user", "content": "x"}], max_tokens=0)
        self.assertEqual(answer("completions", "generate", "demo", {}).status, 400)


class Responses(SynchronousTestCase):
    """The Responses format."""

    def setUp(self) -> None:
        self.sdk = openai.OpenAI(
            base_url="http://t/v1", api_key="k", http_client=client(), max_retries=0, _strict_response_validation=True
        )
        self.tools: Any = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]

    def test_anInputIsAnswered(self) -> None:
        found = self.sdk.responses.create(model="demo", input=HELLO, instructions="be brief")
        self.assertEqual((found.output_text, found.status), (SAID, "completed"))
        assert found.usage is not None
        self.assertEqual((found.usage.input_tokens, found.usage.output_tokens), (4, len(SAID.split())))

    def test_aStreamSaysTheSame(self) -> None:
        with self.sdk.responses.stream(model="demo", input=[{"role": "user", "content": HELLO}]) as stream:
            events = list(stream)
            found = stream.get_final_response()
        self.assertEqual(found.output_text, SAID)
        self.assertEqual([event.sequence_number for event in events], sorted({e.sequence_number for e in events}))

    def test_aToolIsCalledAndItsResultIsTold(self) -> None:
        items: list[Any] = [{"role": "user", "content": [{"type": "input_text", "text": "use tools"}]}]
        found = self.sdk.responses.create(model="demo", input=items, tools=self.tools)
        (call,) = found.output
        assert call.type == "function_call"
        self.assertEqual((call.name, json.loads(call.arguments)), ("get_weather", ARGUMENTS))
        items += [call, {"type": "function_call_output", "call_id": call.call_id, "output": "9 C"}]
        found = self.sdk.responses.create(model="demo", input=items, tools=self.tools)
        self.assertTrue(found.output_text.startswith("The tool answered: 9 C"))

    def test_aStreamedCallHasItsArguments(self) -> None:
        with self.sdk.responses.stream(model="demo", input="a tool", tools=self.tools) as stream:
            (call,) = stream.get_final_response().output
        assert call.type == "function_call"
        self.assertEqual(json.loads(call.arguments), ARGUMENTS)

    def test_aShortAnswerIsIncomplete(self) -> None:
        found = self.sdk.responses.create(model="demo", input=HELLO, max_output_tokens=16)
        self.assertEqual(found.status, "incomplete")
        with self.sdk.responses.stream(model="demo", input=HELLO, max_output_tokens=16) as stream:
            self.assertEqual(list(stream)[-1].type, "response.incomplete")

    def test_tokensAreCounted(self) -> None:
        self.assertEqual(self.sdk.responses.input_tokens.count(model="demo", input="one two").input_tokens, 2)

    def test_malformedRequestsAreRefused(self) -> None:
        bodies: list[dict[str, Any]] = [{}, {"input": []}, {"input": 3}, {"input": ["x"]}]
        for body in bodies:
            self.assertEqual(answer("responses", "generate", "demo", body).status, 400, body)


class Gemini(SynchronousTestCase):
    """The generateContent format."""

    def setUp(self) -> None:
        options = google_types.HttpOptions(base_url="http://t", httpx_client=client())
        self.sdk = genai.Client(api_key="k", http_options=options)
        self.tool = google_types.Tool(
            function_declarations=[google_types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)]
        )

    def ask(self, contents: Any, **config: Any) -> Any:
        made = google_types.GenerateContentConfig(**config)
        return self.sdk.models.generate_content(model="demo", contents=contents, config=made)

    def test_aTextIsAnswered(self) -> None:
        found = self.ask(HELLO, system_instruction="be brief")
        self.assertEqual((found.text, found.candidates[0].finish_reason.name), (SAID, "STOP"))
        self.assertEqual(found.usage_metadata.candidates_token_count, len(SAID.split()))

    def test_aStreamSaysTheSame(self) -> None:
        chunks = list(self.sdk.models.generate_content_stream(model="demo", contents=HELLO))
        self.assertEqual("".join(chunk.text or "" for chunk in chunks), SAID)
        self.assertGreater(len(chunks), 3)
        metadata = chunks[-1].usage_metadata
        assert metadata is not None
        self.assertEqual(metadata.candidates_token_count, len(SAID.split()))

    def test_withoutSseAStreamIsOneArray(self) -> None:
        body = {"contents": [{"parts": [{"text": HELLO}]}]}
        found = answer("gemini", "streamGenerateContent", "demo", body, sse=False)
        chunks = json.loads(b"".join(found.chunks))
        texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks]
        self.assertEqual(("".join(texts), found.headers[0][1]), (SAID, b"application/json"))

    def test_aFunctionIsCalledAndItsResultIsTold(self) -> None:
        found = self.ask("use the tool", tools=[self.tool])
        (call,) = found.function_calls
        self.assertEqual((call.name, call.args), ("get_weather", ARGUMENTS))
        user = google_types.Content(role="user", parts=[google_types.Part(text="use the tool")])
        result = google_types.Part.from_function_response(name="get_weather", response={"result": "9 C"})
        history = [user, found.candidates[0].content, google_types.Content(role="user", parts=[result])]
        self.assertIn("9 C", self.ask(history, tools=[self.tool]).text)

    def test_aForcedFunctionIsStreamedWhole(self) -> None:
        calling = google_types.FunctionCallingConfig(mode=google_types.FunctionCallingConfigMode.ANY)
        config = google_types.GenerateContentConfig(
            tools=[self.tool], tool_config=google_types.ToolConfig(function_calling_config=calling)
        )
        (chunk,) = self.sdk.models.generate_content_stream(model="demo", contents=HELLO, config=config)
        assert chunk.function_calls is not None
        self.assertEqual(chunk.function_calls[0].args, ARGUMENTS)

    def test_anAnswerInJsonFitsItsSchema(self) -> None:
        found = self.ask(HELLO, response_mime_type="application/json", response_json_schema=SCHEMA)
        self.assertEqual(json.loads(found.text), ARGUMENTS)

    def test_theLimitIsKept(self) -> None:
        self.assertEqual(self.ask(HELLO, max_output_tokens=1).candidates[0].finish_reason.name, "MAX_TOKENS")

    def test_tokensAreCounted(self) -> None:
        found = self.sdk.models.count_tokens(model="demo", contents="one two three")
        self.assertEqual(found.total_tokens, 3)
        wrapped = {"generateContentRequest": {"contents": [{"parts": [{"text": "one two"}]}]}}
        self.assertEqual(json.loads(answer("gemini", "countTokens", "m", wrapped).chunks[0]), {"totalTokens": 2})

    def test_malformedRequestsAreRefused(self) -> None:
        strange = [{"role": "x", "parts": [{}]}]
        bodies: list[dict[str, Any]] = [{}, {"contents": []}, {"contents": [{"parts": []}]}, {"contents": strange}]
        for body in bodies:
            for verb in ("generateContent", "streamGenerateContent", "countTokens"):
                found = answer("gemini", verb, "demo", body)
                self.assertEqual(found.status, 400, body)
                self.assertEqual(json.loads(found.chunks[0])["error"]["status"], "INVALID_ARGUMENT")
        self.assertEqual(answer("gemini", "explode", "demo", {}).status, 404)
        self.assertRaises(google_errors.ClientError, self.ask, google_types.Content(role="bad", parts=None))


MEMBERS = [
    "messages",
    "role",
    "content",
    "type",
    "text",
    "tools",
    "tool_choice",
    "function",
    "name",
    "parameters",
    "input",
    "contents",
    "parts",
    "prompt",
    "max_tokens",
    "stream",
    "generationConfig",
    "toolConfig",
    "functionDeclarations",
    "user",
    "tool",
    "system",
    "output",
    "response_format",
    "anyOf",
    "enum",
    "required",
    "properties",
    "items",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=12,
)


class Anything(SynchronousTestCase):
    """Whatever is sent, the answer is an answer."""

    @settings(max_examples=150, deadline=None)
    @given(st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=6))
    def test_noObjectBreaksTheDemo(self, body: dict[str, Any]) -> None:
        for protocol, verb in (*PATHS.values(), ("gemini", "generateContent"), ("gemini", "countTokens")):
            found = answer(protocol, verb, "demo", body)
            self.assertIn(found.status, (200, 400))
            self.assertTrue(all(found.chunks))

    @settings(max_examples=100, deadline=None)
    @given(JSON)
    def test_everySchemaHasAnExample(self, schema: Any) -> None:
        json.dumps(example(schema))

    def test_hopelessNestingIsRefused(self) -> None:
        nested: Any = "x"
        for _ in range(5000):
            nested = [nested]
        self.assertEqual(answer("chat", "generate", "m", {"messages": [{"role": "user", "x": nested}]}).status, 400)

    def test_theSameQuestionHasTheSameAnswer(self) -> None:
        body = {"messages": [{"role": "user", "content": HELLO}], "stream": True}
        self.assertEqual(answer("chat", "generate", "m", body), answer("chat", "generate", "m", body))

    def test_veryLongTextsAreCountedByTheirSpaces(self) -> None:
        self.assertEqual(count_words("a " * 50_000 + "a"), 50_001)


class Sink:
    """Receives a body."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended = 0
        self.exchange: DemoExchange | None = None
        self.stop_after = 0

    def data(self, data: bytes) -> None:
        self.pieces.append(data)
        if self.stop_after and len(self.pieces) == self.stop_after and self.exchange is not None:
            self.exchange.abort()

    def end(self, trailers: RawHeaders) -> None:
        self.ended += 1

    def failed(self, failure: UpstreamFailure) -> None:
        raise AssertionError(failure)


class Pace(SynchronousTestCase):
    """Pieces over time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.9)
        self.sink = Sink()

    def exchange(self, *chunks: bytes) -> DemoExchange:
        self.sink.exchange = DemoExchange(self.clock, DemoAnswer(200, [(b"X-A", b"1")], list(chunks)), 0.02)
        return self.sink.exchange

    def test_theHeadIsThereAtOnceAndSoIsTheFirstPiece(self) -> None:
        exchange = self.exchange(b"a", b"b", b"c")
        head = self.successResultOf(exchange.head)
        self.assertEqual((head.status, head.headers, head.length), (200, [(b"X-A", b"1")], None))
        exchange.relay(self.sink)
        self.assertEqual(self.sink.pieces, [b"a"])
        self.clock.advance(0.02)
        self.assertEqual((self.sink.pieces, self.sink.ended), ([b"a", b"b"], 0))
        self.clock.advance(0.02)
        self.assertEqual((self.sink.pieces, self.sink.ended), ([b"a", b"b", b"c"], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aWholeAnswerHasItsLength(self) -> None:
        exchange = self.exchange(b"abc")
        head = self.successResultOf(exchange.head)
        self.assertEqual((head.length, head.headers[-1]), (3, (b"Content-Length", b"3")))
        exchange.relay(self.sink)
        self.assertEqual((self.sink.pieces, self.sink.ended), ([b"abc"], 1))

    def test_aPausedExchangeWaits(self) -> None:
        exchange = self.exchange(b"a", b"b")
        exchange.pause()
        exchange.relay(self.sink)
        self.clock.advance(9)
        self.assertEqual(self.sink.pieces, [])
        exchange.resume()
        self.clock.advance(0.02)
        exchange.pause()
        exchange.pause()
        self.clock.advance(9)
        self.assertEqual(self.sink.pieces, [b"a"])
        exchange.resume()
        exchange.resume()
        self.clock.advance(0.02)
        self.assertEqual((self.sink.pieces, self.sink.ended), ([b"a", b"b"], 1))

    def test_anAbortedExchangeIsSilent(self) -> None:
        exchange = self.exchange(b"a", b"b")
        exchange.relay(self.sink)
        exchange.abort()
        exchange.abort()
        exchange.resume()
        self.assertEqual((self.clock.getDelayedCalls(), self.sink.ended), ([], 0))

    def test_itCanBeAbortedWhileItSends(self) -> None:
        exchange = self.exchange(b"a", b"b", b"c")
        self.sink.stop_after = 2
        exchange.relay(self.sink)
        self.clock.advance(0.02)
        self.assertEqual((self.sink.pieces, self.sink.ended, self.clock.getDelayedCalls()), ([b"a", b"b"], 0, []))

    def send(self, protocol: str, verb: str, body: bytes, target: bytes = b"/") -> tuple[int, bytes]:
        exchange = Demo(self.clock).send(protocol, verb, "demo", body, target)
        exchange.relay(self.sink)
        while not self.sink.ended:
            self.clock.advance(0.02)
        return self.successResultOf(exchange.head).status, b"".join(self.sink.pieces)

    def test_theClockTellsTheTimeOfCreation(self) -> None:
        status, body = self.send("chat", "generate", b'{"messages":[{"role":"user","content":"x"}]}')
        self.assertEqual((status, json.loads(body)["created"]), (200, 1000))

    def test_aBodyThatIsNoObjectIsRefusedInTheFormat(self) -> None:
        for protocol in ("anthropic", "chat", "completions", "responses", "gemini"):
            for body in (b"", b"[]", b"{", b"\xff", b"[" * 100_000):
                self.sink = Sink()
                status, text = self.send(protocol, "generate", body)
                self.assertEqual(status, 400)
                self.assertIn(b"not a JSON object", text)

    def test_theQuerySaysHowAGeminiStreamIsFramed(self) -> None:
        body = b'{"contents":[{"parts":[{"text":"x"}]}]}'
        target = b"/v1beta/models/demo:streamGenerateContent"
        for query, beginning in ((b"?alt=sse", b"data: "), (b"", b"[{")):
            self.sink = Sink()
            _, text = self.send("gemini", "streamGenerateContent", body, target + query)
            self.assertTrue(text.startswith(beginning))
