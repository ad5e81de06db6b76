"""Request targets: lost credentials, refused paths, joined bases."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.targets import (
    has_dot_segment,
    join_target,
    names_an_authority,
    query_credentials,
    strip_query,
    strip_query_credentials,
)

NAMES = st.sampled_from(["a", "alt", "token", "apikey", "Key", "x-key", "KEY", "keys", "rvt-token", ""])
TEXT = st.text(alphabet="abc%25=+;,/?:@-_.~[]{}|^`", max_size=12)
FOREIGN = st.one_of(st.tuples(NAMES, TEXT).map("=".join), NAMES)


class Queries(SynchronousTestCase):
    """SPEC R-HD-8 and HOSTILE 11."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(FOREIGN, max_size=6),
        st.integers(0, 6),
        st.sampled_from(["key", "auth_token", "k%65y"]),
        st.text(min_size=1),
    )
    def test_onlyTheCredentialGoesAndOtherBytesStay(self, parts: list[str], at: int, name: str, key: str) -> None:
        key = key.strip() or "ck"
        pair = f"{name}={quote(key, safe='')}"
        mixed = [*parts[:at], pair, *parts[at:]]
        query = "&".join(parts)
        wanted = ("/api/user?" + query if query else "/api/user").encode()
        self.assertEqual(strip_query(("/api/user?" + "&".join(mixed)).encode(), key), wanted)
        self.assertEqual(strip_query_credentials(("/api/user?" + "&".join(mixed)).encode()), wanted)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(FOREIGN, max_size=6))
    def test_aQueryWithoutCredentialsIsNotTouched(self, parts: list[str]) -> None:
        target = ("/api/user?" + "&".join(parts)).encode()
        self.assertEqual(strip_query(target, "ck-1"), target)
        self.assertEqual(strip_query_credentials(target), target)

    def test_aBareQuestionMarkStays(self) -> None:
        self.assertEqual(strip_query(b"/x?", "ck-1"), b"/x?")

    def test_anotherValueOfTheSameParameterStaysTowardsTheUpstream(self) -> None:
        self.assertEqual(strip_query(b"/x?key=other&key=ck-1", "ck-1"), b"/x?key=other")
        self.assertEqual(strip_query(b"/x?key=ck-1", None), b"/x?key=ck-1")

    def test_aServiceKeyNeverReachesTheUpstream(self) -> None:
        for name in (b"key", b"auth_token", b"api_key", b"access_token"):
            self.assertEqual(strip_query(b"/x?a=1%2F&" + name + b"=sk-abcdef&b=%20", "ck-1"), b"/x?a=1%2F&b=%20")
        self.assertEqual(strip_query(b"/x?token=sk-abcdef", None), b"/x?token=sk-abcdef")

    def test_noCredentialParameterReachesAProvider(self) -> None:
        target = b"/v1beta/models/m:generateContent?alt=sse&key=a&auth_token=b&api_key=c&access%5Ftoken=d"
        self.assertEqual(strip_query_credentials(target), b"/v1beta/models/m:generateContent?alt=sse")

    def test_credentialsAreFoundDecodedAndNotEmpty(self) -> None:
        self.assertEqual(query_credentials(b"/x?key=a+b&auth_token=%63&key=&api_key=z"), [b"a b", b"c"])
        self.assertEqual(query_credentials(b"/key=a"), [])


class Paths(SynchronousTestCase):
    """SPEC R-HD-11 and HOSTILE 12."""

    def test_dotSegmentsInAnySpellingAreSeen(self) -> None:
        plain = "/.. /../a /auth/../api/user /./a /a/. /..\\a /..;/a /..;x=1/a"
        encoded = "/%2e%2e/a /.%2E/a /%2e/a /..%2fa /%2e%2e%2fa /a%2f..%2fb /..%5ca /a%5c.. /a/%2e%2e?x=1"
        encoded_again = "/%252e%252e/a /..%252fa /%25252e%25252e/a"
        for path in f"{plain} {encoded} {encoded_again}".split():
            self.assertTrue(has_dot_segment(path.encode()), path)

    def test_ordinaryDotsAreNotDotSegments(self) -> None:
        for path in (
            "/",
            "/api/threads/...",
            "/a..b",
            "/a.b/c.",
            "/.well-known/x",
            "/%41%2f%zz%4",
            "/a?/../b",
            "/a%252fb",
            "/a;..;b",
            "/...",
        ):
            self.assertFalse(has_dot_segment(path.encode()), path)

    def test_aBasePathIsJoinedWithOneSlash(self) -> None:
        for base, wanted in (
            (b"", b"/a//b?"),
            (b"/", b"/a//b?"),
            (b"/base", b"/base/a//b?"),
            (b"/base//", b"/base/a//b?"),
        ):
            self.assertEqual(join_target(base, b"/a//b?"), wanted)

    def test_aSegmentWithAPortReadsAsAnAuthority(self) -> None:
        for path in (b"/api/threads@127.0.0.1:80/x", b"//evil.example:443", b"/a.evil:8080/b?c"):
            self.assertTrue(names_an_authority(path), path)
        for path in (b"/a/b", b"/models/m:generateContent", b"/a:/b", b"/:80/x", b"/a?b:80", b"/T-1:123456/x"):
            self.assertFalse(names_an_authority(path), path)
