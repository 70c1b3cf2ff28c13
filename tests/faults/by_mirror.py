"""Pulls from a registry with two mirrors, all with faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import subjects
from by_fake import Setting, pulls
from kinds import KINDS
from rows import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORT, _LONG = 1, 15  # runs of each kind; the short form has every third kind


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Run each kind of fault at a registry and two mirrors."""
    kinds = [kind for kind in KINDS if only in kind.name]
    if not long:
        kinds = kinds[seed % 3 :: 3]
    setting = Setting(subjects.small(), mirrors=2)
    seeds = range(seed, seed + (_LONG if long else _SHORT))
    return pulls({kind: Row(f"mirrors: {kind.name}") for kind in kinds}, seeds, setting)
