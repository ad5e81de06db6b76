"""Provider paths below base URLs with and without a version of their own."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.peers.endpoints import COUNT, GENERATE, gemini_path, provider_path


class EndpointTests(SynchronousTestCase):
    def test_aBareBaseUrlGetsTheVersionOfItsFormat(self) -> None:
        self.assertEqual(provider_path(b"", "anthropic", GENERATE), b"/v1/messages")
        self.assertEqual(provider_path(b"/proxy", "chat", GENERATE), b"/proxy/v1/chat/completions")
        self.assertEqual(gemini_path(b"", "m", "generateContent"), b"/v1beta/models/m:generateContent")

    def test_aBaseUrlWithAVersionKeepsIt(self) -> None:
        self.assertEqual(provider_path(b"/api/v1", "chat", GENERATE), b"/api/v1/chat/completions")
        self.assertEqual(provider_path(b"/paas/v4", "chat", GENERATE), b"/paas/v4/chat/completions")
        self.assertEqual(gemini_path(b"/v1", "m", "countTokens"), b"/v1/models/m:countTokens")

    def test_countingHasItsOwnPaths(self) -> None:
        self.assertEqual(provider_path(b"", "anthropic", COUNT), b"/v1/messages/count_tokens")
        self.assertEqual(provider_path(b"", "responses", COUNT), b"/v1/responses/input_tokens")
        self.assertRaises(KeyError, provider_path, b"", "chat", COUNT)

    def test_aModelNameCannotLeaveItsPlaceInThePath(self) -> None:
        self.assertEqual(gemini_path(b"", "a?b#c d:e", "x"), b"/v1beta/models/a%3Fb%23c%20d%3Ae:x")
        self.assertEqual(gemini_path(b"", "tunedModels/t1", "x"), b"/v1beta/models/tunedModels/t1:x")
