"""The content of the fake version 1 registry: images by id, and lists and tags by repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.testing._v1_checksums import payload_checksum

if TYPE_CHECKING:
    from wherry.testing.v1_images import BuiltV1Image

__all__ = ["StoredV1Image", "V1Content", "full_name"]


@dataclass
class StoredV1Image:
    """An image in the registry.

    Attributes:
        json: The version 1 JSON.
        layer: The layer, as bytes or as the path of a file; None before its upload.
        checksums: The checksums that the registry has computed of the layer.
        is_complete: Whether the checksums were confirmed. Other images are not served.
        ancestry: The ids to answer with, instead of those that follow from the parents.
    """

    json: bytes
    layer: bytes | Path | None = None
    checksums: tuple[str, ...] = ()
    is_complete: bool = False
    ancestry: list[str] | None = None

    @property
    def size(self) -> int:
        """The number of bytes of the layer."""
        if isinstance(self.layer, Path):
            return self.layer.stat().st_size
        return len(self.layer or b"")


class V1Content:
    """The images, image lists and tags of a registry.

    Attributes:
        images: The images by id; may be changed.
        lists: By repository: the checksum of each image id, or an empty string.
        tags: By repository: the image id of each tag.
    """

    def __init__(self) -> None:
        self.images: dict[str, StoredV1Image] = {}
        self.lists: dict[str, dict[str, str]] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def add_image(self, name: str, image: BuiltV1Image, *tags: str) -> str:
        """Add an image with the images below it to a repository.

        Args:
            name: The repository; a single name is in ``library/``.
            image: The image.
            tags: Tags for its top image.

        Returns:
            The id of the top image.
        """
        name = full_name(name)
        listed = self.lists.setdefault(name, {})
        for each in image.layers:
            checksum = payload_checksum(each.json, each.layer)
            stored = StoredV1Image(each.json, each.layer, (checksum,), is_complete=True)
            self.images.setdefault(each.id, stored)
            listed[each.id] = checksum
        self.tags.setdefault(name, {}).update(dict.fromkeys(tags, image.id))
        return image.id

    def ancestry(self, image_id: str) -> list[str]:
        """Return the ids of an image and those below it, the top image first."""
        given = self.images[image_id].ancestry
        if given is not None:
            return given
        found: list[str] = []
        while image_id in self.images and image_id not in found:
            found.append(image_id)
            image_id = json.loads(self.images[image_id].json).get("parent", "")
        return found

    def is_whole(self, image_id: str) -> bool:
        """Tell whether an image and all below it are complete."""
        return image_id in self.images and all(
            self.images[each].is_complete for each in self.ancestry(image_id)
        )


def full_name(name: str) -> str:
    """Return a repository's name with its namespace."""
    return name if "/" in name else f"library/{name}"
