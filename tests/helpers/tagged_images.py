"""Two images of one repository that share a layer, and what a store has of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stored_images import names
from wherry.testing import BuiltImage, build_image, tar_layer

if TYPE_CHECKING:
    import wherry as library

BASE = tar_layer({"base": b"shared"})
FIRST = build_image([BASE, tar_layer({"a": b"1"})])
SECOND = build_image([BASE, tar_layer({"a": b"2"})])


def blobs(store: library.Store) -> set[str]:
    """Return the digests of all blob files."""
    return {
        f"{path.parent.name}:{path.name}"
        for path in (store.path / "blobs").glob("*/*")
        if path.is_file()
    }


def all_of(image: BuiltImage) -> set[str]:
    return {image.digest, *(piece.digest for piece in image.blobs())}


def tags(store: library.Store) -> list[str]:
    return [name.rpartition("/")[2] for name in names(store) if "@" not in name]
