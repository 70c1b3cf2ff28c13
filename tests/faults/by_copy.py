"""Copies from registry to registry under faults of either of them, and of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import subjects
from interrupted import INTERRUPTIONS, interrupted
from kinds import COMBINED, KINDS
from moves import moves, real_moves
from rows import Row
from write_kinds import NETWORKS, WRITE_KINDS, both, reading

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORT, _LONG = 1, 40  # runs of each kind
_EVERY = 3  # the short form has every third kind


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Copy with faults of the destination, of the source, of both, and with kills."""
    seeds = range(seed, seed + (_LONG if long else _SHORT))
    image = subjects.pushed()
    reads = [reading(kind) for kind in KINDS if kind.part is None]
    kinds = [*WRITE_KINDS, *reads, *map(both, COMBINED)]
    networks = [kind for kind in NETWORKS if not any(kind.like)]
    if not long and not only:
        kinds = kinds[seed % _EVERY :: _EVERY]
        networks = networks[seed % _EVERY :: _EVERY]
    chosen = {kind: Row(name) for kind in kinds if only in (name := f"copy: {kind.name}")}
    real = {
        kind: Row(name)
        for kind in networks
        if only in (name := f"copy, real registry: {kind.name}")
    }
    return [
        *moves("copy", chosen, seeds, image),
        *real_moves("copy", real, seeds, image),
        *interrupted("copy", INTERRUPTIONS, seed, only, long=long),
    ]
