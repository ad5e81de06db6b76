"""The real SDKs against the built-in demo: text, a tool call and its result, token counts, model lists."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
from google.genai import errors, types
from twisted.internet.threads import deferToThread

from tests.end_to_end import EndToEndCase
from tests.native_answers import SCRIPTED_TOKENS, script
from tests.sdk_calls import (
    ANTHROPIC_CALLS,
    GOOGLE_CALLS,
    OPENAI_CALLS,
    PROMPT,
    anthropic_client,
    google_client,
    openai_client,
)

KEY = "client-key-of-the-tests"
CONFIG = f"""\
api-keys: [{KEY}]
providers:
  - {{name: demo, kind: demo}}
"""
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASKING = "Please use the tool."
ARGUMENTS = {"city": "example"}
RESULT = "It is 21 degrees"


def _chat_tools(url: str) -> list[str]:
    tool: Any = {"type": "function", "function": {"name": "weather", "description": "?", "parameters": SCHEMA}}
    messages: list[Any] = [{"role": "user", "content": ASKING}]
    with openai_client(url, KEY) as client:
        asked = client.chat.completions.create(model="demo", messages=messages, tools=[tool])
        call: Any = (asked.choices[0].message.tool_calls or [])[0]
        with client.chat.completions.stream(model="demo", messages=messages, tools=[tool]) as stream:
            streamed: Any = (stream.get_final_completion().choices[0].message.tool_calls or [])[0]
        messages += [asked.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
        told = client.chat.completions.create(model="demo", messages=messages, tools=[tool])
    finish = asked.choices[0].finish_reason
    return [
        finish,
        f"{call.function.name} {call.function.arguments}",
        f"{streamed.function.name} {streamed.function.arguments}",
        told.choices[0].message.content or "",
    ]


def _responses_tools(url: str) -> list[str]:
    tool: Any = {"type": "function", "name": "weather", "description": "?", "parameters": SCHEMA, "strict": False}
    given: list[Any] = [{"role": "user", "content": ASKING}]
    with openai_client(url, KEY) as client:
        asked: Any = client.responses.create(model="demo", input=given, tools=[tool])
        call = asked.output[0]
        with client.responses.stream(model="demo", input=given, tools=[tool]) as stream:
            streamed: Any = stream.get_final_response().output[0]
        given += [*asked.output, {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}]
        told = client.responses.create(model="demo", input=given, tools=[tool])
    return [
        "tool_calls" if call.type == "function_call" else call.type,
        f"{call.name} {call.arguments}",
        f"{streamed.name} {streamed.arguments}",
        told.output_text,
    ]


def _anthropic_tools(url: str) -> list[str]:
    tool: Any = {"name": "weather", "description": "?", "input_schema": SCHEMA}
    messages: list[Any] = [{"role": "user", "content": ASKING}]
    with anthropic_client(url, KEY) as client:
        asked: Any = client.messages.create(model="demo", max_tokens=99, messages=messages, tools=[tool])
        call = asked.content[0]
        with client.messages.stream(model="demo", max_tokens=99, messages=messages, tools=[tool]) as stream:
            streamed: Any = stream.get_final_message().content[0]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
        messages += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
        told: Any = client.messages.create(model="demo", max_tokens=99, messages=messages, tools=[tool])
    return [
        "tool_calls" if asked.stop_reason == "tool_use" else asked.stop_reason,
        f"{call.name} {_json(call.input)}",
        f"{streamed.name} {_json(streamed.input)}",
        told.content[0].text,
    ]


def _google_tools(url: str, version: str | None) -> list[str]:
    declaration = types.FunctionDeclaration(name="weather", description="?", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declaration])])
    asking = types.Content(role="user", parts=[types.Part(text=ASKING)])
    with google_client(url, KEY, version) as client:
        asked: Any = client.models.generate_content(model="demo", contents=asking, config=config)
        call = asked.function_calls[0]
        chunks = client.models.generate_content_stream(model="demo", contents=asking, config=config)
        streamed: Any = next(chunk.function_calls[0] for chunk in chunks if chunk.function_calls)
        result = types.Part.from_function_response(name="weather", response={"result": RESULT})
        turns: Any = [asking, asked.candidates[0].content, types.Content(role="user", parts=[result])]
        told = client.models.generate_content(model="demo", contents=turns, config=config)
    return ["tool_calls", f"{call.name} {_json(call.args)}", f"{streamed.name} {_json(streamed.args)}", told.text or ""]


def _json(value: dict[str, Any]) -> str:
    return str(value).replace("'", '"').replace(": ", ":")


class DemoTests(EndToEndCase):
    async def test_everySDKReadsTheDemo(self) -> None:
        daemon = await self.run_daemon(CONFIG)
        for call in (*OPENAI_CALLS, *ANTHROPIC_CALLS, *GOOGLE_CALLS):
            said = await deferToThread(call.run, daemon.url, KEY, "demo")
            self.assertTrue(said.text.startswith(f"You said: {PROMPT}"), f"{call.name}: {said.text}")
            self.assertEqual(said.models, {"demo"}, call.name)
            self.assertEqual(said.headers.get("x-llmux-route"), "LOCAL_PROVIDER", call.name)

    async def test_everySDKCallsAToolAndReportsItsResult(self) -> None:
        daemon = await self.run_daemon(CONFIG)
        called = f'weather {{"city":"{ARGUMENTS["city"]}"}}'
        for name, run in (
            ("chat", _chat_tools),
            ("responses", _responses_tools),
            ("anthropic", _anthropic_tools),
            ("google v1", lambda url: _google_tools(url, None)),
            ("google v1beta", lambda url: _google_tools(url, "v1beta")),
        ):
            finish, whole, streamed, told = await deferToThread(run, daemon.url)
            self.assertEqual([finish, whole, streamed], ["tool_calls", called, called], name)
            self.assertIn(RESULT, told, name)
            self.assertTrue(told.startswith("The tool answered:"), f"{name}: {told}")

    async def test_aWrongKeyIsTheSDKsOwnAuthenticationError(self) -> None:
        daemon = await self.run_daemon(CONFIG)
        for call, error in (
            (OPENAI_CALLS[0], openai.AuthenticationError),
            (ANTHROPIC_CALLS[0], anthropic.AuthenticationError),
            (GOOGLE_CALLS[0], errors.ClientError),
        ):
            problem = await self.assertFailure(deferToThread(call.run, daemon.url, "wrong-key-1234", "demo"), error)
            self.assertIn("401", str(problem), call.name)
            self.assertNotIn("wrong-key-1234", str(problem), call.name)


class ModelListTests(EndToEndCase):
    """`many` has several names, so that paging and order show; `*` patterns name no model and are not listed."""

    CONFIG = f"""\
api-keys: [{KEY}]
providers:
  - {{name: many, kind: anthropic, base-url: "http://127.0.0.1:9", api-keys: [x], models: [m-1, m-2, m-3, "other-*"]}}
  - {{name: demo, kind: demo}}
"""
    NAMES = ["demo", "m-1", "m-2", "m-3"]

    async def test_everySDKListsModelsAndGetsOneOrItsOwnNotFoundError(self) -> None:
        daemon = await self.run_daemon(self.CONFIG)
        for name, run in (
            ("openai", self._openai),
            ("anthropic", self._anthropic),
            ("google v1", lambda url: self._google(url, None)),
            ("google v1beta", lambda url: self._google(url, "v1beta")),
        ):
            listed, one = await deferToThread(run, daemon.url)
            self.assertEqual(sorted(listed), self.NAMES, name)
            self.assertEqual(one, "m-2", name)

        def with_openai() -> Any:
            with openai_client(daemon.url, KEY) as client:
                return client.models.retrieve("nobody")

        def with_anthropic() -> Any:
            with anthropic_client(daemon.url, KEY) as client:
                return client.models.retrieve("nobody")

        def with_google() -> Any:
            with google_client(daemon.url, KEY) as client:
                return client.models.get(model="nobody")

        await self.assertFailure(deferToThread(with_openai), openai.NotFoundError)
        await self.assertFailure(deferToThread(with_anthropic), anthropic.NotFoundError)
        problem: Any = await self.assertFailure(deferToThread(with_google), errors.ClientError)
        self.assertEqual(problem.code, 404)

    @staticmethod
    def _openai(url: str) -> tuple[list[str], str]:
        with openai_client(url, KEY) as client:
            return [model.id for model in client.models.list()], client.models.retrieve("m-2").id

    @staticmethod
    def _anthropic(url: str) -> tuple[list[str], str]:
        with anthropic_client(url, KEY) as client:
            return [model.id for model in client.models.list(limit=2)], client.models.retrieve("m-2").id

    @staticmethod
    def _google(url: str, version: str | None) -> tuple[list[str], str]:
        with google_client(url, KEY, version) as client:
            listed = [model.name or "" for model in client.models.list(config={"page_size": 3})]
            one = client.models.get(model="m-2").name or ""
        return [name.removeprefix("models/") for name in listed], one.removeprefix("models/")


class CountTests(EndToEndCase):
    async def test_everySDKCountsTokensByTheProviderOrByTheDemo(self) -> None:
        server = self.serve(script)
        daemon = await self.run_daemon(
            f"""\
api-keys: [{KEY}]
providers:
  - {{name: demo, kind: demo}}
  - {{name: a, kind: anthropic, base-url: "{server.url}", api-keys: [x], models: [own-anthropic]}}
  - {{name: r, kind: openai-responses, base-url: "{server.url}/v1", api-keys: [x], models: [own-responses]}}
  - {{name: g, kind: gemini, base-url: "{server.url}", api-keys: [x], models: [own-gemini]}}
"""
        )

        def with_anthropic(model: str) -> int:
            with anthropic_client(daemon.url, KEY) as client:
                message: Any = {"role": "user", "content": PROMPT}
                return client.messages.count_tokens(model=model, messages=[message]).input_tokens

        def with_openai(model: str) -> int:
            with openai_client(daemon.url, KEY) as client:
                return client.responses.input_tokens.count(model=model, input=PROMPT).input_tokens

        def with_google(model: str) -> int:
            with google_client(daemon.url, KEY) as client:
                return client.models.count_tokens(model=model, contents=PROMPT).total_tokens or 0

        for family, count in (("anthropic", with_anthropic), ("responses", with_openai), ("gemini", with_google)):
            self.assertEqual(await deferToThread(count, f"own-{family}"), SCRIPTED_TOKENS, family)
            self.assertEqual(await deferToThread(count, "demo"), len(PROMPT.split()), family)
        self.assertEqual(
            [seen.target for seen in server.requests],
            ["/v1/messages/count_tokens", "/v1/responses/input_tokens", "/v1beta/models/own-gemini:countTokens"],
        )
