"""The real SDKs through the real daemon: each of the four outcomes, whole and streamed, in every format."""

from __future__ import annotations

import anthropic
import openai
from google.genai.errors import ServerError
from twisted.internet.threads import deferToThread

from llmux.routing.decision import RouteType
from tests.end_to_end import EndToEndCase
from tests.native_answers import TEXT, script
from tests.running import Daemon
from tests.scripted import Seen
from tests.sdk_calls import ANTHROPIC_CALLS, GOOGLE_CALLS, OPENAI_CALLS, Said, SDKCall

CALLS = (*OPENAI_CALLS, *ANTHROPIC_CALLS, *GOOGLE_CALLS)
CLIENT_KEY = "client-key-of-the-tests"
UPSTREAM_KEY = "upstream-key-of-the-tests"
PROVIDER_KEY = {"anthropic": "key-a", "chat": "key-c", "responses": "key-r", "gemini": "key-g"}
KINDS = {"anthropic": "anthropic", "chat": "openai", "responses": "openai-responses", "gemini": "gemini"}
SERVED_PATHS = {
    "/v1/messages": "/v1/messages",
    "/v1/chat/completions": "/v1/chat/completions",
    "/v1/responses": "/v1/responses",
    "/v1/models/M:generateContent": "/v1beta/models/M:generateContent",
    "/v1beta/models/M:generateContent": "/v1beta/models/M:generateContent",
    "/v1/models/M:streamGenerateContent?alt=sse": "/v1beta/models/M:streamGenerateContent?alt=sse",
    "/v1beta/models/M:streamGenerateContent?alt=sse": "/v1beta/models/M:streamGenerateContent?alt=sse",
}
CREDITS_PREFIX = {"anthropic": "anthropic", "chat": "openai", "responses": "openai", "gemini": "google"}


def configuration(provider_url: str, upstream_url: str) -> str:
    """A provider of each kind that serves `own-FORMAT`, a mapping from `asked-FORMAT` to each, credits for `paid-*`."""
    lines = [f"api-keys: [{CLIENT_KEY}]", "providers:"]
    for family, kind in KINDS.items():
        base = provider_url + ("/v1" if kind.startswith("openai") else "")
        lines.append(
            f"  - {{name: {family}, kind: {kind}, base-url: {base}, api-keys: [{PROVIDER_KEY[family]}],"
            f" models: [own-{family}]}}"
        )
    lines += ["ampcode:", f"  upstream-url: {upstream_url}", f"  upstream-api-key: {UPSTREAM_KEY}"]
    lines += ["  credits: {allow: [paid-*]}", "  model-mappings:"]
    lines += [f"    - {{from: asked-{family}, to: own-{family}}}" for family in KINDS]
    return "\n".join(lines) + "\n"


def sent_key(seen: Seen) -> str | None:
    """The credential of a request, wherever it stands."""
    bearer = (seen.header("authorization") or "").removeprefix("Bearer ")
    return bearer or seen.header("x-api-key") or seen.header("x-goog-api-key")


class OutcomeTests(EndToEndCase):
    async def begin(self) -> Daemon:
        self.providers = self.serve(script)
        self.upstream = self.serve(script)
        return await self.run_daemon(configuration(self.providers.url, self.upstream.url))

    async def said(self, daemon: Daemon, call: SDKCall, model: str) -> Said:
        said: Said = await deferToThread(call.run, daemon.url, CLIENT_KEY, model)
        self.assertEqual(said.text, TEXT, call.name)
        return said

    def assertRoute(self, said: Said, call: SDKCall, route: RouteType, provider: str, model: str, body: str) -> None:
        names = ("x-llmux-route", "x-llmux-provider", "x-llmux-model", "x-llmux-body")
        self.assertEqual([said.headers.get(name) for name in names], [route.value, provider, model, body], call.name)

    async def test_aProviderThatServesTheModelAnswersEverySDK(self) -> None:
        daemon = await self.begin()
        for call in CALLS:
            model = f"own-{call.family}"
            said = await self.said(daemon, call, model)
            # The label of a stream leaves before its events are known, and Amp's shape fixes may concern any of them.
            body = "spliced" if call.name == "messages, streamed" else "identical"
            self.assertRoute(said, call, RouteType.LOCAL_PROVIDER, call.family, model, body)
            self.assertEqual(said.models, {model}, call.name)
            self.assertServed(call, model)
        self.assertEqual(len(self.providers.requests), len(CALLS))
        self.assertEqual(self.upstream.requests, [])

    async def test_aMappedModelAnswersEverySDKUnderTheNameItAskedFor(self) -> None:
        daemon = await self.begin()
        for call in CALLS:
            asked, model = f"asked-{call.family}", f"own-{call.family}"
            said = await self.said(daemon, call, asked)
            self.assertRoute(said, call, RouteType.MODEL_MAPPING, call.family, model, "spliced")
            self.assertEqual(said.models, {asked}, call.name)
            self.assertServed(call, model)
        self.assertEqual(len(self.providers.requests), len(CALLS))
        self.assertEqual(self.upstream.requests, [])

    async def test_theUpstreamAnswersEverySDKForCredits(self) -> None:
        daemon = await self.begin()
        for call in CALLS:
            model = f"paid-{call.family}"
            said = await self.said(daemon, call, model)
            self.assertRoute(said, call, RouteType.AMP_CREDITS, "upstream", model, "identical")
            self.assertEqual(said.models, {model}, call.name)
            seen = self.upstream.requests[-1]
            prefix = f"/api/provider/{CREDITS_PREFIX[call.family]}"
            self.assertEqual(seen.target, prefix + call.path.replace("M", model), call.name)
            self.assertEqual(seen.all("x-api-key"), [UPSTREAM_KEY], call.name)
            self.assertEqual(seen.all("authorization"), [f"Bearer {UPSTREAM_KEY}"], call.name)
            self.assertEqual(seen.all("x-goog-api-key"), [], call.name)
            self.assertNotIn(CLIENT_KEY, repr(seen.headers), call.name)
        self.assertEqual(len(self.upstream.requests), len(CALLS))
        self.assertEqual(self.providers.requests, [])

    async def test_everySDKReadsTheRefusalAndWhichLineToChange(self) -> None:
        daemon = await self.begin()
        lines = daemon.config.read_text(encoding="utf-8").splitlines()
        place = 1 + next(number for number, line in enumerate(lines) if "credits:" in line)
        for call in CALLS:
            asking = deferToThread(call.run, daemon.url, CLIENT_KEY, "nobody-has-it")
            problem = await self.assertFailure(
                asking, openai.InternalServerError, anthropic.InternalServerError, ServerError
            )
            status = getattr(problem, "status_code", None) or getattr(problem, "code", None)
            self.assertEqual(status, 503, call.name)
            self.assertIn("No provider available for model: nobody-has-it", str(problem), call.name)
            self.assertIn(f"credits.allow at llmux.yaml:{place}", str(problem), call.name)
        self.assertEqual(self.providers.requests + self.upstream.requests, [])

    def assertServed(self, call: SDKCall, model: str) -> None:
        seen = self.providers.requests[-1]
        self.assertEqual(seen.target, SERVED_PATHS[call.path].replace("M", model), call.name)
        self.assertEqual(sent_key(seen), PROVIDER_KEY[call.family], call.name)
        self.assertNotIn(CLIENT_KEY, repr(seen.headers), call.name)
        if call.family != "gemini":
            self.assertEqual(seen.json()["model"], model, call.name)
