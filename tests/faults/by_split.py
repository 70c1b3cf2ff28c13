"""Pulls of one large blob over several connections, from a registry with faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import subjects
from by_fake import Setting, pulls
from kinds import KINDS
from rows import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

SEGMENT = 4 * 2**20  # bytes of one request (docs/decisions/0005-split.md)
WINDOW = 6 * SEGMENT  # bytes that may arrive out of order
CONNECTIONS = 4
_SIZE = 9 * SEGMENT + 12_345
_TIMEOUT = 2.0  # seconds without a byte: hashing slows this process down
_SHORT, _LONG = 1, 6  # runs of each kind; the short form has every fourth kind


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Run each kind of fault on four connections, also with mirrors."""
    kinds = [kind for kind in KINDS if only in kind.name and "documents" not in kind.name]
    if not long:
        kinds = kinds[seed % 4 :: 4]
    found = {kind: Row(f"split: {kind.name}") for kind in kinds}
    seeds = range(seed, seed + (_LONG if long else _SHORT))
    for mirrors in (0, 2) if long else (0,):
        setting = Setting(
            subjects.one_blob(_SIZE),
            timeout=_TIMEOUT,
            at_once=2,
            split=CONNECTIONS,
            window=WINDOW,
            span=SEGMENT,
            mirrors=mirrors,
        )
        pulls(found, seeds, setting)
    return list(found.values())
