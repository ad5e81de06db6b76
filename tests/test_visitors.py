"""Sessions of browsers: how they begin and end, and what their cookies and tokens are worth."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.client_keys import ClientKeys
from llmux.headers import RawHeaders
from llmux.web.visitors import MOST_SESSIONS, SESSION_SECONDS, Visitor, Visitors, cookie, port_of, proves

KEYS = ClientKeys(["ck-1", "ck-2"])
HOST = (b"Host", b"127.0.0.1:8317")


class VisitorCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.visitors = Visitors(self.clock.seconds)

    def sign_in(self, key: str = "ck-1") -> Visitor:
        visitor = self.visitors.sign_in(KEYS, key)
        assert visitor is not None
        return visitor

    def shown(self, visitor: Visitor) -> RawHeaders:
        pair = cookie(visitor, b"8317", secure=False).partition(b";")[0]
        return [HOST, (b"Cookie", b"other=1; " + pair + b"; more=2")]


class SessionTests(VisitorCase):
    def test_theRightKeyBeginsASessionThatItsCookieContinues(self) -> None:
        visitor = self.sign_in()
        self.assertEqual(self.visitors.recognise(KEYS, self.shown(visitor)), visitor)

    def test_aWrongKeyBeginsNone(self) -> None:
        for key in ("ck-3", "", "ck-1x", "\ud800", "Bearer ck-1"):
            self.assertIsNone(self.visitors.sign_in(KEYS, key), key)
        self.assertIsNone(self.visitors.sign_in(ClientKeys([]), "ck-1"))

    def test_nobodyIsRecognisedByAnythingElse(self) -> None:
        self.sign_in()
        for value in (b"", b"llmux-session-8317=", b"llmux-session-8317=x", b"x=1;;=;llmux-session-8317"):
            self.assertIsNone(self.visitors.recognise(KEYS, [HOST, (b"Cookie", value)]), value)
        self.assertIsNone(self.visitors.recognise(KEYS, [HOST]))

    def test_sessionsOfOtherPortsAreOthers(self) -> None:
        headers = self.shown(self.sign_in())
        self.assertIsNone(self.visitors.recognise(KEYS, [(b"Host", b"127.0.0.1:9000"), *headers[1:]]))

    def test_aSessionEndsWhenItIsNotUsed(self) -> None:
        visitor = self.sign_in()
        self.clock.advance(SESSION_SECONDS - 1)
        self.assertIsNotNone(self.visitors.recognise(KEYS, self.shown(visitor)))
        self.clock.advance(SESSION_SECONDS - 1)
        self.assertTrue(self.visitors.holds(visitor, KEYS))
        self.clock.advance(2)
        self.assertFalse(self.visitors.holds(visitor, KEYS))
        self.assertIsNone(self.visitors.recognise(KEYS, self.shown(visitor)))

    def test_askingWhetherItHoldsDoesNotProlongIt(self) -> None:
        visitor = self.sign_in()
        for _ in range(13):
            self.visitors.holds(visitor, KEYS)
            self.clock.advance(SESSION_SECONDS / 12)
        self.assertFalse(self.visitors.holds(visitor, KEYS))

    def test_signingOutEndsThatSessionOnly(self) -> None:
        one, other = self.sign_in(), self.sign_in()
        self.visitors.sign_out(one)
        self.visitors.sign_out(one)
        self.assertIsNone(self.visitors.recognise(KEYS, self.shown(one)))
        self.assertIsNotNone(self.visitors.recognise(KEYS, self.shown(other)))

    def test_aKeyThatLeavesTheConfigurationTakesItsSessionsAlong(self) -> None:
        one, other = self.sign_in("ck-1"), self.sign_in("ck-2")
        fewer = ClientKeys(["ck-2"])
        self.assertFalse(self.visitors.holds(one, fewer))
        self.assertTrue(self.visitors.holds(other, fewer))
        self.assertFalse(self.visitors.holds(one, KEYS))

    def test_thereAreNeverMoreThanSoMany(self) -> None:
        first, second = self.sign_in(), self.sign_in()
        self.visitors.recognise(KEYS, self.shown(first))
        for _ in range(MOST_SESSIONS - 1):
            self.sign_in()
        self.assertTrue(self.visitors.holds(first, KEYS))
        self.assertFalse(self.visitors.holds(second, KEYS))


class TokenTests(VisitorCase):
    def test_everySessionHasATokenOfItsOwn(self) -> None:
        tokens = {self.sign_in().token, self.sign_in().token, self.visitors.without_session().token}
        tokens |= {self.visitors.sign_in_token, Visitors(self.clock.seconds).without_session().token}
        self.assertEqual(len(tokens), 5)
        self.assertEqual(self.visitors.without_session(), self.visitors.without_session())

    def test_onlyTheTokenProves(self) -> None:
        token = self.visitors.without_session().token
        self.assertTrue(proves(token, token))
        for shown in ("", token[:-1], token.upper(), "\ud800", token + "0"):
            self.assertFalse(proves(token, shown))

    def test_neitherSessionNorTokenIsInTheRepr(self) -> None:
        visitor = self.sign_in()
        for secret in (visitor.session, visitor.token):
            self.assertNotIn(secret, repr(visitor))


class CookieTests(VisitorCase):
    def test_itIsOutOfReachOfScriptsAndOtherSitesAndPaths(self) -> None:
        visitor = self.sign_in()
        made = cookie(visitor, b"8317", secure=True).decode()
        self.assertEqual(
            made,
            f"llmux-session-8317={visitor.session}; Path=/llmux; HttpOnly; SameSite=Strict; Max-Age=43200; Secure",
        )

    def test_signingOutTakesItAway(self) -> None:
        made = cookie(Visitor("", ""), b"8317", secure=False)
        self.assertEqual(made, b"llmux-session-8317=; Path=/llmux; HttpOnly; SameSite=Strict; Max-Age=0")

    def test_thePortIsThatOfTheHost(self) -> None:
        for host, port in (
            (b"127.0.0.1:8317", b"8317"),
            (b"[::1]:8317", b"8317"),
            (b"[::1]", b"default"),
            (b"localhost", b"default"),
            (b"localhost:", b"default"),
            (b"localhost:a\xb2", b"default"),
        ):
            self.assertEqual(port_of([(b"host", host)]), port, host)
        self.assertEqual(port_of([]), b"default")
