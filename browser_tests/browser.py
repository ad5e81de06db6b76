"""Chromium for the tests, driven through chromedriver's HTTP interface (W3C WebDriver) with the standard library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PATIENCE = 20.0
STARTUP_SECONDS = 60.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class Element:
    """One element of the page."""

    def __init__(self, browser: Browser, identity: str) -> None:
        self._browser = browser
        self.path = f"/element/{identity}"

    @property
    def text(self) -> str:
        """What a reader sees of it."""
        return str(self._browser.command("GET", f"{self.path}/text"))

    def click(self) -> None:
        """Press it."""
        self._browser.command("POST", f"{self.path}/click", {})

    def type(self, text: str) -> None:
        """Type into it."""
        self._browser.command("POST", f"{self.path}/value", {"text": text})


class Browser:
    """One fresh Chromium with a profile of its own; `stop` ends it.

    `javascript` False switches scripts off for every page, `dark` asks for dark colours, `width` is in CSS pixels.
    """

    def __init__(
        self, *, javascript: bool = True, dark: bool = False, width: int = 1280, height: int = 900, mobile: bool = False
    ) -> None:
        for program in ("chromium", "chromedriver"):
            if shutil.which(program) is None:
                raise AssertionError(f"{program} is not installed; Debian's packages are chromium and chromium-driver")
        self._profile = tempfile.mkdtemp(prefix="llmux-browser-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._profile},
            start_new_session=True,
        )
        self._session = ""
        try:
            self._begin(javascript, dark, width, height, mobile)
        except BaseException:
            self.stop()
            raise

    def _begin(self, javascript: bool, dark: bool, width: int, height: int, mobile: bool) -> None:
        options: dict[str, Any] = {
            "args": [*_SWITCHES, f"--user-data-dir={self._profile}/data", f"--window-size={width},{height}"],
            "prefs": {"profile.managed_default_content_settings.javascript": 1 if javascript else 2},
        }
        self.until(lambda: self._answers(), STARTUP_SECONDS)
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        if mobile:
            self.devtools(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=True
            )

    def _answers(self) -> bool:
        try:
            return bool(self._call("GET", "/status")["ready"])
        except OSError:
            return False

    def _call(self, method: str, path: str, value: Mapping[str, Any] | None = None) -> Any:
        data = None if value is None else json.dumps(value).encode()
        request = Request(f"http://127.0.0.1:{self._port}{path}", data, {"Content-Type": "application/json"})
        request.method = method
        try:
            with urlopen(request, timeout=STARTUP_SECONDS) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read()[:500]!r}") from None

    def command(self, method: str, path: str, value: Mapping[str, Any] | None = None) -> Any:
        """One command of the session."""
        return self._call(method, self._session + path, value)

    def devtools(self, name: str, **parameters: Any) -> Any:
        """One command of Chromium's own protocol."""
        return self.command("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.command("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self.command("GET", "/url"))

    def find(self, selector: str) -> list[Element]:
        """The elements that match a CSS selector."""
        found = self.command("POST", "/elements", {"using": "css selector", "value": selector})
        return [Element(self, each[_ELEMENT]) for each in found]

    def one(self, selector: str) -> Element:
        """The only element that matches a CSS selector."""
        found = self.find(selector)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} elements match {selector!r}")
        return found[0]

    def texts(self, selector: str) -> list[str]:
        """What a reader sees of all that match, at one moment."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText)", selector
        )
        return found

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page; works with scripts of pages switched off, too."""
        return self.command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, holds: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Wait until something holds, and give it."""
        deadline = time.monotonic() + seconds
        while True:
            found = holds()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError("it did not come to that in time")
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since the last call, violations of the page's policy included."""
        return [entry["message"] for entry in self.command("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, whole: bool = True) -> bytes:
        """The page as a PNG, `whole` with what has to be scrolled to."""
        if not whole:
            return base64.b64decode(self.command("GET", "/screenshot"))
        found = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def stop(self) -> None:
        """End the browser and its driver, and remove the profile."""
        if self._session:
            try:
                self.command("DELETE", "")
            except (AssertionError, OSError):
                self._session = ""
        with suppress(ProcessLookupError):
            os.killpg(self._driver.pid, signal.SIGKILL)
        self._driver.wait()
        shutil.rmtree(Path(self._profile), ignore_errors=True)
