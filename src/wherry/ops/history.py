"""History: the steps that made an image, each with the layer that it left."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from wherry.model.config import History
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest

if TYPE_CHECKING:
    from wherry.model.config import ImageConfig


class HistoryStep(NamedTuple):
    """One step; ``digest``, ``diff_id`` and ``size`` are its layer's, None where it left none.

    ``size`` is in bytes as registries and stores hold the layer, compressed.
    """

    created: str
    created_by: str
    author: str
    comment: str
    digest: Digest | None = None
    diff_id: Digest | None = None
    size: int | None = None


def history(config: ImageConfig, layers: Sequence[Descriptor]) -> list[HistoryStep]:
    """Return the steps of an image, the last one first; ``layers`` run from the bottom up.

    Layers that the config's history does not account for come last in it, as steps of which
    nothing is known; so the list always holds every layer.
    """
    left = list(zip_longest(layers, config.diff_ids[: len(layers)]))[::-1]
    steps = [
        _step(entry, *(left.pop() if left and not entry.empty_layer else (None, None)))
        for entry in config.history
    ]
    steps += [_step(History(), *left.pop()) for _ in range(len(left))]
    return steps[::-1]


def _step(entry: History, layer: Descriptor | None, diff_id: Digest | None) -> HistoryStep:
    return HistoryStep(
        created=entry.created,
        created_by=entry.created_by,
        author=entry.author,
        comment=entry.comment,
        digest=None if layer is None else layer.digest,
        diff_id=diff_id,
        size=None if layer is None else layer.size,
    )
