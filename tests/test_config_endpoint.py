"""Listening addresses."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import _parse
from twisted.trial.unittest import SynchronousTestCase

from llmux.config.endpoint import from_host, listen, parse, protected, quote
from tests.configuring import outcome


class ParseTests(SynchronousTestCase):
    def test_itAgreesWithTwisted(self) -> None:
        for written in (
            "tcp:8317:interface=127.0.0.1",
            r"tcp:port=1:interface=\:\:1",
            "unix:/run/a=b:mode=660",
            r"ssl:443:privateKey=a\\b\=c:certKey=x",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:80",
        ):
            arguments, options = _parse(written)
            found = parse(written)
            self.assertEqual(([found.kind, *found.arguments], found.options), (list(arguments), options), written)

    @settings(max_examples=100, deadline=None)
    @given(st.text("ab:=\\1/", max_size=12))
    def test_anyTextIsTakenApart(self, written: str) -> None:
        parse(written)
        self.assertEqual(parse(f"unix:{quote(written)}").arguments, (written,))


class ListenTests(SynchronousTestCase):
    def test_endpointsStayAsWritten(self) -> None:
        for written in (
            "tcp:8317:interface=127.0.0.1",
            "tcp:0",
            "tcp:port=80",
            "tcp6:80",
            "ssl:443:privateKey=k:certKey=c",
            "unix:/run/llmux.sock",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:80",
            "onion:80",
        ):
            self.assertEqual(outcome(listen, written), written)

    def test_whatIsNoEndpointIsRefusedWithAnExample(self) -> None:
        for written in ("8317", "127.0.0.1:8317", "localhost:8317", "':8317'", "tpc:80", "tcp", "::1", "'http://x:1'"):
            self.assertIn("interface=127.0.0.1", str(outcome(listen, written)), written)
        for written in ("tcp:x", "tcp:65536", "tcp:interface=1", "haproxy", "haproxy:tcp:x", "tcp:-1", "tcp:\u0668"):
            self.assertIn("refused", str(outcome(listen, written)), written)
        self.assertIn("expected a path", outcome(listen, "'unix:'"))
        self.assertEqual(outcome(listen, "''"), "refused: must not be blank")


class ReachTests(SynchronousTestCase):
    def test_loopbackAndSocketsOfThisMachineAreProtected(self) -> None:
        for written in (
            "tcp:80:interface=127.0.0.1",
            "tcp:80:interface=127.9.9.9",
            "tcp:80:interface=localhost",
            r"tcp:80:interface=\:\:1",
            r"tcp6:80:interface=\:\:ffff\:127.0.0.1",
            "ssl:80:interface=127.0.0.1",
            "unix:/x",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:80:interface=127.0.0.1",
        ):
            self.assertTrue(protected(written), written)

    def test_everythingElseIsNot(self) -> None:
        for written in (
            "tcp:80",
            "tcp:80:interface=",
            "tcp:80:interface=0.0.0.0",
            r"tcp:80:interface=\:\:",
            "tcp:80:interface=192.168.1.2",
            "tcp:80:interface=example.org",
            "tcp6:80",
            "ssl:80",
            "haproxy:tcp:80",
            "onion:80",
        ):
            self.assertFalse(protected(written), written)


class HostTests(SynchronousTestCase):
    def test_aHostAndPortBecomeAnEndpoint(self) -> None:
        self.assertEqual(from_host("127.0.0.1", 80, None), "tcp:80:interface=127.0.0.1")
        self.assertEqual(from_host("localhost", 80, None), "tcp:80:interface=127.0.0.1")
        self.assertEqual(from_host("", 80, None), "tcp:80")
        self.assertEqual(from_host("[::1]", 80, None), r"tcp:80:interface=\:\:1")
        self.assertEqual(
            from_host("::1", 80, ("c:.pem", "k.pem")), r"ssl:80:certKey=c\:.pem:privateKey=k.pem:interface=\:\:1"
        )
