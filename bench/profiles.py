"""Which workloads a profile has, and for how long each runs."""

from __future__ import annotations

from dataclasses import dataclass

from bench.bodies import Body, stream_model
from bench.held import HeldBodies, HeldStreams, IdleTunnels, Resting, TunnelBytes
from bench.loops import Blocking, Requests, Streams, Translated
from bench.stage import Workload

MB = 1_000_000
SIZES = {"2k": 2048, "200k": 200_000, "5m": 5 * MB}


@dataclass(frozen=True, slots=True)
class Profile:
    """A list of workloads; `repeats` is how often each runs in a round, of which the median counts.

    `duration` and `warmup` are seconds of a closed loop, `patience` those that a measurement waits for a quiet machine.
    """

    name: str
    duration: float
    warmup: float
    repeats: int
    patience: float
    workloads: tuple[Workload, ...]


def _body(size: int, place: str = "first") -> Body:
    return Body("chat", size, stream_model(0), place=place)


def _requests(*names: str) -> tuple[Requests, ...]:
    """`2k_c64`: bodies of 2 kB from 64 clients."""
    found = []
    for name in names:
        size, _, clients = name.partition("_c")
        found.append(Requests(name, _body(SIZES[size]), int(clients)))
    return tuple(found)


def _blocking(size: int, pause: int = 40) -> tuple[Blocking, ...]:
    return tuple(Blocking(f"5m_{place}", _body(size, place), pause) for place in ("first", "middle", "last"))


TTFB = Streams("ttfb_c1", 20, 20, 1, 1, direct=True)
PACED = Streams("paced_c50", 100, 20, 1, 50)
BURST1 = Streams("tput_b1_c16", 1000, 0, 1, 16)
BURST32 = Streams("tput_b32_c16", 1000, 0, 32, 16)
TRANSLATED = (Translated("translated_paced_c50", PACED), Translated("translated_b1_c16", BURST1))

QUICK = Profile(
    "quick",
    1.2,
    0.3,
    3,
    1.0,
    (
        Resting(),
        HeldStreams("hold 2000", 2000, 20, 1000),
        IdleTunnels("1000 idle tunnels", 1000),
        HeldBodies("16 held bodies of 5 MB", _body(5 * MB), 16),
        TunnelBytes("tunnel 200 MB", 200 * MB),
        *_requests("2k_c1", "2k_c64", "200k_c16", "5m_c1", "5m_c16"),
        TTFB,
        PACED,
        BURST1,
        BURST32,
        *_blocking(5 * MB),
        *TRANSLATED,
    ),
)
FULL = Profile(
    "full",
    1.5,
    0.3,
    3,
    1.0,
    (
        Resting(),
        HeldStreams("hold 500", 500, 20, 1000),
        HeldStreams("hold 2000", 2000, 20, 1000),
        HeldStreams("hold 9000", 9000, 20, 1000),
        IdleTunnels("1000 idle tunnels", 1000),
        HeldBodies("16 held bodies of 5 MB", _body(5 * MB), 16),
        TunnelBytes("tunnel 1 GB", 1000 * MB),
        *_requests("2k_c1", "2k_c16", "2k_c64", "200k_c16", "200k_c64", "5m_c1", "5m_c16"),
        TTFB,
        PACED,
        Streams("tput_b1_c1", 1000, 0, 1, 1),
        BURST1,
        BURST32,
        *_blocking(5 * MB),
        *TRANSLATED,
    ),
)
# The same kinds of load, small: for bytes and events, not for times.
SMOKE = Profile(
    "smoke",
    0.3,
    0.1,
    1,
    0.0,
    (
        Resting(),
        HeldStreams("hold 100", 100, 5, 200),
        IdleTunnels("50 idle tunnels", 50, 0.4),
        HeldBodies("4 held bodies of 1 MB", _body(MB), 4, 0.4),
        TunnelBytes("tunnel 20 MB", 20 * MB),
        *_requests("2k_c1", "2k_c64", "200k_c16", "5m_c1"),
        Streams("ttfb_c1", 5, 20, 1, 1, direct=True),
        Streams("paced_c50", 10, 20, 1, 50),
        BURST1,
        BURST32,
        *_blocking(5 * MB, 10),
        Translated("translated_b1_c16", BURST1),
    ),
)
PROFILES = {profile.name: profile for profile in (QUICK, FULL, SMOKE)}


def select(profile: Profile, only: list[str]) -> tuple[Workload, ...]:
    """The workloads that `--only` names, by their own name or their section's; all without a name.

    Raises ValueError for a name that there is not.
    """
    known = {name for workload in profile.workloads for name in (workload.name, workload.section)}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(f"no workload or section {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return tuple(
        workload for workload in profile.workloads if not only or workload.name in only or workload.section in only
    )
