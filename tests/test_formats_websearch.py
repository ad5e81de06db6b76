"""Web search settings under each vendor's names (TRANSLATION 2.4)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats import websearch

_PLACE = {"city": "Oslo", "country": "NO"}
_LOCATION = {"type": "approximate", **_PLACE}


class WebSearchTests(SynchronousTestCase):
    """What one vendor says, another reads."""

    def test_bothSpellingsOfThePlaceAreRead(self) -> None:
        nested = {"type": "approximate", "approximate": _PLACE}
        for location in (_LOCATION, nested):
            self.assertEqual(websearch.config("low", location), {"size": "low", "place": _PLACE})

    def test_whatIsMalformedIsLeftOut(self) -> None:
        self.assertEqual(websearch.config("huge", {"city": 1}, ["a", 1], "b"), {})
        self.assertEqual(websearch.config(None, None, [], None), {})

    def test_eachVendorGetsWhatItKnows(self) -> None:
        settings = websearch.config("high", _LOCATION, ["e.org"], ["b.org"])
        chat = {"search_context_size": "high", "user_location": {"type": "approximate", "approximate": _PLACE}}
        self.assertEqual(websearch.for_chat(settings), chat)
        responses = {"type": "web_search", "search_context_size": "high", "user_location": _LOCATION}
        self.assertEqual(websearch.for_responses(settings), {**responses, "filters": {"allowed_domains": ["e.org"]}})
        tool = {"type": "web_search_20250305", "name": "web_search"}
        anthropic = websearch.for_anthropic(settings)
        self.assertEqual(anthropic, {**tool, "allowed_domains": ["e.org"], "user_location": _LOCATION})
        blocked = websearch.for_anthropic(websearch.config(blocked=["b.org"]))
        self.assertEqual(blocked, {**tool, "blocked_domains": ["b.org"]})
