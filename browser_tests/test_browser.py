"""The status page in a real Chromium, served by the real daemon: without scripts and with them, in light and dark."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from browser_tests.browser import Browser
from tests.running import Daemon, free_port

KEY = "client-key-of-the-tests"
HOSTILE = "</td></script><img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
T = TypeVar("T")


def config(keys: str, dead_port: int) -> str:
    """The demo, and a provider that nobody can reach."""
    return f"""\
api-keys: [{keys}]
providers:
  - {{name: demo, kind: demo}}
  - name: dead
    kind: openai
    base-url: http://127.0.0.1:{dead_port}
    api-keys: [sk-the-key-of-the-dead-one]
    models: [gone-1]
ampcode:
  model-mappings: [{{from: old-model, to: demo}}]
"""


class Page:
    """One browser at the page of one daemon; blocking, for a thread."""

    def __init__(self, root: str, **how: Any) -> None:
        self.root = root
        self.browser = Browser(**how)

    def ask(self, path: str, body: Mapping[str, Any]) -> int:
        """One model request of some other client; the status of the answer, which is read to its end."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        try:
            with urlopen(Request(self.root + path, json.dumps(body).encode(), headers), timeout=30) as answer:
                answer.read()
                return int(answer.status)
        except HTTPError as error:
            error.read()
            return error.code

    def chat(self, model: str, stream: bool = False) -> int:
        """Ask a model in OpenAI's format."""
        messages = [{"role": "user", "content": "Hello from the tests"}]
        more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        return self.ask("/v1/chat/completions", {"model": model, "messages": messages, **more})

    def open(self, path: str = "/llmux/") -> None:
        """Go to a page of the daemon."""
        self.browser.open(self.root + path)

    def rows(self) -> list[str]:
        """The requests that are shown, as text."""
        return [text for text in self.browser.texts("#rows tr:not(.empty)") if text]

    def fact(self, name: str) -> str:
        """One number of the moment."""
        return dict(zip(self.browser.texts("#facts dt"), self.browser.texts("#facts dd"), strict=True))[name]

    def live(self) -> bool:
        """Whether the page says that it is live."""
        return self.browser.texts("#live") == ["live"]

    def keep(self, name: str) -> None:
        """Save a screenshot where LLMUX_SCREENSHOTS says, for people."""
        folder = os.environ.get("LLMUX_SCREENSHOTS")
        if folder:
            (Path(folder) / f"{name}.png").write_bytes(self.browser.screenshot())


class BrowserCase(TestCase):
    """A daemon, with `api-keys` unless `keys` is empty; a test speaks to its browser in a thread."""

    timeout = 180
    keys = ""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.daemon = await self.start()

    async def start(self) -> Daemon:
        daemon = await Daemon(config(self.keys, free_port())).started()
        self.addCleanup(lambda: Deferred.fromCoroutine(daemon.stop()))
        return daemon

    async def browse(self, visit: Callable[[Page], T], expected: str = "", **how: Any) -> T:
        """Let a browser visit the page; it must not complain of anything, the policy included, but what is expected."""

        def visiting() -> T:
            page = Page(self.daemon.url, **how)
            try:
                found = visit(page)
                complaints = [each for each in page.browser.complaints() if not expected or expected not in each]
            finally:
                page.browser.stop()
            if complaints:
                raise AssertionError(f"the browser complained: {complaints}")
            return found

        found: T = await deferToThread(visiting)
        return found


class WithoutScriptsTests(BrowserCase):
    async def test_theNumbersAreThere(self) -> None:
        def visit(page: Page) -> None:
            self.assertEqual([page.chat("demo"), page.chat("old-model"), page.chat("nobody")], [200, 200, 503])
            page.open()
            newest, mapped, first = page.rows()
            for text in ("no provider", "nobody", "503"):
                self.assertIn(text, newest)
            for text in ("model mapping", "old-model", "demo", "200"):
                self.assertIn(text, mapped)
            self.assertIn("local provider", first)
            self.assertEqual((page.fact("requests, 24 h"), page.fact("failed")), ("3", "1"))
            self.assertEqual(len(page.browser.find("#day svg rect.local_provider")), 1)
            self.assertEqual(page.browser.texts("#live"), [""])
            self.assertIn("sk-t...-one", page.browser.one(".config").text)
            page.keep("no-scripts")

        await self.browse(visit, javascript=False)

    async def test_theFormsWork(self) -> None:
        def visit(page: Page) -> None:
            self.assertEqual(page.chat("gone-1"), 502)
            page.open()
            self.assertEqual(page.fact("cooldowns"), "1")
            page.browser.one("#cooldowns button").click()
            page.browser.until(lambda: page.browser.url.endswith("/llmux/#cooling"))
            self.assertEqual(page.fact("cooldowns"), "0")
            page.browser.one("input[name=explain]").type("old-model\n")
            page.browser.until(lambda: "explain=old-model" in page.browser.url)
            self.assertIn("model mapping", page.browser.one(".decision").text)
            self.assertIn("demo at demo", page.browser.one(".decision").text)

        await self.browse(visit, javascript=False)


class LiveTests(BrowserCase):
    async def test_requestsAppearAndChangeAsTheyGoBy(self) -> None:
        def visit(page: Page) -> None:
            page.open()
            page.browser.until(page.live)
            self.assertEqual(page.browser.texts("#rows tr"), ["No request yet. The next one appears here."])
            asking = threading.Thread(target=page.chat, args=("demo", True))
            asking.start()
            page.browser.until(lambda: any("streaming" in row for row in page.rows()))
            asking.join()
            page.browser.until(lambda: "200" in page.rows()[0])
            (row,) = page.rows()
            self.assertIn("local provider", row)
            tokens = [int(cell) for cell in page.browser.texts("#rows td[data-n=in], #rows td[data-n=out]") if cell]
            self.assertTrue(len(tokens) == 2 and all(tokens), tokens)
            page.chat("nobody")
            page.browser.until(lambda: len(page.rows()) == 2)
            self.assertIn("no provider", page.rows()[0])
            page.browser.until(lambda: page.fact("requests, 24 h") == "2")
            page.browser.until(lambda: page.browser.find("#day svg rect.no_provider"))
            page.keep("live")

        await self.browse(visit)

    async def test_aReloadIsSeenWhileThePageIsOpen(self) -> None:
        def visit(page: Page) -> None:
            page.open()
            page.browser.until(page.live)
            (before,) = page.browser.texts("#about")
            self.assertIn("generation 1,", before)
            text = self.daemon.config.read_text(encoding="utf-8")
            self.daemon.config.write_text(text.replace("old-model", "older-model"), encoding="utf-8")
            page.browser.until(lambda: "generation 2," in page.browser.texts("#about")[0])
            (after,) = page.browser.texts("#about")
            self.assertNotEqual(before.partition("digest")[2], after.partition("digest")[2])
            self.assertIn("older-model", page.browser.texts("#settings")[0])

        await self.browse(visit)

    async def test_aHostileModelNameIsTextBeforeAndAfterTheScriptSawIt(self) -> None:
        def visit(page: Page) -> None:
            page.chat(HOSTILE)
            page.open()
            page.browser.until(page.live)
            page.chat(HOSTILE)
            page.browser.until(lambda: len(page.rows()) == 2)
            for row in page.rows():
                self.assertIn(HOSTILE, row)
            self.assertEqual(page.browser.find("img, main script"), [])
            self.assertEqual(page.browser.run("return document.title"), "llmux")
            page.open(f"/llmux/?explain={HOSTILE.replace(' ', '%20').replace('=', '%3D')}")
            self.assertEqual(page.browser.run("return document.title"), "llmux")

        await self.browse(visit)

    async def test_whatTheReaderOpenedOrIsAboutToPressStaysSo(self) -> None:
        def visit(page: Page) -> None:
            page.chat("gone-1")
            page.open()
            page.browser.until(page.live)
            page.browser.one("#numbers summary").click()
            page.browser.run("document.querySelector('#cooldowns button').focus()")
            page.chat("demo")
            page.browser.until(lambda: page.fact("requests, 24 h") == "2")
            self.assertTrue(page.browser.run("return document.getElementById('numbers').open"))
            self.assertEqual(page.browser.run("return document.activeElement.textContent"), "Clear")
            page.browser.run("document.activeElement.click()")
            page.browser.until(lambda: page.fact("cooldowns") == "0")

        await self.browse(visit)

    async def test_theListStaysShort(self) -> None:
        def visit(page: Page) -> None:
            page.open()
            page.browser.until(page.live)
            for number in range(40):
                page.chat(f"nobody-{number}")
            page.browser.until(lambda: "nobody-39" in (page.rows() or [""])[0])
            names = page.browser.texts("#rows td.model b")
            self.assertEqual(names, [f"nobody-{number}" for number in range(39, 9, -1)])
            page.open("/llmux/?rows=500")
            page.browser.until(page.live)
            self.assertEqual(len(page.rows()), 40)

        await self.browse(visit)

    async def test_thePageComesBackWhenTheDaemonDoes(self) -> None:
        page = await deferToThread(Page, self.daemon.url)
        self.addCleanup(page.browser.stop)

        def see() -> None:
            page.chat("demo")
            page.open()
            page.browser.until(page.live)

        await deferToThread(see)
        await self.daemon.stop()
        self.assertEqual(self.daemon.process.returncode, 0)
        await deferToThread(page.browser.until, lambda: page.browser.texts("#live") == ["reconnecting"])
        with mock.patch("tests.running.free_port", return_value=self.daemon.port):
            await self.start()
        await deferToThread(page.browser.until, lambda: page.live() and not page.rows(), 40.0)


class SignInTests(BrowserCase):
    keys = KEY

    def sign_in(self, page: Page, key: str = KEY) -> None:
        page.browser.one("input[name=key]").type(f"{key}\n")

    async def test_aKeyOpensThePageUntilItIsSignedOut(self) -> None:
        def visit(page: Page) -> None:
            page.open()
            self.assertEqual(page.browser.texts("button"), ["Sign in"])
            self.sign_in(page)
            page.browser.until(page.live)
            self.assertNotIn("key", page.browser.url)
            self.assertEqual(page.browser.run("return document.cookie"), "")
            (cookie,) = page.browser.command("GET", "/cookie")
            self.assertEqual((cookie["httpOnly"], cookie["sameSite"], cookie["path"]), (True, "Strict", "/llmux"))
            page.chat("demo")
            page.browser.until(page.rows)
            page.browser.one("form[action$=sign-out] button").click()
            page.browser.until(lambda: page.browser.texts("button") == ["Sign in"])
            page.open()
            self.assertEqual(page.browser.find("#rows"), [])

        await self.browse(visit, expected="status of 401")

    async def test_itNeedsNoScripts(self) -> None:
        def visit(page: Page) -> None:
            page.open()
            self.sign_in(page, "wrong")
            page.browser.until(lambda: page.browser.texts(".problem") == ["That is not one of the client keys."])
            page.keep("sign-in")
            self.sign_in(page)
            page.browser.until(lambda: page.browser.find("#rows"))
            page.browser.one("form[action$=sign-out] button").click()
            page.browser.until(lambda: page.browser.texts("button") == ["Sign in"])

        await self.browse(visit, expected="status of 401", javascript=False)


class ForeignPage(BaseHTTPRequestHandler):
    """A page of another origin that tries to use the daemon through its visitor's browser."""

    def do_GET(self) -> None:
        body = f"""<!doctype html><title>foreign</title><iframe src="{self.path[1:]}/llmux/"></iframe>
            <form method=post action="{self.path[1:]}/llmux/clear"><button>Win a prize</button></form>""".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class ForeignTests(BrowserCase):
    async def test_anotherOriginCanNeitherFrameReadNorClear(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), ForeignPage)
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

        def visit(page: Page) -> None:
            page.chat("gone-1")
            page.browser.open(f"http://localhost:{server.server_port}/{page.root}")
            read = "return fetch(arguments[0]).then(a => a.text(), () => 'refused')"
            self.assertEqual(page.browser.run(read, f"{page.root}/llmux/"), "refused")
            framed = "try { return frames[0].document.title } catch { return 'refused' }"
            self.assertEqual(page.browser.run(framed), "refused")
            page.browser.one("button").click()
            page.browser.until(lambda: "/llmux/clear" in page.browser.url)
            self.assertIn("Access denied", page.browser.one("body").text)
            page.open()
            self.assertEqual(page.fact("cooldowns"), "1")

        await self.browse(visit, expected="http://127.0.0.1:")

    async def test_aPageOfTheSameOriginCanNeitherHoldNorReadIt(self) -> None:
        def visit(page: Page) -> None:
            # The daemon's own /healthz stands for a page of the upstream, which has the same origin.
            page.open("/healthz")
            read = "return fetch('/llmux/').then(a => a.status)"
            self.assertEqual(page.browser.run(read), 403)
            opened = """
                const held = window.open('/llmux/');
                return new Promise(done => setTimeout(() => done(held.closed || held.document === undefined), 1500));
            """
            self.assertTrue(page.browser.run(opened))

        await self.browse(visit, expected="http://127.0.0.1:")


class LooksTests(BrowserCase):
    """What can be said of looks without an eye: colours obey, nothing is wider than the screen, text is readable."""

    COLOURS = """
        const of = (name, part) => getComputedStyle(document.querySelector(name))[part];
        return [of('body', 'backgroundColor'), of('body', 'color'), of('.requests small', 'color')];
    """

    def luminance(self, colour: str) -> float:
        channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(self, one: str, other: str) -> float:
        low, high = sorted((self.luminance(one), self.luminance(other)))
        return (high + 0.05) / (low + 0.05)

    def look(self, name: str) -> Callable[[Page], list[str]]:
        def visit(page: Page) -> list[str]:
            for model in (
                "demo",
                "old-model",
                "nobody",
                "gone-1",
                "claude-with-a-name-that-goes-on-and-on-" + "x" * 80,
            ):
                page.chat(model)
            page.open("/llmux/?explain=old-model")
            page.browser.until(page.live)
            page.browser.one("#numbers summary").click()
            width, screen = page.browser.run("return [document.documentElement.scrollWidth, innerWidth]")
            self.assertLessEqual(width, screen)
            page.keep(name)
            ground, *inks = page.browser.run(self.COLOURS)
            for ink in inks:
                self.assertGreaterEqual(self.contrast(ground, ink), 4.5, (ground, ink))
            return [ground, *inks]

        return visit

    async def test_lightAndDarkOnADesk(self) -> None:
        light = await self.browse(self.look("desk-light"), width=1360)
        dark = await self.browse(self.look("desk-dark"), width=1360, dark=True)
        self.assertGreater(self.luminance(light[0]), 0.9)
        self.assertLess(self.luminance(dark[0]), 0.05)

    async def test_lightAndDarkOnAPhone(self) -> None:
        for dark in (False, True):
            name = "phone-dark" if dark else "phone-light"
            await self.browse(self.look(name), width=390, height=844, mobile=True, dark=dark)
        await self.browse(self.look("phone-small"), width=320, height=640, mobile=True)
