"""Tags for foreign blobs (TRANSLATION 2.7)."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats import opaque
from llmux.formats.neutral import Opaque

_SIGNED = Opaque("anthropic", "think", "EqQB:sig/+=")
_OPENAI = Opaque("openai", "enc", "rs_9|gAAAA")


class TagTests(SynchronousTestCase):
    """Text slots."""

    def test_aTagGivesBackWhatItWasMadeOf(self) -> None:
        for blob in (_SIGNED, _OPENAI, Opaque("anthropic", "redacted", "R"), Opaque("gemini", "part", "Q2k=")):
            self.assertEqual(opaque.untag(opaque.tag(blob), "openai"), blob)

    def test_anUntaggedBlobIsTheClientVendorsOwn(self) -> None:
        self.assertEqual(opaque.untag("EqQB", "anthropic"), Opaque("anthropic", "think", "EqQB"))
        self.assertEqual(opaque.untag("x", "anthropic", "redacted"), Opaque("anthropic", "redacted", "x"))
        self.assertEqual(opaque.untag("x", "openai"), Opaque("openai", "enc", "x"))

    def test_whatOnlyLooksLikeATagIsNone(self) -> None:
        for text in (
            "llmux:1:",
            "llmux:1:gemini",
            "llmux:1:gemini:think:x",
            "llmux:2:gemini:part:x",
            "llmux:1:x:part:x",
        ):
            self.assertIsNone(opaque.parse_tag(text), text)

    def test_rawStateIsNotInTheRepr(self) -> None:
        self.assertNotIn("EqQB", repr(_SIGNED))


class GeminiSlotTests(SynchronousTestCase):
    """`thoughtSignature`, whose type is bytes."""

    def test_aForeignBlobTravelsInBase64(self) -> None:
        written = opaque.tag_for_gemini(_SIGNED)
        self.assertEqual(base64.b64decode(written), b"llmux:1:anthropic:think:EqQB:sig/+=")
        self.assertEqual(opaque.untag_from_gemini(written), _SIGNED)
        self.assertEqual(opaque.untag_from_gemini(written.rstrip("=").replace("+", "-").replace("/", "_")), _SIGNED)

    def test_geminisOwnBlobIsUntouched(self) -> None:
        self.assertEqual(opaque.tag_for_gemini(Opaque("gemini", "part", "Q2k-_=")), "Q2k-_=")
        self.assertEqual(opaque.untag_from_gemini("Q2k-_="), Opaque("gemini", "part", "Q2k-_="))

    def test_brokenBase64BehindOurPrefixIsGeminis(self) -> None:
        for text in ("bGxtdXg6!!", "bGxtdXg6MTph", "bGxtdXg6/w=="):
            self.assertEqual(opaque.untag_from_gemini(text), Opaque("gemini", "part", text))
