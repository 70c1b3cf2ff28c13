"""The files of archives and layouts by name; `tar_layer` packs them into a tar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.testing.images import BuiltImage, BuiltIndex, document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from wherry.testing.images import Piece

__all__ = ["docker_files", "flat_files", "layout_files", "write_files"]

_REF_NAME = "org.opencontainers.image.ref.name"


def layout_files(images: Mapping[str, BuiltImage | BuiltIndex]) -> dict[str, bytes]:
    """Return the files of an OCI layout (OCI image spec 1.1, Image Layout).

    Args:
        images: Images or indexes by their reference names; an entry with an empty name has no
            ``org.opencontainers.image.ref.name``.

    Returns:
        The content of each file by its path in the layout.
    """
    files: dict[str, bytes] = {"oci-layout": document({"imageLayoutVersion": "1.0.0"})}
    entries = []
    for name, image in images.items():
        root = image.index if isinstance(image, BuiltIndex) else image.manifest
        noted = {"annotations": {_REF_NAME: name}} if name else {}
        entries.append(root.descriptor() | noted)
        for piece in _pieces(image):
            algorithm, _, value = piece.digest.partition(":")
            files[f"blobs/{algorithm}/{value}"] = piece.data
    return files | {"index.json": document({"schemaVersion": 2, "manifests": entries})}


def flat_files(image: BuiltImage | BuiltIndex) -> dict[str, bytes]:
    """Return the files of a directory as skopeo's ``dir:`` transport writes it.

    Args:
        image: An image, or an index with its images.

    Returns:
        The content of each file by its name.
    """
    files = {"version": b"Directory Transport Version: 1.1\n"}
    root = image.index if isinstance(image, BuiltIndex) else image.manifest
    documents = [child.manifest for child in image.images] if isinstance(image, BuiltIndex) else []
    for piece in _pieces(image):
        ending = ".manifest.json" if piece in documents else ""
        files[piece.digest.partition(":")[2] + ending] = piece.data
    del files[root.digest.partition(":")[2]]
    return files | {"manifest.json": root.data}


def docker_files(
    image: BuiltImage, layers: Sequence[bytes], names: Sequence[str] = ()
) -> dict[str, bytes]:
    """Return the files of an archive as ``docker save`` wrote it before Docker 25.

    Args:
        image: The image; only its config is used.
        layers: The content of each layer file, usually an uncompressed tar.
        names: The names in ``RepoTags``.

    Returns:
        The content of each file by its path in the archive.
    """
    config = image.config.digest.partition(":")[2] + ".json"
    paths = [f"{number}/layer.tar" for number in range(len(layers))]
    entry = {"Config": config, "RepoTags": list(names), "Layers": paths}
    return {
        **dict(zip(paths, layers, strict=True)),
        config: image.config.data,
        "manifest.json": document([entry]),
    }


def write_files(directory: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a directory, and return the directory.

    Args:
        directory: The directory; it and its parents are made if need be.
        files: The content of each file by its path below the directory.
    """
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


def _pieces(image: BuiltImage | BuiltIndex) -> Iterator[Piece]:
    if isinstance(image, BuiltIndex):
        yield image.index
        for nested in image.indexes:
            yield from _pieces(nested)
        for child in image.images:
            yield from _pieces(child)
        return
    yield image.manifest
    yield from image.blobs()
