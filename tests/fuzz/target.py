"""What a fuzz target is, and how it cuts its input."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

CORPUS = Path(__file__).resolve().parent.parent / "corpus"


@dataclass(frozen=True, slots=True)
class Target:
    """A function that must accept any bytes: it raises only when the code under test broke a promise.

    `seeds` gives further inputs beside those in `tests/corpus/NAME`; `words` are worth inserting; `json` says that the
    inputs are JSON texts, which are then also mutated as values.
    """

    name: str
    run: Callable[[bytes], None]
    words: tuple[bytes, ...] = ()
    json: bool = False
    seeds: Callable[[], Iterable[bytes]] = tuple

    def corpus(self) -> list[bytes]:
        """Every seed: the files in the order of their names, then the others."""
        files = sorted((CORPUS / self.name).iterdir()) if (CORPUS / self.name).is_dir() else []
        return [file.read_bytes() for file in files] + list(self.seeds())


def dice(data: bytes) -> Random:
    """A source of chance that depends on the input alone, so that every finding can be repeated from its bytes."""
    return Random(zlib.crc32(data))


def cut(data: bytes, random: Random, most: int = 6) -> list[bytes]:
    """The data in a few pieces, some of them empty."""
    edges = [0, *sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(most + 1))), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def single(data: bytes, most: int = 1000) -> list[bytes]:
    """The data byte by byte, and what is beyond the first `most` bytes in one piece."""
    return [*(data[at : at + 1] for at in range(min(len(data), most))), data[most:]]
