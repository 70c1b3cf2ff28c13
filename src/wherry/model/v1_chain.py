"""The chain of version 1 images that an image becomes in a version 1 registry.

Engines before 1.10 kept the version 1 JSON of each layer that came with a schema1 manifest. They
pushed these bytes under the ids in them, and made a JSON only where none was kept (moby 1.9,
``graph/push_v1.go``). Engines since 1.10 keep none, and make all of them
(``distribution/push_v1.go``). Here the images of a schema1 manifest have the JSONs in it, and
those of other manifests have the JSONs that engines since 1.10 make.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import InvalidDocument
from wherry.model import gojson, mediatype, v1
from wherry.model.config import chain_ids, parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.quantity import count
from wherry.model.schema1_writer import EMPTY_LAYER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.schema1 import Schema1


class ChainImage(NamedTuple):
    """One image of a chain: a JSON with a layer.

    Attributes:
        id: The id, 64 hex digits.
        parent: The id of the image below; empty for the lowest.
        json: The version 1 JSON.
        layer: The layer, compressed or not.
        diff_id: The DiffID of the layer; None if it is not known.
    """

    id: str
    parent: str
    json: bytes
    layer: Descriptor
    diff_id: Digest | None = None


def chain_of_schema1(manifest: Schema1) -> tuple[ChainImage, ...]:
    """Return the images of a schema1 manifest, bottom first.

    Every entry is an image. An entry without a layer of its own gets an empty one.
    """
    return tuple(
        ChainImage(
            step.id,
            step.parent,
            step.v1_json,
            EMPTY_LAYER if step.throwaway else Descriptor(mediatype.DOCKER_LAYER, step.blob_sum),
        )
        for step in reversed(manifest.layers)
    )


def strong_ids(manifest: Schema1) -> list[Digest]:
    """Return the ids that engine 1.9 gives the images of a schema1 manifest, bottom first.

    It stores an image under this id, which depends on the image's content and on all below it
    (moby 1.9, ``graph/pull_v2.go``).
    """
    found: list[Digest] = []
    for step in reversed(manifest.layers):
        below = found[-1] if found else None
        found.append(v1.strong_id(step.v1_json, step.blob_sum, below))
    return found


def chain_of_config(
    config: bytes, layers: Sequence[Descriptor], ids: Sequence[str] = ()
) -> tuple[ChainImage, ...]:
    """Return the images that the layers of an image become, bottom first.

    The JSON of the top image has the fields of the config, the others only ids. Steps of the
    history that made no layer have no image, and an image without layers gets an empty one.

    Args:
        config: The image config.
        layers: The layers, bottom first.
        ids: An id for each image; by default those of `made_ids`.

    Raises:
        InvalidDocument: The config is invalid, or is for another number of layers.
    """
    diff_ids = parse_config(config).diff_ids
    if len(diff_ids) != len(layers):
        raise InvalidDocument(
            f"the config has {count(len(diff_ids), 'DiffID')}, "
            f"the manifest {count(len(layers), 'layer')}"
        )
    rows: list[tuple[Descriptor, Digest | None]] = [*zip(layers, diff_ids, strict=True)]
    rows = rows or [(EMPTY_LAYER, None)]
    ids = ids or made_ids(config, diff_ids)
    parents = ["", *ids[:-1]]
    jsons = [_below_top(*pair) for pair in zip(ids[:-1], parents[:-1], strict=True)]
    jsons.append(v1.v1_from_config(config, ids[-1], parents[-1]))
    return tuple(
        ChainImage(v1_id, parent, raw, layer, diff_id)
        for v1_id, parent, raw, (layer, diff_id) in zip(ids, parents, jsons, rows, strict=True)
    )


def made_ids(config: bytes, diff_ids: Sequence[Digest]) -> list[str]:
    """Return the ids that engines since 1.10 give the images of an image, bottom first.

    The id of the top image is the image id, those below are ChainIDs.
    """
    below = [_hex(chain_id) for chain_id in chain_ids(diff_ids)[:-1]]
    return [*below, Digest.of(config).hex]


def _hex(chain_id: Digest) -> str:
    """Return a ChainID as an id; that of a sha512 DiffID would be too long."""
    if chain_id.algorithm == "sha256":
        return chain_id.hex
    return hashlib.sha256(str(chain_id).encode()).hexdigest()


def _below_top(v1_id: str, parent: str) -> bytes:
    fields = {"id": v1_id} | ({"parent": parent} if parent else {})
    return gojson.encode(fields).encode("utf-8")
