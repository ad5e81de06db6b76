"""Adapters' shared parts: one test method per vector, and what `expect` says about headers, bodies and log lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.trial.unittest import TestCase

from tests.conversation import Answer, Headers

C = TypeVar("C", bound=type)
_NUMBERS = {"no": 0, "none": 0, "nothing": 0, "zero": 0, "a": 1, "one": 1, "exactly one": 1, "single": 1, "two": 2}
_LEVELS = {"error": (LogLevel.error, LogLevel.critical), "warning": (LogLevel.warn,)}
_COUNTED = re.compile(r"\b(no|none|zero|exactly one|one|a|single|two)\s+(error|warning)s?\b", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:naming|names|that names)\s+(?:the\s+)?([\w.-]+)", re.IGNORECASE)
_NOTHING = re.compile(r"\b(?:no|nothing|none)\b.*\b(warning|error)s? or above", re.IGNORECASE)


def vector_tests(found: Iterable[Mapping[str, Any]]) -> Callable[[C], C]:
    """Give a test case one method for each vector, named by its id; it calls `check` with the vector."""

    def fill(case: C) -> C:
        for vector in found:
            name = "test_" + re.sub(r"\W", "_", str(vector["id"]))
            assert not hasattr(case, name), f"two vectors have the id {vector['id']}"
            setattr(case, name, _method(vector))
        return case

    return fill


def _method(vector: Mapping[str, Any]) -> Callable[[Any], Any]:
    def test(self: Any) -> Any:
        return self.check(vector)

    test.__doc__ = f"{vector['id']}: {vector['why']}"
    return test


def check_keys(case: TestCase, expect: Mapping[str, Any], known: set[str]) -> None:
    """Every expectation is one that the adapter looks at."""
    case.assertEqual(set(expect) - known, set(), "expectations that nobody checks")


def check_headers(case: TestCase, expect: Mapping[str, Any] | None, answer: Answer) -> None:
    """Headers of an answer; "auto" is the length of the body that was sent."""
    for name, wanted in (expect or {}).items():
        check_header(case, name, str(len(answer.body)) if wanted == "auto" else wanted, answer.headers)


def check_header(case: TestCase, name: str, wanted: Any, headers: Headers) -> None:
    """One header: None for absent, a list for all values in order, `{any_of: [...]}`, or a single value."""
    values = [value for key, value in headers if key.lower() == name.lower()]
    if isinstance(wanted, Mapping):
        allowed = [[] if each is None else [str(each)] for each in wanted["any_of"]]
        case.assertIn(values, allowed, name)
    elif isinstance(wanted, list):
        case.assertEqual(values, [str(each) for each in wanted], name)
    else:
        case.assertEqual(values, [] if wanted is None else [str(wanted)], name)


def line_of(event: LogEvent) -> str:
    """What an event says."""
    return formatEvent(event)


def check_log(
    case: TestCase, expect: str, events: Iterable[LogEvent], path: str = "", method: str = "", pattern: str = ""
) -> None:
    """What a sentence such as `one error line naming upstream-url` says about the log.

    Decisions are not counted: their level says what they cost.
    """
    found = [event for event in events if event.get("component") is None]
    lines = {
        name: [line_of(event) for event in found if event["log_level"] in levels] for name, levels in _LEVELS.items()
    }
    nothing = _NOTHING.search(expect)
    if nothing is not None:
        case.assertEqual(lines["error"], [], expect)
        if nothing.group(1).lower() == "warning":
            case.assertEqual(lines["warning"], [], expect)
        return
    everything = [line_of(event) for event in found]
    concerned = everything
    for number, level in _COUNTED.findall(expect):
        concerned = lines[level.lower()]
        case.assertEqual(len(concerned), _NUMBERS[number.lower()], f"{expect}: {concerned}")
    wanted = [pattern if name == "pattern" else name for name in _NAMED.findall(expect)]
    if "method" in expect:
        wanted.append(method)
    if "path" in expect:
        wanted.append(path)
    for text in wanted:
        case.assertTrue(any(text in line for line in concerned), f"{expect}: {text!r} is not in {concerned}")
