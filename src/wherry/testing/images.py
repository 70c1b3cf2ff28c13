"""Deterministic images in memory: the same arguments give the same bytes and digests."""

from __future__ import annotations

import bz2
import copy
import gzip
import hashlib
import io
import json
import lzma
import random
import tarfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "COMPRESSIONS",
    "BuiltImage",
    "BuiltIndex",
    "Piece",
    "Style",
    "build_image",
    "build_index",
    "compress",
    "document",
    "pseudo_random_files",
    "sha256",
    "tar_layer",
]

Style = Literal["oci", "docker"]
COMPRESSIONS = ("gzip", "zstd", "none", "bzip2", "xz")

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
_MTIME = 1704164645  # 2024-01-02T03:04:05Z, the default of `created` below


def sha256(data: bytes) -> str:
    """Return the digest of `data` as ``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def document(value: object) -> bytes:
    """Return `value` as compact JSON, its keys in the order given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Piece:
    """One blob or document of an image, with the media type a descriptor gives it."""

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
        """Return the OCI descriptor of this piece as a new dictionary."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class BuiltImage:
    """One image: its documents, its layers as they are stored, and their DiffIDs."""

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
    """An index with the images it lists, and the indexes nested in it."""

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


def tar_layer(files: Mapping[str, bytes | tarfile.TarInfo | None]) -> bytes:
    """Return a tar of `files` in the order given, with fixed owners and times.

    A value of None makes a directory; a `tarfile.TarInfo` is written as it is (links, devices,
    odd modes) under the key's name.  Parents are not added.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                member = copy.copy(content)  # `TarInfo.replace` came with Python 3.11.4
                member.name = name
                archive.addfile(member)
                continue
            member = tarfile.TarInfo(name)
            member.mtime = _MTIME
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                member.mode, member.size = 0o644, len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def compress(data: bytes, how: str) -> bytes:
    """Return `data` compressed: `how` is one of `COMPRESSIONS` ("none" returns it as it is)."""
    match how:
        case "none":
            return data
        case "gzip":
            return gzip.compress(data, compresslevel=4, mtime=0)
        case "zstd":
            import zstandard

            return zstandard.ZstdCompressor(level=3).compress(data)
        case "bzip2":
            return bz2.compress(data, 1)
        case "xz":
            return lzma.compress(data, preset=0)
        case _:
            raise ValueError(f"unknown compression {how!r}; known are {', '.join(COMPRESSIONS)}")


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
    """Build an image of the uncompressed layers `tars`.

    `compression` is one name for all layers or one for each.  `history` is by default one entry a
    layer.  `manifest_extra` and `config_extra` are laid over the top-level keys of the documents;
    a value of None removes the key.  `diff_ids` replaces the true ones, to build images that lie.
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
    """Build an index (a manifest list for docker) of images, or of indexes, with their platforms.

    The mapping of an entry is its platform object as it is to be written; None leaves it out.
    `extra` is laid over the index, `entry_extra` over every descriptor in it; None removes a key.
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


def pseudo_random_files(seed: int, total_bytes: int, count: int) -> dict[str, bytes]:
    """Return `count` files of together `total_bytes`, which compress to a bit over half.

    The same arguments give the same content.  Made at several hundred megabytes a second.
    """
    source = random.Random(seed)  # noqa: S311 - content that has to repeat, not secrets
    base, rest = divmod(total_bytes, count)
    words = b"".join(b"%08x the same words again and again\n" % seed for _ in range(100))
    files = {}
    for number in range(count):
        size = base + (1 if number < rest else 0)
        noise = source.randbytes(size // 2)
        text = (words * (size // len(words) + 1))[: size - len(noise)]
        files[f"data/{number:05}.bin"] = _interleaved(noise, text)
    return files


def _interleaved(left: bytes, right: bytes, step: int = 4096) -> bytes:
    """Mix two strings block by block, so that every part of the result compresses alike."""
    blocks = []
    for start in range(0, max(len(left), len(right)), step):
        blocks += [left[start : start + step], right[start : start + step]]
    return b"".join(blocks)


def _layer_type(style: Style, how: str) -> str:
    return _LAYER_TYPES[style] + ("" if how == "none" else _LAYER_JOINS[style] + how)


def _overlaid(base: Mapping[str, object], extra: Mapping[str, object] | None) -> dict[str, object]:
    merged = {**base, **(extra or {})}
    return {key: value for key, value in merged.items() if value is not None}
