"""The real SDKs and what models differ in: ids and signatures, adaptive thinking, compatible servers, fallback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

import anthropic
import openai
from google.genai.errors import ClientError
from twisted.trial.unittest import SynchronousTestCase

from tests.crossings.cases import FORMATS, TALKS, Crossing, expect, thinking_tools, tools
from tests.crossings.rig import ADAPTIVE, AGENT, MODELS, OLD_GEMINI, QUIRKY, STRICT, Rig, shared
from tests.crossings.talk import Talk, Told, Wants
from tests.crossings.with_anthropic import client as anthropic_client
from tests.crossings.with_google import client as google_client
from tests.crossings.with_openai import KeepingChatTalk
from tests.crossings.with_openai import client as openai_client
from tests.vendors.scene import ASKED, HELLO, THOUGHT
from tests.vendors.service import COUNTED

BILLING = "x-anthropic-billing-header: cc_version=2.1.330; cch=a1b2c;"


def warnings(told: Told) -> set[str]:
    """The codes of `x-llmux-warning`."""
    return set(filter(None, told.headers.get("x-llmux-warning", "").split(", ")))


class TalkCase(SynchronousTestCase):
    """Conversations with the shared rig."""

    def rig(self) -> Rig:
        """The daemon and its vendors."""
        return shared()

    def talk(self, client: str, model: str, **wants: Any) -> Talk:
        return TALKS[client](self.rig().url, model, Wants(**wants))

    def each(self, test: Callable[[str, bool], None], *clients: str) -> None:
        for client in clients or FORMATS:
            for stream in (False, True):
                with self.subTest(client=client, stream=stream):
                    test(client, stream)


class ModelTests(TalkCase):
    def test_callsWithoutIdsArePairedByOrder(self) -> None:
        self.each(lambda client, stream: tools(Crossing(self.rig().url, client, "gemini", OLD_GEMINI), stream))

    def test_anAdaptiveModelThinksAndItsSignatureComesBack(self) -> None:
        def test(client: str, stream: bool) -> None:
            thinking_tools(Crossing(self.rig().url, client, "anthropic", ADAPTIVE), stream)

        # Chat has no way to ask for the thoughts of an adaptive model to be shown.
        self.each(test, "responses", "gemini")

    def test_anAdaptiveModelTakesNoSamplingAndTheClientIsTold(self) -> None:
        for client, name in (("chat", "temperature"), ("responses", "temperature"), ("gemini", "temperature")):
            told = self.talk(client, ADAPTIVE, extras={"temperature": 0.5}).say("Say hello.")
            self.assertEqual((told.text, warnings(told)), (HELLO, {f"dropped:{name}"}), client)

    def test_aChatClientThatKeepsExtraContentNeedsNoVault(self) -> None:
        for stream in (False, True):
            talk = KeepingChatTalk(self.rig().url, MODELS["gemini"], Wants(stream=stream, tools=True, think=True))
            told = talk.say("Please think. How is the weather?")
            told = talk.give([(call, "7 degrees") for call in told.calls])
            self.assertEqual(told.text, "Paris: 7 degrees; Zürich: 7 degrees")

    def test_aCompatibleServerMayBeQuirky(self) -> None:
        def test(client: str, stream: bool) -> None:
            talk = self.talk(client, QUIRKY, stream=stream, tools=True)
            told = talk.say("Please think. How is the weather?")
            expect(
                "calls", [(call.name, call.arguments) for call in told.calls], [(x.name, x.arguments) for x in ASKED]
            )
            expect("stop, tokens", (told.stop, told.input, told.output), ("tool", 0, 0))
            expect("thinking", told.thinking, THOUGHT)
            told = talk.give([(call, "7 degrees") for call in told.calls])
            expect("text", told.text, "Paris: 7 degrees; Zürich: 7 degrees")

        self.each(test, "responses", "anthropic", "gemini")

    def test_tokensAreCountedAcrossFormats(self) -> None:
        url, messages = self.rig().url, [{"role": "user", "content": "Count this, please."}]
        for vendor, model in MODELS.items():
            exact = vendor != "chat"
            sdk: Any = anthropic_client(url)
            raw = sdk.messages.with_raw_response.count_tokens(model=model, messages=messages)
            counted = raw.parse().input_tokens
            estimated = raw.headers.get("x-llmux-estimated") == "true"
            self.assertEqual((counted == COUNTED, estimated), (exact, not exact), vendor)
            self.assertTrue(0 < counted < 20 or exact, counted)
            google = google_client(url).models.count_tokens(model=model, contents="Count this, please.")
            self.assertEqual(google.total_tokens == COUNTED, exact, vendor)
            other: Any = openai_client(url).responses.input_tokens
            raw = other.with_raw_response.count(model=model, input="Count this, please.")
            self.assertEqual(raw.parse().input_tokens == COUNTED, exact, vendor)

    def test_theBillingLineReachesAnthropicAlone(self) -> None:
        system = [{"type": "text", "text": BILLING}, {"type": "text", "text": "Be brief."}]
        for vendor, model in MODELS.items():
            sdk: Any = anthropic_client(self.rig().url)
            asked = [{"role": "user", "content": "What are your instructions?"}]
            answer = sdk.messages.create(model=model, max_tokens=100, messages=asked, system=system)
            wanted = f"{BILLING} | Be brief." if vendor == "anthropic" else "Be brief."
            self.assertEqual(answer.content[0].text, wanted, vendor)

    def test_signsOfTheProxyAreInTheHeaders(self) -> None:
        told = self.talk("chat", MODELS["anthropic"], extras={"seed": 3, "presence_penalty": 0.5}).say("Say hello.")
        self.assertEqual(warnings(told), {"dropped:seed", "dropped:presence_penalty"})
        for name, value in (("body", "translated"), ("provider", "anthropic"), ("model", MODELS["anthropic"])):
            self.assertEqual(told.headers[f"x-llmux-{name}"], value)
        told = self.talk("chat", MODELS["anthropic"], stream=True, extras={"seed": 3}).say("Say hello.")
        self.assertEqual((warnings(told), told.headers["x-llmux-body"]), ({"dropped:seed"}, "translated"))


class FallbackTests(TalkCase):
    """TRANSLATION 6, cases 31 to 33: one vendor takes over in the middle of a tool loop, and hands back."""

    def tearDown(self) -> None:
        shared().take_down()

    def test_aToolLoopGoesOnAtAnotherVendorAndComesBack(self) -> None:
        def test(client: str, stream: bool) -> None:
            shared().take_down()
            talk = self.talk(client, AGENT, stream=stream, tools=True, think=True)
            told = talk.say("Please think. How is the weather, whoever answers?")
            served = [told.headers["x-llmux-provider"]]
            shared().take_down("anthropic")
            told = talk.give([(call, "7 degrees") for call in told.calls])
            expect("text", told.text, "Paris: 7 degrees; Zürich: 7 degrees")
            served.append(told.headers["x-llmux-provider"])
            told = talk.say("Please think. And the weather now, whoever answers?")
            served.append(told.headers["x-llmux-provider"])
            shared().take_down("gemini")
            told = talk.give([(call, "8 degrees") for call in told.calls])
            expect("text", told.text, "Paris: 8 degrees; Zürich: 8 degrees")
            served.append(told.headers["x-llmux-provider"])
            told = talk.say("Please think. And the weather at last, whoever answers?")
            shared().take_down("anthropic", "gemini")
            told = talk.give([(call, "9 degrees") for call in told.calls])
            expect("text", told.text, "Paris: 9 degrees; Zürich: 9 degrees")
            served.append(told.headers["x-llmux-provider"])
            told = talk.say("Please think. And the weather after that, whoever answers?")
            shared().take_down("responses")
            told = talk.give([(call, "6 degrees") for call in told.calls])
            expect("text", told.text, "Paris: 6 degrees; Zürich: 6 degrees")
            served.append(told.headers["x-llmux-provider"])
            expect("providers", served, ["anthropic", "gemini", "gemini", "anthropic", "responses", "anthropic"])

        self.each(test)

    def test_anOpenAIReasoningItemSurvivesAClientOfAnyFormat(self) -> None:
        for client in ("anthropic", "gemini", "chat"):
            talk = self.talk(client, MODELS["responses"], tools=True, think=True)
            told = talk.say("Please think. How is the weather?")
            talk.give([(call, "7 degrees") for call in told.calls])
            items = shared().seen()[-1]["body"]["input"]
            kinds = [item.get("type") for item in items]
            at = kinds.index("reasoning")
            self.assertEqual(kinds[at : at + 3], ["reasoning", "function_call", "function_call"], client)
            self.assertTrue(items[at]["id"].startswith("rs_"), client)


class StrictTests(SynchronousTestCase):
    """`translate.strict: true`: what would be a warning is refused, in the client's own shape."""

    def test_aLossIsRefusedInTheClientsShape(self) -> None:
        rig = Rig(STRICT)
        self.addCleanup(rig.stop)

        def fails(client: str, vendor: str, **extras: Any) -> Any:
            for stream in (False, True):
                talk = TALKS[client](rig.url, MODELS[vendor], Wants(stream=stream, extras=extras))
                problem = self.assertRaises(
                    (openai.BadRequestError, anthropic.BadRequestError, ClientError), talk.say, "Say hello."
                )
            return problem

        body = fails("chat", "anthropic", seed=3).body
        self.assertEqual(
            (body["type"], body["code"], body["param"]), ("invalid_request_error", "unsupported_parameter", "seed")
        )
        body = fails("responses", "gemini", truncation="auto").body
        self.assertEqual((body["code"], body["param"]), ("unsupported_parameter", "truncation"))
        body = fails("anthropic", "responses", stop_sequences=["x"]).body
        self.assertEqual((body["type"], body["error"]["type"]), ("error", "invalid_request_error"))
        self.assertIn("stop_sequences", body["error"]["message"])
        problem = fails("gemini", "anthropic", seed=3)
        self.assertEqual((problem.code, problem.status), (400, "INVALID_ARGUMENT"))
        self.assertIn("seed", problem.message)
        for client in FORMATS:
            for vendor in FORMATS:
                told = TALKS[client](rig.url, MODELS[vendor], Wants()).say("Say hello.")
                self.assertEqual((told.text, warnings(told)), (HELLO, set()), (client, vendor))
        self.assertEqual(urlopen(rig.url + "/health", timeout=5).status, 200)
