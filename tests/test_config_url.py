"""Web addresses, origins and header fields."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.config.problem import ConfigError
from llmux.config.reader import Fault, Value
from llmux.config.url import headers, origin, url, url_or_blank
from tests.configuring import outcome, value


class UrlTests(SynchronousTestCase):
    def test_addressesStayAsWritten(self) -> None:
        for written in (
            "https://api.anthropic.com",
            "HTTP://Up-A",
            "http://127.0.0.1:11434/v1",
            "https://[::1]:8443/a/b/",
            "http://docker_host:80",
            "https://example.org./%7Ex",
        ):
            self.assertEqual(outcome(url, f"'{written}'"), written)

    def test_whatCannotBeUsedIsRefused(self) -> None:
        for written, problem in {
            "://nope": "begins with http",
            "api.anthropic.com": "begins with http",
            "ftp://x": "begins with http",
            "https://": "no usable host",
            "https:///path": "no usable host",
            "https://:80": "no usable host",
            "https://x:0": "no usable host",
            "https://x:": "no usable host",
            "https://x:99999": "cannot be read",
            "https://x:y": "cannot be read",
            "https://[::1": "cannot be read",
            "https://[v1.x]": "no usable host",
            "https://-x": "no usable host",
            "https://x/..": "must not have . or ..",
            "https://x/./y": "must not have . or ..",
            "https://me:sk-secret@x": "user name or password",
            "https://@x": "user name or password",
            "https://x?a=b": "query or a fragment",
            "https://x/?": "query or a fragment",
            "https://x#": "query or a fragment",
            "https://x y": "visible ASCII",
            "https://x\\\\y": "visible ASCII",
            "https://exämple.org": "visible ASCII",
            "": "must not be blank",
        }.items():
            found = outcome(url, f'"{written}"')
            self.assertIn(problem, str(found), written)
            self.assertNotIn("sk-secret", str(found))

    def test_aBlankAddressMaySwitchOff(self) -> None:
        self.assertIsNone(outcome(url_or_blank, "' '"))
        self.assertEqual(outcome(url_or_blank, "http://up-a"), "http://up-a")
        self.assertIn("begins with http", outcome(url_or_blank, "'://nope'"))

    def test_originsEndAfterThePort(self) -> None:
        self.assertEqual(outcome(origin, "https://App.example:8443"), "https://app.example:8443")
        self.assertEqual(outcome(origin, "'*'"), "*")
        self.assertIn("ends after the host", outcome(origin, "https://app.example/"))

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=20), st.text("[]:@/?#.%\\ x1", max_size=20))
    def test_anyAddressIsReadOrRefused(self, scheme: str, rest: str) -> None:
        at = value("k: ${V}\n", {"V": f"{scheme}{rest}"})
        with_host = Value(at.node, at.key, at.ledger, {"V": f"https://{rest}"})
        for each in (at, with_host):
            try:
                url(each)
            except Fault:
                continue


class HeaderTests(SynchronousTestCase):
    def test_fieldsKeepTheirSpellingAndOrder(self) -> None:
        self.assertEqual(outcome(headers, "{X-B: '1', x-a: b c, N: 3}"), (("X-B", "1"), ("x-a", "b c"), ("N", "3")))
        self.assertEqual(outcome(headers, "{X: '${V}'}", {"V": "v"}), (("X", "v"),))
        self.assertEqual(outcome(headers, "{}"), ())

    def test_faultyFieldsAreNamed(self) -> None:
        for written, problem in {
            "{'a b': x}": "not the name of a header",
            "{'': x}": "not the name of a header",
            "{Content-Length: 3}": "belongs to the connection",
            "{host: x}": "belongs to the connection",
            "{A: x, a: y}": "given twice in different case",
            '{A: "x\\ny"}': "a header cannot carry",
            "{A: é}": "a header cannot carry",
            "{A: [x]}": "expected text, found a list",
            "{A: ${NOPE}}": "environment variable NOPE is not set",
        }.items():
            self.assertIn(problem, str(self.assertRaises(ConfigError, outcome, headers, written)), written)
        self.assertEqual(outcome(headers, "[A]"), "refused: expected header names with values")
