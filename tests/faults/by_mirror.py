"""Pulls from a registry with two mirrors, all three of which do wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import subjects
from by_fake import Setting, pulls
from kinds import KINDS
from rows import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORT, _LONG = 1, 15  # runs of each kind; in the short form of every third


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Try the kinds of faults of one registry, at three places."""
    kinds = [kind for kind in KINDS if only in kind.name]
    if not long:
        kinds = kinds[seed % 3 :: 3]
    setting = Setting(subjects.small(), mirrors=2)
    seeds = range(seed, seed + (_LONG if long else _SHORT))
    return pulls({kind: Row(f"mirrors: {kind.name}") for kind in kinds}, seeds, setting)
