"""Makes inputs for fuzz targets: a seeded random driver that needs nothing, and atheris where it is installed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.target import Target

LONGEST = 6000
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**30,
    0.5,
    1e308,
    -0.0,
    "",
    " ",
    "x",
    "\ud83d",
    "\u0000",
    "é😀",
    "data:image/png;base64,AAAA",
    "https://x.test/a.png",
    "{",
    "[1,2",
    '{"a":1}',
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"type": "text", "text": None},
    {"type": "text", "text": "x"},
    {"type": "object"},
    [{"type": "text", "text": "x"}] * 2,
)
_BYTES = (b"\0", b"\r", b"\n", b"\r\n", b"\xff", b"\x80", b" ", b"\t", b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",")


def mutated(target: Target, seeds: list[bytes], random: Random) -> bytes:
    """One input made from a seed by a few changes."""
    data = random.choice(seeds)
    if target.json and random.random() < 0.7:
        changed = _mutated_json(data, seeds, random)
        if changed is not None:
            return changed[:LONGEST]
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        data = _mutated_bytes(data, seeds, target.words, random)
    return data[:LONGEST]


def _mutated_bytes(data: bytes, seeds: list[bytes], words: tuple[bytes, ...], random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 1, 2, 4, 16, 200)))
    match random.randrange(8):
        case 0:
            return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + random.choice(_BYTES) + data[at:]
        case 2:
            return data[:at] + data[end:]
        case 3:
            return data[:end] + data[at:]
        case 4 | 5 if words:
            return data[:at] + random.choice(words) + data[random.choice((at, end)) :]
        case 6:
            other = random.choice(seeds)
            return data[:at] + other[random.randrange(len(other) + 1) :]
        case _:
            return data[:at] + data[at:end] * random.choice((2, 3, 50)) + data[end:]


def _mutated_json(data: bytes, seeds: list[bytes], random: Random) -> bytes | None:
    try:
        value = json.loads(data)
        for _ in range(random.choice((1, 1, 2, 3))):
            value = _changed(value, seeds, random)
        return json.dumps(value, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):  # some seeds are as deep as the parser goes
        return None


def _changed(value: Any, seeds: list[bytes], random: Random) -> Any:
    places: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        node = todo.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            todo.append(node[key])
    if not places:
        return json.loads(json.dumps(random.choice(_VALUES)))
    node, key = random.choice(places)
    match random.randrange(7):
        case 0:
            del node[key]
        case 1:
            other, place = random.choice(places)
            if isinstance(other, dict) or place < len(other):
                node[key] = json.loads(json.dumps(other.get(place) if isinstance(other, dict) else other[place]))
        case 2 if isinstance(node, list):
            node.insert(random.randrange(len(node) + 1), node[key])
        case 2:
            node[random.choice(places)[1] if random.random() < 0.5 else "x"] = node.pop(key)
            return json.loads(json.dumps(value, default=str, skipkeys=True))
        case 3:
            node[key] = _grafted(seeds, random)
        case 4 if isinstance(node[key], str):
            node[key] = node[key][: random.randrange(len(node[key]) + 1)] + random.choice(
                ("", "\ud800", "\0", "x" * 300)
            )
        case _:
            node[key] = random.choice(_VALUES)
    return json.loads(json.dumps(value))


def _grafted(seeds: list[bytes], random: Random) -> Any:
    try:
        value = json.loads(random.choice(seeds))
    except (ValueError, RecursionError):
        return None
    while isinstance(value, dict | list) and value and random.random() < 0.7:
        value = random.choice(list(value.values()) if isinstance(value, dict) else value)
    return value


@dataclass(slots=True)
class Finding(Exception):
    """An input that a target did not survive; the cause is the exception that it raised."""

    target: str
    data: bytes

    def __str__(self) -> str:
        return f"{self.target}: {self.data[:2000]!r}"


def attempt(target: Target, data: bytes) -> None:
    """Run one input; raises Finding."""
    try:
        target.run(data)
    except Exception as problem:
        raise Finding(target.name, data) from problem


def run_random(
    target: Target, *, seed: int, count: int = 0, seconds: float = 0.0, found: Callable[[Finding], None] | None = None
) -> int:
    """Run the corpus, then mutations of it up to a number or a time; returns how many inputs it were.

    `found` takes findings and lets the run go on; without it the first one is raised.
    """
    seeds = target.corpus()
    random = Random(seed)
    end = time.monotonic() + seconds
    done = 0
    while done < len(seeds) + count or (seconds and time.monotonic() < end):
        data = seeds[done] if done < len(seeds) else mutated(target, seeds, random)
        done += 1
        try:
            attempt(target, data)
        except Finding as finding:
            if found is None:
                raise
            found(finding)
    return done


def run_atheris(target: Target, *, seed: int, seconds: float, folder: Path) -> None:
    """Run with coverage guidance; does not return. `folder` keeps the inputs worth keeping and what made it stop.

    What shall be covered must have been imported under `atheris.instrument_imports`.
    """
    atheris: Any = import_module("atheris")  # no dependency: only who fuzzes installs it
    seeds = target.corpus()
    for number, data in enumerate(seeds):
        (folder / f"seed-{number}").write_bytes(data)

    def mutate(data: bytes, most: int, chance: int) -> bytes:
        random = Random(chance)
        if random.random() < 0.5:
            mutant: bytes = atheris.Mutate(data, most)
            return mutant
        return mutated(target, [data, random.choice(seeds)] if seeds else [data], random)[:most]

    limits = [f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", f"-max_len={LONGEST}"]
    atheris.Setup(
        ["fuzz", *limits, f"-artifact_prefix={folder}/", str(folder)],
        lambda data: attempt(target, data),
        custom_mutator=mutate,
    )
    atheris.Fuzz()
