"""Builders of images in memory; the same arguments give the same bytes and digests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from wherry.testing.layers import compress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "BuiltImage",
    "BuiltIndex",
    "Piece",
    "Style",
    "build_image",
    "build_index",
    "document",
    "sha256",
]

Style = Literal["oci", "docker"]

_OCI = "application/vnd.oci.image."
_DOCKER = "application/vnd.docker."
_MANIFEST_TYPES = {
    "oci": _OCI + "manifest.v1+json",
    "docker": _DOCKER + "distribution.manifest.v2+json",
}
_INDEX_TYPES = {
    "oci": _OCI + "index.v1+json",
    "docker": _DOCKER + "distribution.manifest.list.v2+json",
}
_CONFIG_TYPES = {
    "oci": _OCI + "config.v1+json",
    "docker": _DOCKER + "container.image.v1+json",
}
_LAYER_TYPES = {"oci": _OCI + "layer.v1.tar", "docker": _DOCKER + "image.rootfs.diff.tar"}
_LAYER_JOINS = {"oci": "+", "docker": "."}


def sha256(data: bytes) -> str:
    """Return the digest of ``data`` as ``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def document(value: object) -> bytes:
    """Return ``value`` as compact JSON; keys keep their order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Piece:
    """One blob or document of an image.

    Attributes:
        media_type: The media type that a descriptor states.
        data: The bytes.
    """

    media_type: str
    data: bytes

    @cached_property
    def digest(self) -> str:
        """The digest of the bytes, ``sha256:<hex>``."""
        return sha256(self.data)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    def descriptor(self) -> dict[str, Any]:
        """Return the OCI descriptor as a new dictionary."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class BuiltImage:
    """An image of one platform.

    Attributes:
        manifest: The manifest.
        config: The config.
        layers: The layers, compressed as they are stored.
        diff_ids: The DiffIDs that the config states.
    """

    manifest: Piece
    config: Piece
    layers: tuple[Piece, ...]
    diff_ids: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return self.manifest.digest

    @property
    def id(self) -> str:
        """The image id: the digest of the config."""
        return self.config.digest

    def blobs(self) -> Iterator[Piece]:
        """Yield the layers and then the config."""
        yield from self.layers
        yield self.config


@dataclass(frozen=True)
class BuiltIndex:
    """An index with its images.

    Attributes:
        index: The document.
        images: The images that it lists.
        indexes: The indexes that it lists.
    """

    index: Piece
    images: tuple[BuiltImage, ...]
    indexes: tuple[BuiltIndex, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of the index."""
        return self.index.digest

    def every_image(self) -> Iterator[BuiltImage]:
        """Yield the images of this index and of those nested in it."""
        yield from self.images
        for nested in self.indexes:
            yield from nested.every_image()


def build_image(
    tars: Sequence[bytes],
    *,
    style: Style = "oci",
    compression: str | Sequence[str] = "gzip",
    os: str = "linux",
    architecture: str = "amd64",
    variant: str = "",
    env: Sequence[str] = (),
    entrypoint: Sequence[str] | None = None,
    cmd: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    history: Sequence[Mapping[str, object]] | None = None,
    created: str = "2024-01-02T03:04:05Z",
    config_media_type: str | None = None,
    layer_media_types: Sequence[str] | None = None,
    manifest_extra: Mapping[str, object] | None = None,
    config_extra: Mapping[str, object] | None = None,
    diff_ids: Sequence[str] | None = None,
) -> BuiltImage:
    """Build an image of one platform.

    Args:
        tars: The uncompressed layers, the lowest first (see `tar_layer`).
        style: The media types of the documents.
        compression: One name for all layers, or one for each (see `compress`).
        os: The operating system in the config.
        architecture: The architecture in the config.
        variant: The variant in the config.
        env: The environment, as ``NAME=value``.
        entrypoint: The entrypoint.
        cmd: The command.
        labels: The labels.
        history: The history of the config; by default one entry for each layer.
        created: The time in the config (RFC 3339).
        config_media_type: The media type of the config, instead of that of the style.
        layer_media_types: The media type of each layer, instead of that of the style.
        manifest_extra: Top-level keys that are set in the manifest; None removes a key.
        config_extra: Top-level keys that are set in the config; None removes a key.
        diff_ids: DiffIDs for the config instead of the true ones, to build an invalid image.
    """
    hows = [compression] * len(tars) if isinstance(compression, str) else list(compression)
    types = layer_media_types or [_layer_type(style, how) for how in hows]
    layers = tuple(
        Piece(media_type, compress(tar, how))
        for tar, how, media_type in zip(tars, hows, types, strict=True)
    )
    true_ids = diff_ids if diff_ids is not None else [sha256(tar) for tar in tars]
    if history is None:
        history = [
            {"created": created, "created_by": f"/bin/sh -c make layer {number}"}
            for number in range(len(tars))
        ]
    settings = {"Env": list(env), "Entrypoint": entrypoint, "Cmd": cmd, "Labels": labels}
    config = {
        "created": created,
        "architecture": architecture,
        "os": os,
        "variant": variant or None,
        "config": {key: value for key, value in settings.items() if value},
        "rootfs": {"type": "layers", "diff_ids": list(true_ids)},
        "history": [dict(entry) for entry in history],
    }
    config_piece = Piece(
        config_media_type if config_media_type is not None else _CONFIG_TYPES[style],
        document(_overlaid(config, config_extra)),
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPES[style],
        "config": config_piece.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    raw = document(_overlaid(manifest, manifest_extra))
    return BuiltImage(Piece(_MANIFEST_TYPES[style], raw), config_piece, layers, tuple(true_ids))


def build_index(
    entries: Sequence[tuple[BuiltImage | BuiltIndex, Mapping[str, object] | None]],
    *,
    style: Style = "oci",
    extra: Mapping[str, object] | None = None,
    entry_extra: Mapping[str, object] | None = None,
) -> BuiltIndex:
    """Build an OCI index, or a manifest list of Docker.

    Args:
        entries: The images or indexes, each with its platform object; None leaves that out.
        style: The media types of the documents.
        extra: Top-level keys that are set in the index; None removes a key.
        entry_extra: Keys that are set in each descriptor; None removes a key.
    """
    descriptors = []
    for child, platform in entries:
        piece = child.manifest if isinstance(child, BuiltImage) else child.index
        entry = piece.descriptor() | {"platform": dict(platform) if platform is not None else None}
        descriptors.append(_overlaid(entry, entry_extra))
    index = {"schemaVersion": 2, "mediaType": _INDEX_TYPES[style], "manifests": descriptors}
    return BuiltIndex(
        Piece(_INDEX_TYPES[style], document(_overlaid(index, extra))),
        tuple(child for child, _ in entries if isinstance(child, BuiltImage)),
        tuple(child for child, _ in entries if isinstance(child, BuiltIndex)),
    )


def _layer_type(style: Style, how: str) -> str:
    return _LAYER_TYPES[style] + ("" if how == "none" else _LAYER_JOINS[style] + how)


def _overlaid(base: Mapping[str, object], extra: Mapping[str, object] | None) -> dict[str, object]:
    merged = {**base, **(extra or {})}
    return {key: value for key, value in merged.items() if value is not None}
