"""Headers towards the upstream and the providers and back, with the vectors of `betas.yaml`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.client_keys import Access, ClientKeys
from llmux.headers import (
    RawHeaders,
    filter_betas,
    for_changed_body,
    from_provider,
    from_upstream,
    media_type,
    redact,
    to_provider,
    to_upstream,
)
from tests import vectors

REMOVED_BETAS = ("context-1m-2025-08-07",)


def pairs(headers: Any) -> RawHeaders:
    """Turn the headers of a vector, a mapping or a list of pairs, into a raw list; a list value is several lines."""
    items = headers.items() if isinstance(headers, dict) else headers or []
    found: RawHeaders = []
    for name, value in items:
        for one in value if isinstance(value, list) else [value]:
            found.append((str(name).encode("latin-1"), str(one).encode()))
    return found


def values(headers: RawHeaders, name: str) -> list[str]:
    """All values of a name in order."""
    return [value.decode() for each, value in headers if each.decode("latin-1").lower() == name.lower()]


class Checked(SynchronousTestCase):
    """Compares headers with the small language of the vectors."""

    def assertHeaders(self, expected: dict[str, Any], headers: RawHeaders) -> None:
        for name, wanted in expected.items():
            found = values(headers, name)
            if isinstance(wanted, dict):
                allowed = [None if one is None else str(one) for one in wanted["any_of"]]
                self.assertIn(found[0] if found else None, allowed, name)
            elif wanted is None:
                self.assertEqual(found, [], name)
            elif isinstance(wanted, list):
                self.assertEqual(found, [str(one) for one in wanted], name)
            else:
                self.assertEqual(found, [str(wanted)], name)


class BetaVectors(SynchronousTestCase):
    """Every vector of `betas.yaml`."""

    def check(self, vector: dict[str, Any]) -> None:
        headers = pairs(vector["input"]["headers"])
        if vector["input"]["route"] in ("LOCAL_PROVIDER", "MODEL_MAPPING"):
            sent = to_provider(filter_betas(headers, REMOVED_BETAS), "anthropic", "pk-9")
        else:
            sent = to_upstream(headers, "uk-main")
        lines = values(sent, "anthropic-beta")
        expect = vector["expect"]
        self.assertTrue({"beta_values", "features"} & set(expect))
        if "beta_values" in expect:
            self.assertEqual(lines, expect["beta_values"])
        if "features" in expect:
            features = [item.strip() for item in ",".join(lines).split(",")] if lines else []
            self.assertEqual(features, expect["features"])

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(vectors.routing("betas")), 0)


def _method(vector: dict[str, Any]) -> Callable[[Any], None]:
    def test(self: Any) -> None:
        self.check(vector)

    test.__doc__ = f"{vector['id']}: {vector['why']}"
    return test


for _vector in vectors.routing("betas"):
    setattr(BetaVectors, "test_" + _vector["id"].replace("-", "_"), _method(_vector))


class ToUpstream(Checked):
    """Requests that cost credits or pass through."""

    def test_aClientCannotNameTheInjectedCredentialInConnection(self) -> None:
        sent = to_upstream([(b"Connection", b"close, Authorization, X-Api-Key")], "uk-1")
        self.assertHeaders({"Authorization": "Bearer uk-1", "X-Api-Key": "uk-1", "Connection": None}, sent)

    def test_everyConnectionLineCountsInAnyCase(self) -> None:
        sent = to_upstream(
            [(b"connection", b"close, x-hOp-a"), (b"X-HOP-A", b"1"), (b"CONNECTION", b",X-B,"), (b"x-b", b"")], None
        )
        self.assertEqual(sent, [])

    def test_underscoreTwinsOfCredentialsAreDropped(self) -> None:
        names = (b"X_Api_Key", b"x-api_key", b"API_KEY", b"X_Goog_Api_Key", b"Content_Length", b"Proxy_Authorization")
        self.assertEqual(to_upstream([(name, b"secret") for name in names], None), [])

    def test_framingIsLeftToWhoeverSends(self) -> None:
        sent = to_upstream(
            [(b"Host", b"h"), (b"Content-Length", b"3"), (b"Expect", b"100-continue"), (b"X-A", b"1")], None
        )
        self.assertEqual(sent, [(b"X-A", b"1")])

    def test_namesBeyondTheRememberedOnesAreJudgedAlike(self) -> None:
        long = b"X-" + b"a" * 500
        for _ in range(2):
            self.assertEqual(to_upstream([(long, b"1"), (b"X-Forwarded-" + b"b" * 500, b"2")], None), [(long, b"1")])

    def test_cookiesPassButNotWithAServiceKeyInThem(self) -> None:
        sent = to_upstream([(b"Cookie", b"a=1; k=sk-client-1; b=2"), (b"cookie", b"session=sk-client-2")], None)
        self.assertEqual(sent, [(b"Cookie", b"a=1; b=2")])

    def test_webSocketHeadersPass(self) -> None:
        given = [(b"Sec-WebSocket-Key", b"k"), (b"Sec-WebSocket-Protocol", b"rivet"), (b"Cookie", b"a=1")]
        self.assertEqual(to_upstream([*given, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")], None), given)


class ToProvider(Checked):
    """Requests that a provider of the user's own answers."""

    CLIENT: RawHeaders = [
        (b"Authorization", b"Bearer client-key-1"),
        (b"x_api_key", b"client-key-1"),
        (b"Api-Key", b"client-key-1"),
        (b"Cookie", b"session=client-key-1"),
        (b"X-Unknown", b"client-key-1"),
        (b"X-Session-Id", b"client-key-1"),
        (b"x-amp-thread-id", b"T-1"),
        (b"X-Stainless-Lang", b"js"),
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"Origin", b"https://o"),
        (b"Accept-Encoding", b"gzip"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"Content-Type", b"application/json"),
        (b"anthropic-version", b"2026-10-21"),
        (b"anthropic-beta", b"a-1"),
        (b"OpenAI-Beta", b"r=1"),
        (b"x-goog-api-client", b"genai"),
        (b"User-Agent", b"amp/9"),
    ]

    def test_eachKindGetsItsOwnCredentialAndNoOther(self) -> None:
        for kind, name, value in (
            ("anthropic", "x-api-key", "pk-9"),
            ("openai", "authorization", "Bearer pk-9"),
            ("openai-responses", "authorization", "Bearer pk-9"),
            ("gemini", "x-goog-api-key", "pk-9"),
        ):
            sent = to_provider(self.CLIENT, kind, "pk-9", client_key="client-key-1")
            expected: dict[str, Any] = dict.fromkeys(
                ("authorization", "x-api-key", "x-goog-api-key", "api-key", "x_api_key", "cookie", "x-session-id")
            )
            self.assertHeaders({**expected, name: value}, sent)
            self.assertNotIn(b"client-key-1", b"".join(value for _, value in sent), kind)

    def test_onlyWhatServicesKnowGoesThere(self) -> None:
        sent = to_provider(self.CLIENT, "anthropic", None, client_key="client-key-1")
        self.assertEqual(
            [name.lower() for name, _ in sent],
            [b"content-type", b"anthropic-version", b"anthropic-beta", b"user-agent"],
        )

    def test_familyHeadersGoToTheirFamilyOnly(self) -> None:
        self.assertHeaders(
            {"OpenAI-Beta": "r=1", "anthropic-beta": None, "x-goog-api-client": None},
            to_provider(self.CLIENT, "openai", "pk"),
        )
        self.assertHeaders(
            {"OpenAI-Beta": None, "anthropic-version": None, "x-goog-api-client": "genai"},
            to_provider(self.CLIENT, "gemini", "pk"),
        )

    def test_anAnthropicVersionIsSuppliedButNeverReplaced(self) -> None:
        self.assertHeaders({"anthropic-version": "2023-06-01"}, to_provider([], "anthropic", "pk"))
        self.assertHeaders({"anthropic-version": "2026-10-21"}, to_provider(self.CLIENT, "anthropic", "pk"))

    def test_configuredHeadersReplaceThoseOfTheSameName(self) -> None:
        sent = to_provider(self.CLIENT, "openai", "pk", (("authorization", "Custom c"), ("User-Agent", "mine/1")))
        self.assertHeaders({"Authorization": "Custom c", "User-Agent": "mine/1"}, sent)

    def test_aRewrittenBodyIsPlain(self) -> None:
        given = [(b"Content-Encoding", b"gzip"), (b"Content-Type", b"application/json")]
        self.assertEqual(to_provider(given, "openai", None, plain=True), [(b"Content-Type", b"application/json")])
        self.assertHeaders({"Content-Encoding": "gzip"}, to_provider(given, "openai", None))

    def test_acceptEncodingIsSentOnlyToAskForNone(self) -> None:
        self.assertHeaders({"Accept-Encoding": None}, to_provider(self.CLIENT, "openai", None))
        self.assertHeaders({"Accept-Encoding": "identity"}, to_provider(self.CLIENT, "openai", None, identity=True))

    def test_aBodyWithoutATypeIsJson(self) -> None:
        self.assertHeaders({"Content-Type": "application/json"}, to_provider([], "gemini", None))

    def test_theDemoGetsNoCredentialOfTheClient(self) -> None:
        self.assertHeaders({"authorization": None, "x-api-key": None}, to_provider(self.CLIENT, "demo", None))


class BackToTheClient(Checked):
    """Answers of the upstream and of providers."""

    def test_nobodyElseSpeaksOfAccessControl(self) -> None:
        given = [(b"access-control-allow-ORIGIN", b"*"), (b"Access-Control-Allow-Headers", b"*"), (b"X-A", b"1")]
        self.assertEqual(from_upstream(given), [(b"X-A", b"1")])
        self.assertEqual(from_provider(given), [(b"X-A", b"1")])

    def test_cookiesOfTheUpstreamArriveLineByLine(self) -> None:
        given = [(b"Set-Cookie", b"a=1; Path=/"), (b"Location", b"https://elsewhere/"), (b"Set-Cookie", b"b=2")]
        self.assertEqual(from_upstream(given), given)
        self.assertEqual(from_provider(given), [(b"Location", b"https://elsewhere/")])

    def test_forwardingTracesAreRemovedOnTheWayBack(self) -> None:
        self.assertEqual(from_upstream([(b"X-Forwarded-For", b"1"), (b"Forwarded", b"x"), (b"X-Real-Ip", b"2")]), [])

    def test_anEchoedCredentialIsRedacted(self) -> None:
        given = [(b"X-Echo", b"key up-key-12345 is wrong"), (b"X-A", b"1")]
        wanted = [(b"X-Echo", b"key [redacted] is wrong"), (b"X-A", b"1")]
        self.assertEqual(from_upstream(given, ("up-key-12345", None)), wanted)
        self.assertEqual(from_provider(given, ("up-key-12345",)), wanted)

    def test_bodiesAreRedactedToo(self) -> None:
        self.assertEqual(redact(b'{"m":"bad sk-abc"}', ("sk-abc", "", None)), b'{"m":"bad [redacted]"}')

    def test_gatewayMarkersOfProvidersDisappear(self) -> None:
        names = ("X-LiteLLM-Model", "Helicone-Id", "X-Portkey-Trace", "CF-AIG-Id", "X-Kong-Latency", "X-BT-Id")
        self.assertEqual(from_provider([(name.encode(), b"1") for name in names]), [])

    def test_aChangedBodyLosesWhatDescribedTheOldOne(self) -> None:
        given = [(b"Content-Length", b"9"), (b"Content-Encoding", b"gzip"), (b"Digest", b"d"), (b"X-A", b"1")]
        self.assertEqual(for_changed_body(given, 4), [(b"X-A", b"1"), (b"Content-Length", b"4")])
        self.assertEqual(for_changed_body(given, None), [(b"X-A", b"1")])

    def test_aMediaTypeHasNoParametersAndNoCase(self) -> None:
        self.assertEqual(media_type([(b"CONTENT-TYPE", b" Text/Event-Stream ; charset=utf-8")]), b"text/event-stream")
        self.assertEqual(media_type([]), b"")


class Clients(SynchronousTestCase):
    """Where client keys are found (SPEC R-RT-12)."""

    def identify(
        self, *headers: tuple[bytes, bytes], target: bytes = b"/x", keys: tuple[str, ...] = ("ck-1", "ck-2")
    ) -> Any:
        return ClientKeys(keys).identify(list(headers), target)

    def test_everyPlaceIsLookedAt(self) -> None:
        for header in (
            (b"Authorization", b"Bearer ck-2"),
            (b"authorization", b"bEARER  ck-2 "),
            (b"Authorization", b"ck-2"),
            (b"X-Api-Key", b"ck-2"),
            (b"x-goog-api-key", b" ck-2"),
        ):
            self.assertEqual(self.identify(header).key, "ck-2", header)
        for target in (b"/x?key=ck-2", b"/x?a=1&auth_token=ck-2", b"/x?%6bey=ck%2D2"):
            self.assertEqual(self.identify(target=target).key, "ck-2", target)

    def test_oneValidCredentialAmongWrongOnesIsEnough(self) -> None:
        found = self.identify((b"Authorization", b"Bearer no"), (b"X-Api-Key", b"ck-1"), target=b"/?key=wrong")
        self.assertEqual((found.access, found.key, found.allowed), (Access.VALID, "ck-1", True))

    def test_ofSeveralValidKeysTheFirstPlaceDecidesWhoItIs(self) -> None:
        places = [(b"X-Api-Key", b"ck-2"), (b"X-Goog-Api-Key", b"ck-1"), (b"Authorization", b"Bearer ck-2")]
        self.assertEqual(self.identify(*places).key, "ck-2")
        self.assertEqual(self.identify(*places[:2]).key, "ck-1")
        self.assertEqual(self.identify(*places[:1], target=b"/x?key=ck-1").key, "ck-2")
        self.assertEqual(self.identify((b"X-Api-Key", b"no"), target=b"/x?key=ck-1&auth_token=ck-2").key, "ck-1")

    def test_noCredentialAndAWrongOneAreToldApart(self) -> None:
        self.assertIs(self.identify().access, Access.MISSING)
        self.assertIs(self.identify((b"X-Api-Key", b""), (b"Authorization", b"Bearer ")).access, Access.MISSING)
        self.assertIs(self.identify(target=b"/x?key=&apikey=ck-1").access, Access.MISSING)
        self.assertIs(self.identify((b"X-Api-Key", b"ck-11")).access, Access.INVALID)
        self.assertIs(self.identify((b"Authorization", b"BearerX ck-1")).access, Access.INVALID)

    def test_withoutKeysTheDaemonIsOpenAndNobodyHasAnIdentity(self) -> None:
        found = self.identify((b"X-Api-Key", b"anything"), keys=("", "  "))
        self.assertEqual((found.access, found.key, found.allowed), (Access.OPEN, None, True))

    def test_anIdentityDoesNotPrintItsKey(self) -> None:
        self.assertNotIn("ck-1", repr(self.identify((b"X-Api-Key", b"ck-1"))))
