"""How numbers, spans of time and moments are written for people."""

from __future__ import annotations

from datetime import datetime, tzinfo

NOTHING = "\N{EN DASH}"


def count(number: int | None) -> str:
    """A whole number with its thousands apart; a dash for an unknown one."""
    return NOTHING if number is None else f"{number:,}"


def rounded(number: float, space: str = "") -> str:
    """A number in at most four characters and a letter: 950, 1.2k, 34k, 5M."""
    for unit in ("", "k", "M", "G"):
        if number < 999.5:
            short = f"{number:.1f}".removesuffix(".0") if unit and number < 9.95 else f"{number:.0f}"
            return f"{short}{space}{unit}"
        number /= 1000
    return f"{number:.0f}{space}T"


def size(octets: int) -> str:
    """A number of bytes."""
    return f"{rounded(octets, ' ')}B"


def span(seconds: float | None) -> str:
    """A span of time with as many digits as anybody reads; a dash for an unknown one."""
    if seconds is None:
        return NOTHING
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def moment(seconds: float, zone: tzinfo) -> datetime:
    """A moment in a time zone, from epoch seconds."""
    return datetime.fromtimestamp(seconds, zone)


def time_of_day(seconds: float, zone: tzinfo) -> str:
    """The time of a moment as HTML that machines can read, too."""
    when = moment(seconds, zone)
    return f'<time datetime="{when.isoformat(timespec="milliseconds")}">{when:%H:%M:%S}</time>'
