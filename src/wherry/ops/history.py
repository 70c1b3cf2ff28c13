"""The history of an image: its steps, with their layers."""

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
    """One step of the history of an image.

    Attributes:
        created: The time of the step, as the config states it.
        created_by: The command.
        author: The author of the step.
        comment: A comment.
        digest: The digest of the step's layer; None for a step without a layer.
        diff_id: The DiffID of the layer, or None.
        size: The size of the compressed layer in bytes, or None.
        v1_id: The id of the step's image in a version 1 registry, where each has a layer and no
            digest is known; else empty.
    """

    created: str
    created_by: str
    author: str
    comment: str
    digest: Digest | None = None
    diff_id: Digest | None = None
    size: int | None = None
    v1_id: str = ""


def list_history(config: ImageConfig, layers: Sequence[Descriptor]) -> list[HistoryStep]:
    """Return the steps of an image, the last one first.

    Layers without an entry in the config's history become steps without details, so the list
    holds every layer. They count as the last steps.

    Args:
        config: The config.
        layers: The layers of the manifest, the lowest one first.
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
