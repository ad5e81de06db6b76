"""`llmux.rewrite.features`."""

from __future__ import annotations

from twisted.trial import unittest

from llmux.rewrite.features import remove_features


class FeatureTests(unittest.SynchronousTestCase):
    """DESIGN D-51."""

    def test_theNamedFeatureGoesAndEveryOtherByteStays(self) -> None:
        body = (
            b'{"ok":true, "result":{"features":[ {"name":"a","enabled":true} ,{"enabled":true,"name":"b"}, 3],"n":1.0}}'
        )
        self.assertEqual(
            remove_features(body, ("b", "c")),
            b'{"ok":true, "result":{"features":[ {"name":"a","enabled":true}, 3],"n":1.0}}',
        )

    def test_whatHasNoSuchFeatureIsTheSameObject(self) -> None:
        for body in (
            b'{"result":{"features":[{"name":"a"}]}}',
            b'{"features":[{"name":"b"}]}',
            b'{"result":{"features":{"name":"b"}}}',
            b'{"result":[{"name":"b"}]}',
            b'{"result":{"features":[{"name":"b"}]}',
            b"",
        ):
            self.assertIs(remove_features(body, ("b",)), body)
        body = b'{"result":{"features":[{"name":"b"}]}}'
        self.assertIs(remove_features(body, ()), body)
        self.assertEqual(remove_features(body, ("b",)), b'{"result":{"features":[]}}')
