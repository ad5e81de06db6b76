"""Canaries in every place where a secret can be: none may sing in a log, an answer, a page or to the wrong peer."""

from __future__ import annotations

import gzip
import hashlib
import html
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.internet.threads import deferToThread

from llmux.web.routes import ROUTES
from tests.end_to_end import EndToEndCase, RawClient, ask, eventually, request_bytes
from tests.native_answers import script as native
from tests.running import Daemon
from tests.scripted import ScriptedServer, Seen


def canary(name: str) -> str:
    """A secret that is told apart from all others, also when its first and last four characters are masked."""
    return f"cnry-{name}-{hashlib.sha256(name.encode()).hexdigest()[:20]}"


CLIENT, OTHER_CLIENT, WRONG_CLIENT = canary("client"), canary("other-client"), canary("wrong-client")
UPSTREAM, OTHER_UPSTREAM = canary("upstream"), canary("other-upstream")
FROM_FILE = canary("from-file")
KINDS = ("anthropic", "openai", "openai-responses", "gemini")
PROVIDER = {kind: canary(f"key-{kind}") for kind in KINDS}
HEADER = {kind: canary(f"header-{kind}") for kind in KINDS}
PROMPT, COOKIE = canary("prompt"), canary("cookie")
IN_A_BAD_FILE, IN_AN_ANSWER = canary("bad-file"), canary("answer")
KEYS = (CLIENT, OTHER_CLIENT, WRONG_CLIENT, UPSTREAM, OTHER_UPSTREAM, FROM_FILE, IN_A_BAD_FILE)
CREDENTIALS = (*KEYS, *PROVIDER.values(), *HEADER.values())
ALL = (*CREDENTIALS, PROMPT, COOKIE)
EVERYWHERE = {"Authorization": "Bearer {0}", "X-Api-Key": "{0}", "X-Goog-Api-Key": "{0}"}
EVENTS = "/llmux/events"
PATHS = (
    "/v1/messages",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1beta/models/{0}:generateContent",
    "/v1beta/models/{0}:streamGenerateContent?alt=sse",
    "/api/provider/any/v1/messages?key={1}",
)


def heard(text: str | bytes, secrets: tuple[str, ...] = ALL) -> list[str]:
    """Which secrets a text gives away; their masked forms do not count."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return [secret for secret in secrets if secret[4:-4] in text]


def body(model: str, stream: bool) -> bytes:
    """A request that every format understands, with the prompt in each of its places."""
    message = {"role": "user", "content": PROMPT, "parts": [{"text": PROMPT}]}
    asked = {"model": model, "stream": stream, "max_tokens": 9, "messages": [message], "input": PROMPT}
    return json.dumps({**asked, "contents": [message], "system": PROMPT, "instructions": PROMPT}).encode()


def gemini_body(stream: bool) -> bytes:
    """The same for paths that carry the model."""
    return json.dumps({"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}).encode()


# How a peer fails. Each of them gives back what it was sent, where it can.


def credentials_in(seen: Seen) -> str:
    """All that a careless service would echo."""
    names = ("authorization", "x-api-key", "x-goog-api-key", "x-team")
    return " ".join(value for name, value in seen.headers if name.lower() in names)


def _echo(status: int) -> Callable[[Seen], None]:
    def script(seen: Seen) -> None:
        told = json.dumps({"type": "error", "error": {"type": "x", "message": f"no: {credentials_in(seen)}"}}).encode()
        seen.reply(
            status, told, headers=[("X-Echo", credentials_in(seen)), ("Set-Cookie", f"a={credentials_in(seen)}")]
        )

    return script


def _text(seen: Seen) -> None:
    seen.reply(200, f"<html>{IN_AN_ANSWER}</html>".encode(), headers=[("X-Echo", credentials_in(seen))])


def _garbage(seen: Seen) -> None:
    seen.write(f"HTTP/1.1 2x0 {credentials_in(seen)}\r\n\r\n".encode())
    seen.close()


def _bad_header(seen: Seen) -> None:
    seen.write(f"HTTP/1.1 200 OK\r\nBad Header {credentials_in(seen)}\r\n\r\n".encode())
    seen.close()


def _broken_stream(seen: Seen) -> None:
    seen.begin_stream(headers=[("X-Echo", credentials_in(seen))])
    seen.chunk(b'event: message_start\ndata: {"type":"mess')
    seen.cut()


def _nonsense_stream(seen: Seen) -> None:
    seen.stream([b"data: {no json\n\n", b"data: [1]\n\n"])


def _redirect(seen: Seen) -> None:
    seen.reply(307, b"", headers=[("Location", f"http://elsewhere/?key={credentials_in(seen).split(' ')[-1]}")])


def _early_hint(seen: Seen) -> None:
    seen.write(f"HTTP/1.1 103 Early Hints\r\nLink: {credentials_in(seen)}\r\n\r\n".encode())
    native(seen)


FAILURES: tuple[Callable[[Seen], None], ...] = (
    *(_echo(status) for status in (400, 401, 403, 404, 429, 500, 529)),
    lambda seen: seen.cut(),
    _text,
    _garbage,
    _bad_header,
    _broken_stream,
    _nonsense_stream,
    _redirect,
    _early_hint,
    native,
)

BAD_FILES = (
    f"api-kyes: [{IN_A_BAD_FILE}]\n",
    f"api-keys: {{{IN_A_BAD_FILE}: 1}}\n",
    f"api-keys: [{IN_A_BAD_FILE}\n",
    f"api-keys: '{IN_A_BAD_FILE}\n",
    f"providers: [{{name: a, kind: {IN_A_BAD_FILE}, api-keys: {IN_A_BAD_FILE}}}]\n",
    f"providers: [{{name: a, kind: openai, base-url: 'ftp://u:{IN_A_BAD_FILE}@h/', api-keys: [x]}}]\n",
    f"providers: [{{name: a, kind: openai, base-url: 'http://u:{IN_A_BAD_FILE}@h/', api-keys: [x]}}]\n",
    f"providers: [{{name: a, kind: openai, base-url: 'http://h/?k={IN_A_BAD_FILE}', api-keys: [x]}}]\n",
    f"providers: [{{name: a, kind: openai, headers: {{'X Y': {IN_A_BAD_FILE}}}, base-url: 'http://h'}}]\n",
    f"providers: [{{name: a, kind: openai, base-url: 'http://h', api-keys: [[{IN_A_BAD_FILE}]]}}]\n",
    f"ampcode: {{upstream-url: 'http://h', upstream-api-key: [{IN_A_BAD_FILE}]}}\n",
    f"ampcode: {{upstream-api-keys: [{{upstream-api-key: {IN_A_BAD_FILE}, api-keys: {{a: {IN_A_BAD_FILE}}}}}]}}\n",
    f'ampcode: {{upstream-api-key: "{IN_A_BAD_FILE}\\x00"}}\n',
)


class SecretTests(EndToEndCase):
    async def begin(self, *options: str) -> Daemon:
        self.failure: Callable[[Seen], None] = native
        self.peers = {kind: self.serve(lambda seen: self.failure(seen)) for kind in (*KINDS, "upstream")}
        self.answers = 0
        self.captures = Path(self.mktemp()).resolve()
        providers = []
        for kind in KINDS:
            base = self.peers[kind].url + ("/v1" if kind.startswith("openai") else "")
            providers.append(
                f"  - {{name: p-{kind}, kind: {kind}, base-url: '{base}', models: [m-{kind}],"
                f" api-keys: ['${{KEY_{KINDS.index(kind)}}}'], headers: {{X-Team: '{HEADER[kind]}'}}}}\n"
            )
        config = (
            f"api-keys: [{CLIENT}, '${{OTHER_CLIENT}}']\nproviders:\n{''.join(providers)}"
            "  - {name: gone, kind: openai, base-url: 'http://127.0.0.1:9/v1', models: [m-gone],"
            f" api-keys: [{PROVIDER['openai']}]}}\n"
            "  - {name: demo, kind: demo}\n"
            f"ampcode:\n  upstream-url: {self.peers['upstream'].url}\n  upstream-api-key: {UPSTREAM}\n"
            f"  upstream-api-keys: [{{upstream-api-key: {OTHER_UPSTREAM}, api-keys: [{OTHER_CLIENT}]}}]\n"
            "  credits: {allow: [paid]}\n  model-mappings: [{from: asked, to: m-anthropic}]\nlimits: {body: 20KiB}\n"
            f"capture: {{directory: '{self.captures}'}}\n"
        )
        env = {"OTHER_CLIENT": OTHER_CLIENT, "AMP_API_KEY": canary("unused"), "LLMUX_KEY": CLIENT}
        self.environment = {**env, **{f"KEY_{index}": PROVIDER[kind] for index, kind in enumerate(KINDS)}}
        return await self.run_daemon(config, "--log-level", "debug", *options, env=self.environment)

    # what clients do

    def send(self, port: int, target: str, sent: bytes | None, key: str = CLIENT, method: str | None = None) -> None:
        """One request with a key in every header and everything in the answer kept; blocks."""
        headers = {name: value.format(key) for name, value in EVERYWHERE.items()} | {"Cookie": f"session={COOKIE}"}
        try:
            answer = ask(port, target, sent, headers, method)
        except (http.client.HTTPException, OSError):
            return
        head = repr((target.partition("?")[0], answer.status, answer.headers)).encode()
        # The Responses format gives the client its own instructions back; an error has no business with them.
        self.assertSilent(head, ALL, "the head of an answer")
        self.assertSilent(head + answer.body, ALL if answer.status >= 400 else CREDENTIALS, "an answer")
        self.answers += 1

    def raw(self, port: int, sent: bytes) -> None:
        """Raw bytes, and whatever comes back; blocks."""
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            try:
                while data := connection.recv(65536):
                    self.assertSilent(data, ALL, "an answer")
                    self.answers += 1
            except OSError:
                return

    def fail_at_peers(self, port: int) -> None:
        """Every failure of every peer on every route, own format and translated, streamed and not."""
        for number, self.failure in enumerate(FAILURES):
            for model in (*(f"m-{kind}" for kind in KINDS), "asked", "paid", "m-gone"):
                route = PATHS[number % len(PATHS)] if model in ("paid", "m-gone") else None
                for path in [route] if route else [PATHS[(number + index) % len(PATHS)] for index in range(2)]:
                    stream = number % 2 == 0
                    sent = gemini_body(stream) if "{0}" in path else body(model, stream)
                    self.send(port, path.format(model, CLIENT), sent)
            self.send(port, f"/api/user?key={CLIENT}&auth_token={CLIENT}", None)
            self.send(port, "/api/threads/T-1", PROMPT.encode(), OTHER_CLIENT)
            self.send(port, f"/unknown/{number}", None, OTHER_CLIENT, "PUT")
        self.failure = native

    def fail_at_the_door(self, port: int) -> None:
        """What is refused before any peer hears of it."""
        for target in ("/v1/messages", "/v1/models", "/api/user", "/llmux/status", "/nowhere"):
            self.send(port, target, body("m-gemini", False), WRONG_CLIENT)
            for parameter in ("key", "auth_token"):
                self.raw(port, f"GET {target}?{parameter}={WRONG_CLIENT} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        for target in ("/v1/messages", "/v1/chat/completions", "/v1beta/models/m-gemini:generateContent"):
            self.send(port, target, b'{"model":"m-openai","messages":[{"role":"user","content":"' + PROMPT.encode())
            self.send(port, target, PROMPT.encode() * 2000)
            self.send(port, target, b'{"model": 7, "messages": ["%b"]}' % PROMPT.encode())
            self.send(port, target, b'{"model":"m-openai","messages":' + b"[" * 5000)
            self.send(port, target, b'{"model":"nobody","messages":["%b"]}' % PROMPT.encode())
            self.send(port, target, gzip.compress(PROMPT.encode())[:-4])
            self.send(port, f"{target}?key={CLIENT}", None, method="DELETE")
        self.send(port, f"/v1beta/models/m-gemini:sing?key={CLIENT}", gemini_body(False))
        self.send(port, f"/api/../internal/x?key={CLIENT}", None)
        key = CLIENT.encode()
        for lines in (
            b"GET /v1/models?key=%b HTTP/1.1\r\nHost: h\r\nX-Api-Key %b\r\n\r\n",
            b"GET /v1/models?key=%b HTTP/3.7\r\nX-Api-Key: %b\r\n\r\n",
            b"GET /v1/models?key=%b HTTP/1.1\r\nHost: h\r\nX-Api-Key: %b\x00\r\n\r\n",
            b"GET http://u:%b@h/v1/models HTTP/1.1\r\nHost: h\r\nX-Api-Key: %b\r\n\r\n",
            b"POST /v1/messages?key=%b HTTP/1.1\r\nHost: h\r\nX-Api-Key: %b\r\nContent-Length: 5, 7\r\n\r\nhello",
            b"POST /v1/messages?key=%b HTTP/1.1\r\nHost: h\r\nX-Api-Key: %b\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"GET /v1/models?key=%b&" + b"x" * 20000 + b" HTTP/1.1\r\nHost: h\r\nX-Api-Key: %b\r\n\r\n",
            b"GET /v1/models?key=%b HTTP/1.1\r\nHost: h\r\nX-Api-Key: %b\r\nX: " + b"x" * 40000 + b"\r\n\r\n",
            b"GET /v1/models?key=%b HTTP/1.1\r\nHost: h\r\nX-Api-Key: %b\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            b"OPTIONS /api/user?key=%b HTTP/1.1\r\nHost: h\r\nX-Api-Key: %b\r\nOrigin: http://x\r\n\r\n",
        ):
            self.raw(port, lines % (key, key))

    def read_pages(self, port: int) -> None:
        """Every page of the daemon's own."""
        own = [route.pattern for route in ROUTES if route.kind == "local" and "GET" in route.methods]
        self.assertIn("/llmux/status", own)
        for target in (*own, "/v1/models", "/v1/models/m-openai", "/v1beta/models"):
            # What never ends is read by `watch`.
            if target != EVENTS and "*" not in target:
                self.send(port, target, None)
        for key in (CLIENT, WRONG_CLIENT):
            self.send(port, "/llmux/sign-in", f"key={key}&token=x".encode())
        for model in ("m-openai", "asked", "paid", "nobody"):
            self.send(port, "/llmux/explain", json.dumps({"model": model}).encode())

    # what nobody may learn

    def assertSilent(self, text: str | bytes, secrets: tuple[str, ...], where: str) -> None:
        found = heard(text, secrets)
        if not found:
            return
        lines = text.decode("latin-1") if isinstance(text, bytes) else text
        place = next(line for line in lines.split("\n") if heard(line, tuple(found)))
        self.fail(f"{where} gives away {found}: {place[:2000]}")

    def assertOnlyOwn(self, server: ScriptedServer, kind: str, own: tuple[str, ...]) -> None:
        """A peer was sent its own credentials and nobody else's."""
        foreign = tuple(secret for secret in ALL if secret not in (*own, PROMPT))
        self.assertTrue(server.requests, kind)
        for seen in server.requests:
            self.assertSilent(f"{seen.target}\n{seen.headers}\n{seen.body!r}", foreign, f"a request to {kind}")
        told = "".join(repr(seen.headers) for seen in server.requests)
        for secret in own:
            self.assertIn(secret, told, kind)

    async def watch(self, daemon: Daemon) -> RawClient:
        """The page's stream of events, from the beginning of the test on."""
        page = await self.ask(daemon.port, "/llmux/", headers={"X-Api-Key": CLIENT})
        found = re.search(r'data-events="([^"]*)"', page.body.decode())
        assert found is not None, page
        sent = request_bytes(html.unescape(found[1]), b"", (f"X-Api-Key: {CLIENT}",), "GET")
        client = await self.connect(daemon.port, sent)
        await client.until(b" 200 OK")
        return client

    def assertNothingOnDisk(self, daemon: Daemon) -> None:
        """No file that the daemon wrote holds a credential; captures hold prompts, since that is what they are for."""
        written = [path for path in daemon.folder.rglob("*") if path.is_file() and path != daemon.config]
        for path in written:
            self.assertSilent(path.read_bytes(), ALL, str(path))
        captured = [path for path in self.captures.rglob("*") if path.is_file()]
        self.assertTrue(captured)
        for path in captured:
            self.assertSilent(path.read_bytes(), (*CREDENTIALS, COOKIE), str(path))

    async def rewrite_badly(self, daemon: Daemon) -> None:
        """Files that are refused, with a secret where the mistake is."""
        good = daemon.config.read_text(encoding="utf-8")
        for number, text in enumerate(BAD_FILES, 1):
            daemon.config.write_text(text, encoding="utf-8")
            daemon.process.send_signal(signal.SIGHUP)
            await self.refusals(daemon, number)
        daemon.config.write_text(good, encoding="utf-8")

    async def refusals(self, daemon: Daemon, count: int) -> None:
        """Wait until so many files were refused."""
        await eventually(lambda: daemon.log.count("the old configuration stays") >= count, what=f"refusal {count}")

    async def all_of_it(self, daemon: Daemon) -> None:
        """Provoke every failure, then look everywhere."""
        watching = await self.watch(daemon)
        await deferToThread(self.fail_at_peers, daemon.port)
        await deferToThread(self.fail_at_the_door, daemon.port)
        await deferToThread(self.read_pages, daemon.port)
        await self.rewrite_badly(daemon)
        self.assertIn(b"m-anthropic", watching.data)
        self.assertSilent(watching.data, ALL, EVENTS)
        self.assertGreater(self.answers, 250)
        for kind in KINDS:
            self.assertOnlyOwn(self.peers[kind], kind, (PROVIDER[kind], HEADER[kind]))
        self.assertOnlyOwn(self.peers["upstream"], "upstream", (UPSTREAM, OTHER_UPSTREAM, COOKIE))
        for seen in self.peers["upstream"].requests:
            mine = OTHER_UPSTREAM if "/T-1" in seen.target or "/unknown" in seen.target else UPSTREAM
            self.assertEqual(seen.all("x-api-key"), [mine], seen.target)
        await daemon.stop()
        self.assertIn("MODEL_MAPPING" if daemon.log.startswith("{") else "is served by", daemon.log)
        self.assertSilent(daemon.log, (*ALL, IN_AN_ANSWER), "the log")
        self.assertNothingOnDisk(daemon)

    async def test_noSecretIsInATextLogOrAnAnswer(self) -> None:
        await self.all_of_it(await self.begin())

    async def test_noSecretIsInAJSONLogOrAnAnswer(self) -> None:
        await self.all_of_it(await self.begin("--log-format", "json"))

    async def test_noSecretIsInWhatTheCommandsPrint(self) -> None:
        daemon = await self.begin()
        self.failure = _echo(401)
        await deferToThread(self.send, daemon.port, "/v1/messages", body("m-anthropic", False))
        commands = [*self.commands(daemon)]
        program = (
            "import json, sys\nfrom llmux.daemon.commands.main import main\n"
            "for line in json.loads(sys.argv[1]):\n"
            "    print('+', line)\n"
            "    try:\n        print(main(line))\n    except SystemExit as end:\n        print(end)\n"
        )
        lines = [[word.replace("FILE", str(daemon.config)) for word in line.split()] for line in commands]
        ended = await deferToThread(
            subprocess.run,
            [sys.executable, "-c", program, json.dumps(lines)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **self.environment},
        )
        printed = ended.stdout + ended.stderr
        self.assertEqual(ended.returncode, 0, printed)
        self.assertNotIn("Traceback", printed)
        self.assertIn("m-anthropic", printed)
        self.assertIn("+", printed)
        self.assertSilent(printed, ALL, "a command")

    @staticmethod
    def commands(daemon: Daemon) -> Iterator[str]:
        for name in ("routes", "models -c FILE", "status -c FILE", "cooldowns -c FILE", "reload -c FILE", "check FILE"):
            yield name
            yield f"{name} --json"
        for model in ("m-openai", "asked", "paid", "nobody"):
            yield f"explain {model} -c FILE"
            yield f"explain {model} --live -c FILE --json"
        for number, text in enumerate(BAD_FILES):
            bad = Path(f"{daemon.config}.bad{number}")
            bad.write_text(text, encoding="utf-8")
            yield f"check {bad}"
        # `env` prints the client key for pasting: that is what it is for.

    async def test_theKeyInTheSecretsFileIsForTheUpstreamAlone(self) -> None:
        self.failure = _echo(500)
        upstream = self.serve(lambda seen: self.failure(seen))
        self.answers = 0
        daemon = Daemon(
            f"api-keys: [{CLIENT}]\nproviders: [{{name: demo, kind: demo}}]\n"
            f"ampcode: {{upstream-url: '{upstream.url}', credits: allow}}\n",
            "--log-level",
            "debug",
        )
        self.addCleanup(daemon.stop)
        secrets = daemon.folder / ".local" / "share" / "amp" / "secrets.json"
        secrets.parent.mkdir(parents=True)
        secrets.write_text(json.dumps({"apiKey@https://ampcode.com/": FROM_FILE, "other": canary("other")}))
        await daemon.started()
        await deferToThread(self.send, daemon.port, "/api/user", None)
        await deferToThread(self.send, daemon.port, "/v1/messages", body("paid", False))
        self.assertEqual([seen.all("x-api-key") for seen in upstream.requests], [[FROM_FILE]] * 2)
        self.assertEqual(self.answers, 2)
        await daemon.stop()
        self.assertSilent(daemon.log, (*ALL, canary("other")), "the log")

    async def test_aMalformedSecretsFileIsNotQuoted(self) -> None:
        upstream = self.serve()
        daemon = Daemon(
            f"providers: [{{name: demo, kind: demo}}]\nampcode: {{upstream-url: '{upstream.url}', credits: allow}}\n"
        )
        self.addCleanup(daemon.stop)
        secrets = daemon.folder / ".local" / "share" / "amp" / "secrets.json"
        secrets.parent.mkdir(parents=True)
        secrets.write_text('{"apiKey@https://ampcode.com/": "' + FROM_FILE)
        await daemon.started()
        self.assertEqual((await self.ask(daemon.port, "/api/user")).status, 200)
        self.assertEqual(upstream.requests[0].all("x-api-key"), [])
        await daemon.until("the upstream secrets file is malformed")
        self.assertSilent(daemon.log, ALL, "the log")
