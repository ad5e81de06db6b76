"""The vendors' own clients read what llmux writes: every answer and stream of the vectors, for all other formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.codecs import ANSWERS
from tests.translation_adapter import judge, run_response, run_stream
from tests.vectors import translation

JUDGE = judge()
REQUESTS: dict[str, dict[str, Any]] = {
    "chat": {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "responses": {"model": "m", "input": "x", "stream": True},
    "anthropic": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "stream": True},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
}


class AnswersInSdks(SynchronousTestCase):
    """Types are checked, the client runs in process, and the meaning is compared where the vector says it is equal."""

    def setUp(self) -> None:
        JUDGE.sdk()


def _test(vector: dict[str, Any], client: str) -> Callable[[AnswersInSdks], None]:
    asked = {**vector, "to": client, "context": {**vector["context"], "request": REQUESTS[client]}}

    def whole(self: AnswersInSdks) -> None:
        body = run_response(asked)["body"]
        JUDGE.check_body(client, body)
        JUDGE.run_body(client, body)
        if vector["context"]["summary"] == "equal":
            self.assertEqual(JUDGE.summary(client, body), JUDGE.summary(vector["from"], vector["input"]))

    def stream(self: AnswersInSdks) -> None:
        messages = [message for turn in run_stream(asked) for message in turn]
        for message in messages:
            JUDGE.check_event(client, message)
        read = JUDGE.run_stream(client, messages)
        failed = vector["context"]["outcome"] == "error"
        self.assertEqual(isinstance(read, tuple) and read[0] == "error", failed, read)
        if not failed and vector["context"]["summary"] == "equal":
            wanted = JUDGE.run_stream(vector["from"], vector["input"])
            self.assertEqual(JUDGE.summary(client, read), JUDGE.summary(vector["from"], wanted))

    return whole if vector["kind"] == "response" else stream


for _vector in [*translation("response"), *translation("stream")]:
    for _client in ANSWERS:
        if _client != _vector["from"]:
            _name = f"test_{_vector['id']}_for_{_client}".replace("-", "_")
            setattr(AnswersInSdks, _name, _test(_vector, _client))
