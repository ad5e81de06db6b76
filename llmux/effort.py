"""The ladder of thinking efforts and what each is worth in tokens (DESIGN D-48, TRANSLATION 2.6)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LADDER: Mapping[str, int] = MappingProxyType(
    {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 128000}
)
"""Tokens by effort, rising."""

EFFORTS = tuple(LADDER)
