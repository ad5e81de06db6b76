"""All fuzz targets by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fuzz import format_targets, rewrite_targets, wire_targets
from tests.fuzz.target import Target

TARGETS: Mapping[str, Target] = {
    target.name: target for target in (*wire_targets.TARGETS, *rewrite_targets.TARGETS, *format_targets.TARGETS)
}
