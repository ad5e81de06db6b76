"""Which conversation a request belongs to, and how long that is remembered."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.peers.credentials import Credential
from llmux.peers.sessions import TIME_TO_LIVE, Sessions, session_of
from tests.calling import Calling, providers

SYSTEM = {"role": "system", "content": "Be brief."}


def said(*texts: str) -> list[dict[str, Any]]:
    """Turns of a user and an assistant by turns."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


class Telling(SynchronousTestCase):
    """What tells conversations apart."""

    def setUp(self) -> None:
        self.calling = Calling({"providers": providers("a", "b", keys=2)})

    def of(self, body: Any = None, key: str | None = "ck-1", **headers: str) -> bytes:
        """The digest of a request."""
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return session_of(self.calling.call(body=body, headers=sent, client_key=key))

    def test_theClientsOwnNameCounts(self) -> None:
        for name in ("X_Amp_Thread_Id", "X_Claude_Code_Session_Id", "session_id", "x_session_affinity"):
            one = self.of({"messages": said("a")}, **{name: "T-1"})
            self.assertEqual(one, self.of({"messages": said("something else")}, **{name: "T-1"}), name)
            self.assertNotEqual(one, self.of({"messages": said("a")}, **{name: "T-2"}), name)

    def test_theThreadComesBeforeTheSession(self) -> None:
        both = self.of(x_amp_thread_id="T-1", x_session_id="S-1")
        self.assertEqual(both, self.of(x_amp_thread_id="T-1", x_session_id="S-2"))

    def test_twoClientsNeverShareAConversation(self) -> None:
        self.assertNotEqual(self.of(key="ck-1", x_amp_thread_id="T"), self.of(key="ck-2", x_amp_thread_id="T"))
        self.assertNotEqual(self.of(key="ck-1"), self.of(key=None))

    def test_aCacheKeyCountsWithoutAHeader(self) -> None:
        one = self.of({"prompt_cache_key": "p", "messages": said("a")})
        self.assertEqual(one, self.of({"prompt_cache_key": "p", "messages": said("b")}))

    def test_theSessionInClaudeCodesMetadataCountsWithoutAHeader(self) -> None:
        for shape in (
            "user_0a1b_account__session_{}",
            json.dumps({"device_id": "0a1b", "account_uuid": "", "session_id": "{}"}),
        ):

            def asked(session: str, text: str, shape: str = shape) -> bytes:
                user = shape.replace("{}", f"5b8f6a4e-0000-4000-8000-00000000000{session}")
                return self.of({"metadata": {"user_id": user}, "system": text, "messages": said(text)})

            self.assertEqual(asked("1", "a"), asked("1", "b"), shape)
            self.assertNotEqual(asked("1", "a"), asked("2", "a"), shape)
        for user in ("me", 7, None):
            one = self.of({"metadata": {"user_id": user}, "messages": said("a")})
            self.assertNotEqual(one, self.of({"metadata": {"user_id": user}, "messages": said("b")}), user)

    def test_elseTheConversationsBeginningCountsInEveryFormat(self) -> None:
        grown = said("hello", "hi", "and now?", "well")
        formats: list[Any] = [
            lambda turns: {"messages": turns},
            lambda turns: {"messages": [SYSTEM, *turns]},
            lambda turns: {"system": [{"type": "text", "text": "Be brief."}], "messages": turns},
            lambda turns: {"instructions": "Be brief.", "input": turns},
            lambda turns: {"input": [{"role": "developer", "content": "Be brief."}, *turns]},
            lambda turns: {
                "systemInstruction": {"parts": [{"text": "Be brief."}]},
                "contents": [
                    {"role": "model" if turn["role"] == "assistant" else "user", "parts": [{"text": turn["content"]}]}
                    for turn in turns
                ],
            },
        ]
        seen = set()
        for number, shape in enumerate(formats):
            first = self.of(shape(grown[:1]))
            self.assertEqual({self.of(shape(grown[:count])) for count in (1, 2, 3, 4)}, {first}, number)
            self.assertNotEqual(self.of(shape(said("another question"))), first, number)
            seen.add(first)
        self.assertEqual(len(seen), len(formats))

    def test_aCacheMarkThatMovesChangesNothing(self) -> None:
        def marked(*marks: Any) -> bytes:
            block = {"type": "text", "text": "hello", **({"cache_control": marks[0]} if marks else {})}
            return self.of({"messages": [{"role": "user", "content": [block]}]})

        self.assertEqual(len({marked(), marked({"type": "ephemeral"}), marked({"type": "ephemeral", "ttl": "1h"})}), 1)

    def test_textInputIsABeginningToo(self) -> None:
        self.assertEqual(self.of({"input": "hello"}), self.of({"input": "hello"}))
        self.assertNotEqual(self.of({"input": "hello"}), self.of({"input": "hallo"}))

    @settings(max_examples=100, deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=200),
            st.recursive(
                st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(("messages", "input", "contents", "system", "role", "prompt_cache_key", "x")),
                        inner,
                        max_size=4,
                    )
                ),
                max_leaves=12,
            ).map(lambda value: json.dumps(value).encode()),
        )
    )
    def test_anyBodyHasADigestOfOneLength(self, body: bytes) -> None:
        digest = session_of(self.calling.call(body=body))
        self.assertEqual((len(digest), digest), (16, session_of(self.calling.call(body=body))))


class Remembering(SynchronousTestCase):
    """For how long, for whom, and within which bounds."""

    def setUp(self) -> None:
        self.calling = Calling({"providers": providers("a", "b", keys=2)})
        self.sessions = self.calling.sessions
        self.call = self.calling.call()

    def credential(self, provider: str, number: int = 1) -> Credential:
        """One credential."""
        return self.calling.credentials._by_provider[provider][number]

    def test_theNewestCredentialIsPreferredForAnHour(self) -> None:
        self.assertIsNone(self.sessions.preferred(self.call, "a"))
        self.sessions.remember(self.call, self.credential("a", 0))
        self.sessions.remember(self.call, self.credential("a", 1))
        self.calling.clock.advance(TIME_TO_LIVE - 1)
        self.assertEqual(self.sessions.preferred(self.call, "a"), self.credential("a", 1))
        self.calling.clock.advance(1)
        self.assertIsNone(self.sessions.preferred(self.call, "a"))

    def test_aFallbackLeavesTheHomeAlone(self) -> None:
        self.sessions.remember(self.call, self.credential("a", 0))
        self.sessions.remember(self.call, self.credential("b", 1))
        self.assertEqual(self.sessions.preferred(self.call, "a"), self.credential("a", 0))
        self.assertEqual(self.sessions.preferred(self.call, "b"), self.credential("b", 1))

    def test_theLatestOfSeveralProvidersIsKnown(self) -> None:
        self.assertIsNone(self.sessions.latest(self.call, ("a", "b")))
        self.sessions.remember(self.call, self.credential("b"))
        self.calling.clock.advance(5)
        self.sessions.remember(self.call, self.credential("a"))
        self.assertEqual(self.sessions.latest(self.call, ("a", "b")), "a")
        self.assertEqual(self.sessions.latest(self.call, ("b",)), "b")

    def test_onlySoManyConversationsAreRemembered(self) -> None:
        sessions = Sessions(self.calling.credentials, self.calling.clock.seconds, most=3)
        calls = [self.calling.call(headers=[(b"x-amp-thread-id", b"%d" % number)]) for number in range(5)]
        for call in calls:
            sessions.remember(call, self.credential("a"))
        self.assertEqual(len(sessions), 3)
        known = [sessions.preferred(call, "a") is not None for call in calls]
        self.assertEqual(known, [False, False, True, True, True])

    def test_withOneKeyThereIsNothingToRemember(self) -> None:
        calling = Calling({"providers": providers("a")})
        call = calling.call()
        calling.sessions.remember(call, calling.credentials._by_provider["a"][0])
        self.assertEqual((len(calling.sessions), call.session), (0, None))

    def test_withWeightsTheProviderIsAChoiceAsWell(self) -> None:
        calling = Calling({"providers": providers("a", "b"), "routing": {"strategy": "weighted"}})
        call = calling.call()
        calling.sessions.remember(call, calling.credentials._by_provider["b"][0])
        self.assertEqual(calling.sessions.latest(call, ("a", "b")), "b")

    def test_itCanBeSwitchedOff(self) -> None:
        calling = Calling({"providers": providers("a", keys=2), "routing": {"session-affinity": False}})
        call = calling.call()
        calling.sessions.remember(call, calling.credentials._by_provider["a"][1])
        self.assertEqual((len(calling.sessions), calling.sessions.preferred(call, "a")), (0, None))
