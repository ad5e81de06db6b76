"""Data URLs, base64 dialects and MIME types (TRANSLATION 4.8)."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats import media
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import Audio, Document, Image, Inline, PlainText, Url, Video

_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\xfb\xff" * 20).decode()


class DataUrlTests(SynchronousTestCase):
    """`data_url`."""

    def test_partsSplitAtTheFirstComma(self) -> None:
        self.assertEqual(media.data_url("data:image/JPG;x=y;base64,AAAA", "p"), ("image/jpeg", "AAAA"))
        self.assertEqual(media.data_url("data:;base64,AA", "p"), ("", "AA=="))

    def test_whatIsNotBase64IsEncodedAnew(self) -> None:
        encoded = base64.b64encode(b"a,b c").decode()
        self.assertEqual(media.data_url("data:text/plain,a,b%20c", "p"), ("text/plain", encoded))

    def test_brokenUrlsAreRefusedWithTheirPath(self) -> None:
        for url in ("data:image/png;base64", "data:image/png;base64,!!", "data:image/png;base64,A=A="):
            refused = self.assertRaises(RequestRefused, media.data_url, url, "messages.0")
            self.assertEqual((refused.error.status, refused.error.param), (400, "messages.0"))


class Base64Tests(SynchronousTestCase):
    """`base64_text`."""

    def test_theUrlSafeAlphabetAndMissingPaddingAreMended(self) -> None:
        self.assertEqual(media.base64_text("-_-_-w", "p"), "+/+/+w==")

    def test_lineBreaksGo(self) -> None:
        self.assertEqual(media.base64_text("AAAA\r\nBBBB\n", "p"), "AAAABBBB")

    def test_otherTextIsRefused(self) -> None:
        for text in ("é", "\ud800", "AA=A", "AA=====", "a b{"):
            self.assertRaises(RequestRefused, media.base64_text, text, "p")


class TypeTests(SynchronousTestCase):
    """The best known MIME type."""

    def test_theGivenTypeThenTheNameThenTheBytes(self) -> None:
        self.assertEqual(media.inline("image/WEBP; q=1", _PNG, "p").mime, "image/webp")
        self.assertEqual(media.inline(None, _PNG, "p", "a.jpg").mime, "image/jpeg")
        self.assertEqual(media.inline(None, _PNG, "p", "noname").mime, "image/png")
        self.assertEqual(media.inline("application/octet-stream", _PNG, "p").mime, "image/png")
        self.assertEqual(media.inline(None, "AAAA", "p").mime, media.UNKNOWN)

    def test_magicBytes(self) -> None:
        for head, mime in (
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"RIFF....WEBPVP8 ", "image/webp"),
            (b"%PDF-1.7", "application/pdf"),
            (b"RIFF....WAVE", None),
        ):
            self.assertEqual(media.mime_of_bytes(base64.b64encode(head + b"\0" * 20).decode()), mime)

    def test_theTypeTellsTheKindOfPart(self) -> None:
        kinds = {"image/png": Image, "audio/wav": Audio, "video/mp4": Video, "application/pdf": Document}
        for mime, kind in kinds.items():
            self.assertIsInstance(media.part(Inline(mime, ""), "p"), kind)
        self.assertIsInstance(media.part(Url("http://x/y"), "p"), Document)

    def test_urlsTellTheirTypeByTheEndOfTheirPath(self) -> None:
        self.assertEqual(
            media.from_url("https://e.org/a.PDF?x=1", "p"), Url("https://e.org/a.PDF?x=1", "application/pdf")
        )
        self.assertEqual(media.from_url("https://[", "p"), Url("https://["))

    def test_textDocumentsAreText(self) -> None:
        encoded = base64.b64encode("é".encode()).decode()
        self.assertEqual(media.as_text(Inline("text/plain", encoded)), PlainText("é", "text/plain"))
        self.assertIsNone(media.as_text(Inline("text/plain", "/w==")))
        self.assertIsNone(media.as_text(Inline("application/pdf", "AAAA")))
        self.assertEqual(media.labelled("b", "T"), '<document title="T">\nb\n</document>')

    def test_filesAtGoogleAreKnown(self) -> None:
        for uri in ("gs://b/o", "files/x", "https://generativelanguage.googleapis.com/v1beta/files/x"):
            self.assertTrue(media.is_provider_file(uri))
        self.assertFalse(media.is_provider_file("https://example.org/files/x"))
        self.assertTrue(media.is_youtube("https://www.youtube.com/watch?v=x"))
