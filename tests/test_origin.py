"""Base URLs become origins, or are refused without being quoted."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.wire.origin import Origin

VALID = {
    "https://api.anthropic.com": ("https", "api.anthropic.com", 443, b"api.anthropic.com", b""),
    "https://api.anthropic.com/": ("https", "api.anthropic.com", 443, b"api.anthropic.com", b""),
    "HTTP://LocalHost:8317/v1/": ("http", "localhost", 8317, b"localhost:8317", b"/v1"),
    "http://127.0.0.1:80/a/b": ("http", "127.0.0.1", 80, b"127.0.0.1", b"/a/b"),
    "http://[::1]:9000": ("http", "::1", 9000, b"[::1]:9000", b""),
    "https://[2001:DB8::0:1]/x": ("https", "2001:db8::1", 443, b"[2001:db8::1]", b"/x"),
    "https://b\u00fccher.example/v1": ("https", "xn--bcher-kva.example", 443, b"xn--bcher-kva.example", b"/v1"),
    "http://my_service:80/a%2Fb": ("http", "my_service", 80, b"my_service", b"/a%2Fb"),
    "https://example.com:8443": ("https", "example.com", 8443, b"example.com:8443", b""),
}

INVALID = [
    "",
    "example.com",
    "ftp://example.com",
    "//example.com",
    "https://",
    "https:///v1",
    "https://user:sesame@example.com",
    "https://example.com/?key=sesame",
    "https://example.com/#sesame",
    "https://example.com:0",
    "https://example.com:65536",
    "https://example.com:80x",
    "https://exa mple.com",
    "https://example..com",
    "https://-example.com",
    "https://exam\nple.com",
    "https://example.com/a b",
    "https://example.com/\u00e9",
    "https://example.com/a\r\nX: y",
    "https://" + "a" * 64 + ".com",
    "https://" + "a." * 130 + "com",
    "https://[::1",
    "https://[1:2:3]",
    "https://\u2100.example",
    "https://exam$ple.com",
]


class OriginTests(SynchronousTestCase):
    def test_validUrlsAreTakenApart(self) -> None:
        for url, (scheme, host, port, authority, path) in VALID.items():
            origin, base = Origin.parse(url)
            self.assertEqual((origin.scheme, origin.host, origin.port), (scheme, host, port), url)
            self.assertEqual((origin.authority, base), (authority, path), url)
            self.assertEqual(origin.secure, scheme == "https")

    def test_othersAreRefusedWithoutBeingQuoted(self) -> None:
        for url in INVALID:
            with self.assertRaises(ValueError, msg=url) as caught:
                Origin.parse(url)
            self.assertNotIn("sesame", str(caught.exception))

    def test_equalOriginsAreOneKey(self) -> None:
        one, two = Origin.parse("https://a.example/x")[0], Origin.parse("https://A.example:443/y")[0]
        self.assertEqual((one, hash(one), one.key), (two, hash(two), two.key))
        self.assertNotEqual(one.key, Origin.parse("http://a.example:443")[0].key)
