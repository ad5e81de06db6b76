"""Bytes over real sockets: what a rule names is changed, and nothing else, however a peer cuts what it sends."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred

from tests.end_to_end import EndToEndCase
from tests.running import Daemon, pause
from tests.scripted import Seen

OWN, ASKED = "own-1", "asked/ünï-1"
MARK = "@MODEL@"
EVENTS = f"""\
: a comment that says "model":"own-1"

event: message_start
data: {{"type":"message_start","message":{{"model":"{MARK}","id":"m","content":[],"n":12345678901234567890123}}}}

data:{{"model" : "{MARK}","choices":[{{"delta":{{"content":"\\"model\\":\\"own-1\\""}}}}], "f":1.50e+10}}
id: 7

event: response.created\r
data: {{"type":"response.created",\r
data:  "response":{{"model":"{MARK}","modelVersion":\t"{MARK}", "metadata":{{"model":"own-1"}}}} }}\r
\r
data: {{"modelVersion":"{MARK}","candidates":[{{"model":"own-1"}}],"text":"höher \\u00e4 😀 \\/"}}

retry: 10
data: {{"model":null,"message":{{"model":["own-1"]}}}}

data: {{"model":"own-1", this is no JSON

data: ["own-1",{{"model":"own-1"}}]

data: {{"type":"response.completed","finishReason":"STOP"}}

data: {{"type":"message_stop"}}

data: [DONE]

"""
BODY = f"""\
{{ "model":"{MARK}" ,"message":{{"model":"{MARK}"}}, "modelVersion" : "{MARK}","n":1e400,
 "response":{{"modelVersion":"{MARK}","model":"{MARK}","model2":"own-1"}},"text":"\\u0041 own-1 😀", "z":-0.0 }}
"""
PATHS = ("/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1beta/models/M:streamGenerateContent?alt=sse")
FRAMINGS = ("chunked", "length", "close")


def as_named(template: str, name: str) -> bytes:
    """A template with the model's name in its five places."""
    return template.replace(MARK, name).encode()


def pieces(random: Random, data: bytes, longest: int) -> list[bytes]:
    """The data cut at random."""
    cut, start = [], 0
    while start < len(data):
        end = start + random.randint(1, longest)
        cut.append(data[start:end])
        start = end
    return cut


async def send_cut(seen: Seen, random: Random, kind: str, framing: str, body: bytes, longest: int) -> None:
    """Answer in random chunks, which are cut at random again on their way to the socket."""
    length = f"Content-Length: {len(body)}\r\n" if framing == "length" else ""
    transfer = "Transfer-Encoding: chunked\r\n" if framing == "chunked" else ""
    close = "Connection: close\r\n" if framing == "close" else ""
    sent = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nX-Request-Id: r-1\r\n{length}{transfer}{close}\r\n".encode()
    if framing == "chunked":
        sent += b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in pieces(random, body, longest)) + b"0\r\n\r\n"
    else:
        sent += body
    for data in pieces(random, sent, max(longest, 40)):
        seen.write(data)
        if random.random() < 0.2:
            await pause(0)
    if framing == "close":
        seen.close()


class CutAnswers(EndToEndCase):
    """The provider serves `own-1`, and `asked/ünï-1` leads there."""

    async def begin(self) -> Daemon:
        self.template = EVENTS
        self.kind = "text/event-stream"
        self.framing = "chunked"
        self.longest = 5
        self.random = Random(1)
        self.server = self.serve(self.script)
        kinds = {"anthropic": "", "openai": "/v1", "openai-responses": "/v1", "gemini": ""}
        providers = "\n".join(
            f"  - {{name: {kind}, kind: {kind}, base-url: '{self.server.url}{base}', api-keys: [k], models: [{OWN}],"
            f" protocols: [{protocol}]}}"
            for (kind, base), protocol in zip(kinds.items(), ("anthropic", "chat", "responses", "gemini"), strict=True)
        )
        return await self.run_daemon(
            f"providers:\n{providers}\nampcode:\n  model-mappings: [{{from: {ASKED}, to: {OWN}}}]\n"
        )

    def script(self, seen: Seen) -> None:
        body = as_named(self.template, OWN)
        sending = send_cut(seen, self.random, self.kind, self.framing, body, self.longest)
        Deferred.fromCoroutine(sending).addErrback(lambda failure: seen.cut())

    async def answers(self, daemon: Daemon, name: str, check: Callable[[bytes, dict[str, str], str], None]) -> None:
        """Ask in every format, with every framing and several ways of cutting."""
        path_name = name.replace("/", "%2F").replace("ü", "%C3%BC").replace("ï", "%C3%AF")
        streams = self.kind == "text/event-stream"
        for path in PATHS:
            path = path if streams else path.replace("streamGenerateContent?alt=sse", "generateContent")
            for number in range(6):
                self.random, self.longest = Random(number), (1, 2, 5, 17, 60, 400)[number]
                self.framing = FRAMINGS[number % 3]
                asked = {"model": name, "stream": streams, "messages": [], "input": "x", "max_tokens": 5}
                if "{" not in path and "models/" in path:
                    asked = {"contents": []}
                answer = await self.ask(daemon.port, path.replace("M:", f"{path_name}:"), json.dumps(asked).encode())
                self.assertEqual((answer.status, answer.broken), (200, False), answer.body)
                check(answer.body, answer.headers, f"{path}, {self.framing}, pieces of up to {self.longest}")

    async def test_aMappedStreamSaysTheAskedNameInFivePlacesAndIsTheProvidersOwnElsewhere(self) -> None:
        daemon = await self.begin()

        def check(body: bytes, headers: dict[str, str], how: str) -> None:
            self.assertEqual(body, as_named(EVENTS, ASKED), how)
            self.assertEqual(headers["x-llmux-body"], "spliced", how)
            self.assertEqual(headers["x-llmux-route"], "MODEL_MAPPING", how)

        await self.answers(daemon, ASKED, check)

    async def test_aMappedBodySaysTheAskedNameInFivePlacesAndIsTheProvidersOwnElsewhere(self) -> None:
        daemon = await self.begin()
        self.template, self.kind = BODY, "application/json; charset=utf-8"

        def check(body: bytes, headers: dict[str, str], how: str) -> None:
            self.assertEqual(body, as_named(BODY, ASKED), how)
            self.assertEqual(headers["x-llmux-body"], "spliced", how)

        await self.answers(daemon, ASKED, check)

    async def test_aProvidersOwnAnswerIsByteIdentical(self) -> None:
        daemon = await self.begin()
        for self.template, self.kind in ((EVENTS, "text/event-stream"), (BODY, "application/json; charset=utf-8")):

            def check(body: bytes, headers: dict[str, str], how: str) -> None:
                self.assertEqual(body, as_named(self.template, OWN), how)
                self.assertEqual(headers["x-llmux-route"], "LOCAL_PROVIDER", how)
                self.assertEqual([headers["content-type"], headers["x-request-id"]], [self.kind, "r-1"], how)
                if "messages" not in how:
                    self.assertEqual(headers["x-llmux-body"], "identical", how)

            await self.answers(daemon, OWN, check)


ODD_BODY = (
    '\ufeff{ "x" :1e400, "model":"ignored","stream" : false,\r\n\t"n":123456789012345678901234567890,'
    ' "text":"\\u0041 😀 \\/","messages":[ {"role":"user", "content":"say it"} ] ,"model" :"paid-\\u0031" ,'
    ' "max_tokens":5} \n'
).encode()
UNSIGNED = b'{"type":"thinking","thinking":"hm","signature":""}, '
CONVERSATION = (
    b'{"model":"paid-1","messages":[{"role":"assistant" ,"content":[ ' + UNSIGNED + b'{"type":"text","text":"a"}]}]}'
)


class CreditsTests(EndToEndCase):
    """Everything that no provider serves goes to the upstream, or nowhere when credits are denied."""

    async def begin(self, more: str = "") -> Daemon:
        self.upstream = self.serve(
            lambda seen: seen.reply(200, b'{"model": "paid-1" , "n":1e999}', headers=[("A", "1")])
        )
        return await self.run_daemon(
            f"api-keys: [client-key]\nproviders: [{{name: demo, kind: demo}}]\n"
            f"ampcode:\n  upstream-url: {self.upstream.url}/base\n  upstream-api-key: upstream-key\n{more}"
        )

    async def arrived(self, daemon: Daemon, target: str, body: bytes, **headers: str) -> Seen:
        sent = {"X-Api-Key": "client-key", **{name.replace("_", "-"): value for name, value in headers.items()}}
        answer = await self.ask(daemon.port, target, body, headers=sent)
        self.assertEqual((answer.status, answer.body), (200, b'{"model": "paid-1" , "n":1e999}'), target)
        self.assertEqual(answer.headers["x-llmux-route"], "AMP_CREDITS", target)
        self.assertEqual(answer.headers["x-llmux-body"], "identical", target)
        self.assertEqual(answer.headers["a"], "1", target)
        return self.upstream.requests[-1]

    async def test_aRequestArrivesByteForByteWithPathAndQueryAsTheyWere(self) -> None:
        daemon = await self.begin("  credits: allow\n")
        gemini = "/v1beta/models/paid-1:generateContent?b=%2f&&a=1+1&key=other"
        for target, expected in (
            ("/api/provider/anthropic/v1/messages?beta=true", "/base/api/provider/anthropic/v1/messages?beta=true"),
            ("/api/provider/xai/chat/completions", "/base/api/provider/xai/chat/completions"),
            ("/v1/messages?beta=true", "/base/api/provider/anthropic/v1/messages?beta=true"),
            ("/v1/chat/completions", "/base/api/provider/openai/v1/chat/completions"),
            ("/v1/completions", "/base/api/provider/openai/v1/completions"),
            ("/v1/responses", "/base/api/provider/openai/v1/responses"),
            (gemini, "/base/api/provider/google" + gemini),
            ("/v1/messages?key=client-key&x", "/base/api/provider/anthropic/v1/messages?x"),
        ):
            seen = await self.arrived(daemon, target, ODD_BODY)
            self.assertEqual(seen.target, expected)
            self.assertEqual(seen.body, ODD_BODY, target)
            self.assertEqual(seen.all("content-length"), [str(len(ODD_BODY))], target)

    async def test_theClientsHeadersArriveWithoutItsKeyAndWithTheUpstreams(self) -> None:
        daemon = await self.begin("  credits: allow\n")
        seen = await self.arrived(
            daemon,
            "/v1/messages",
            ODD_BODY,
            Authorization="Bearer client-key",
            X_Goog_Api_Key="client-key",
            User_Agent="an agent",
            Anthropic_Beta="context-1m-2025-08-07,b",
            X_Amp_Thread_Id="T-1",
            Cookie="a=b",
            X_Forwarded_For="10.0.0.1",
            Connection="X-Hop",
            X_Hop="1",
        )
        names = {name.lower() for name, _ in seen.headers}
        self.assertEqual(seen.all("x-api-key"), ["upstream-key"])
        self.assertEqual(seen.all("authorization"), ["Bearer upstream-key"])
        self.assertEqual(seen.header("user-agent"), "an agent")
        self.assertEqual(seen.header("anthropic-beta"), "context-1m-2025-08-07,b")
        self.assertEqual(seen.header("x-amp-thread-id"), "T-1")
        self.assertEqual(seen.header("cookie"), "a=b")
        self.assertEqual(seen.all("host"), [f"127.0.0.1:{self.upstream.number}"])
        self.assertEqual(names & {"x-goog-api-key", "x-forwarded-for", "x-hop", "accept-encoding"}, set())

    async def test_unsignedThinkingIsTheOneThingThatIsTakenOutOfCompressedRequestsToo(self) -> None:
        daemon = await self.begin("  credits: allow\n")
        seen = await self.arrived(daemon, "/v1/messages", CONVERSATION)
        self.assertEqual(seen.body, CONVERSATION.replace(UNSIGNED, b""))
        packed = gzip.compress(ODD_BODY)
        seen = await self.arrived(daemon, "/v1/messages", packed, Content_Encoding="gzip")
        self.assertEqual((seen.body, seen.all("content-encoding")), (packed, ["gzip"]))
        seen = await self.arrived(daemon, "/v1/messages", gzip.compress(CONVERSATION), Content_Encoding="gzip")
        self.assertEqual((seen.body, seen.all("content-encoding")), (CONVERSATION.replace(UNSIGNED, b""), []))

    async def test_deniedCreditsSendNothingAndTellWhichLineToChange(self) -> None:
        daemon = await self.begin("  model-mappings: [{from: nope, to: nothing}]\n  credits: deny\n")
        lines = daemon.config.read_text(encoding="utf-8").splitlines()
        place = f"ampcode.credits: deny at llmux.yaml:{lines.index('  credits: deny') + 1}"
        for target in (
            "/api/provider/anthropic/v1/messages",
            "/v1/messages",
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/responses",
            "/v1beta/models/paid-1:generateContent",
            "/v1/models/paid-1:streamGenerateContent?alt=sse",
            "/api/provider/google/v1beta1/publishers/google/models/paid-1:generateContent",
            "/v1/messages/count_tokens",
        ):
            answer = await self.ask(daemon.port, target, ODD_BODY, headers={"X-Api-Key": "client-key"})
            message = json.loads(answer.body)["error"]["message"]
            self.assertEqual(answer.status, 503, target)
            self.assertIn("No provider available for model: paid-1", message, target)
            self.assertIn(f"{place}; set it to allow or add paid-1 to credits.allow", message, target)
        self.assertEqual(self.upstream.requests, [])
        self.assertEqual(self.upstream.connections, [])

    async def test_aDayThatIsUsedUpSendsNoMore(self) -> None:
        daemon = await self.begin('  credits: {allow: ["paid-*"], daily-requests: 2}\n')
        for _ in range(2):
            await self.arrived(daemon, "/v1/messages", ODD_BODY)
        answer = await self.ask(daemon.port, "/v1/messages", ODD_BODY, headers={"X-Api-Key": "client-key"})
        self.assertEqual(answer.status, 503)
        self.assertIn("daily-requests: 2 at llmux.yaml:7", json.loads(answer.body)["error"]["message"])
        self.assertEqual(len(self.upstream.requests), 2)
