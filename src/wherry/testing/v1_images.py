"""Builders of version 1 images: a JSON and a layer for each, linked by their parents."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wherry.testing.images import document, sha256
from wherry.testing.layers import compress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BuiltV1Image", "V1Layer", "build_v1_image", "v1_layer"]


@dataclass(frozen=True, slots=True)
class V1Layer:
    """One image of a version 1 chain.

    Attributes:
        id: The id of the image, 64 hex digits.
        json: The version 1 JSON.
        layer: The layer, compressed or not.
    """

    id: str
    json: bytes
    layer: bytes


@dataclass(frozen=True, slots=True)
class BuiltV1Image:
    """A version 1 image and the images below it.

    Attributes:
        layers: The chain, the lowest image first.
        diff_ids: The DiffIDs of the layers.
    """

    layers: tuple[V1Layer, ...]
    diff_ids: tuple[str, ...]

    @property
    def id(self) -> str:
        """The id of the top image."""
        return self.layers[-1].id

    @property
    def ancestry(self) -> list[str]:
        """The ids as a registry lists them, the top image first."""
        return [each.id for each in reversed(self.layers)]


def build_v1_image(
    tars: Sequence[bytes],
    *,
    compression: str | Sequence[str] = "gzip",
    below: BuiltV1Image | None = None,
    top: Mapping[str, object] | None = None,
    each: Mapping[str, object] | None = None,
) -> BuiltV1Image:
    """Build a chain of version 1 images. The ids follow from the layers and their order.

    `build_image` with the same layers and compression makes the same blobs.

    Args:
        tars: The uncompressed layers, the lowest first (see `tar_layer`).
        compression: One name for all layers, or one for each (see `compress`).
        below: An image below these layers, which the new image contains.
        top: Keys that are set in the JSON of the top image; None removes a key.
        each: Keys that are set in the JSON of every new image; None removes a key.
    """
    hows = [compression] * len(tars) if isinstance(compression, str) else list(compression)
    layers = list(below.layers) if below is not None else []
    diff_ids = list(below.diff_ids) if below is not None else []
    last = len(layers) + len(tars) - 1
    for tar, how in zip(tars, hows, strict=True):
        number = len(layers)
        parent = layers[-1].id if layers else ""
        changes = {**(each or {}), **((top or {}) if number == last else {})}
        layers.append(v1_layer(compress(tar, how), parent, number, changes, id_of=tar))
        diff_ids.append(sha256(tar))
    return BuiltV1Image(tuple(layers), tuple(diff_ids))


def v1_layer(
    layer: bytes,
    parent: str = "",
    number: int = 0,
    changes: Mapping[str, object] | None = None,
    *,
    id_of: bytes | None = None,
) -> V1Layer:
    """Build one image of a chain.

    Args:
        layer: The layer as the registry has it.
        parent: The id of the image below; empty for the lowest.
        number: The place in the chain, from 0; it appears in the command and the date.
        changes: Keys that are set in the JSON; None removes a key. Another ``id`` does not change
            the id under which the registry has the image.
        id_of: The bytes that determine the id, instead of the layer.
    """
    name = b"%s %d " % (parent.encode(), number)
    v1_id = hashlib.sha256(name + (layer if id_of is None else id_of)).hexdigest()
    run: dict[str, Any] = {
        "Hostname": "",
        "Env": ["PATH=/usr/bin:/bin"],
        "Cmd": ["/bin/sh", "-c", f"step {number}"],
        "Image": parent,
        "Labels": None,
    }
    fields: dict[str, Any] = {
        "id": v1_id,
        "parent": parent or None,
        "created": f"2015-06-10T20:{number // 60 % 60:02}:{number % 60:02}.123456789Z",
        "container_config": run,
        "docker_version": "1.9.1",
        "config": run,
        "architecture": "amd64",
        "os": "linux",
        "Size": len(layer),
    }
    fields |= changes or {}
    kept = {key: value for key, value in fields.items() if value is not None}
    return V1Layer(v1_id, document(kept), layer)
