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
    from wherry.model.manifest import Manifest
    from wherry.model.schema1 import Schema1


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
        v1_id: The id in the step's version 1 JSON, which images of version 1 registries and
            schema1 manifests have; else empty.
        strong_id: The id under which engine 1.9 stores the step of a schema1 manifest, or None.
        saved_id: The version 1 id that engines since 1.10 and `save` give the layer; else empty.
        empty_layer: The step has no layer.
    """

    created: str
    created_by: str
    author: str
    comment: str
    digest: Digest | None = None
    diff_id: Digest | None = None
    size: int | None = None
    v1_id: str = ""
    strong_id: Digest | None = None
    saved_id: str = ""
    empty_layer: bool = False


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
        empty_layer=layer is None,
    )


def add_v1_ids(
    steps: Sequence[HistoryStep], image: Manifest | Schema1, config: ImageConfig
) -> list[HistoryStep]:
    """Return the steps with their ids of version 1.

    Every step of a schema1 manifest has a version 1 JSON. Of other images, every layer with a
    DiffID gets one when the image is saved.

    Args:
        steps: The result of `list_history`.
        image: The manifest.
        config: The config; of a schema1 image, the one that is made for it.
    """
    from wherry.model import v1
    from wherry.model.schema1 import Schema1
    from wherry.model.v1_chain import strong_ids

    if isinstance(image, Schema1):
        rows = zip(steps, image.layers, reversed(strong_ids(image)), strict=True)
        return [step._replace(v1_id=layer.id, strong_id=strong) for step, layer, strong in rows]
    ids = (v1_id for v1_id, _ in v1.saved_chain(config.raw, config.diff_ids))
    lowest_first = [
        step if step.diff_id is None else step._replace(saved_id=next(ids))
        for step in reversed(steps)
    ]
    return lowest_first[::-1]
