"""List the images of an index, with their platforms and sizes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from wherry.content.budget import Budget
from wherry.content.scheduler import run_tasks
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.inspection import size_of
from wherry.model.manifest import Index, Manifest
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.ops.documents import read_parsed_config
from wherry.ops.open_source import open_image
from wherry.transfer.graph import listed, select_all

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Source
    from wherry.model.address import Address
    from wherry.ops.open_source import Access, SourceImage
    from wherry.transfer.graph import Selection


class PlatformImage(Record):
    """One image of an index.

    Attributes:
        platform: The platform that the index states, else the platform of the config.
        digest: The digest of the manifest.
        media_type: The media type of the manifest.
        size: The bytes of the config and the compressed layers, or None for schema1.
        layers: The descriptors of the layers, the lowest one first.
    """

    platform: Platform
    digest: Digest
    media_type: str
    size: int | None
    layers: tuple[Descriptor, ...]


def list_platforms(
    address: Address, access: Access, jobs: int = 6
) -> tuple[Digest, list[PlatformImage]]:
    """Return the digest of the root and the images below it.

    A ``sparse`` source lists the images that it holds. ``jobs`` is the number of documents to
    fetch at a time.
    """
    with open_image(address, access) as image:
        found = _images(image, access, jobs)
        return image.digest, [_platform_image(image, each) for each in found]


def _images(image: SourceImage, access: Access, jobs: int) -> list[Selection]:
    source, document = image.source, image.document
    if source.remote and isinstance(document, Index):
        # The session caches documents: the search below finds them without requests.
        wanted = dict.fromkeys(entry.digest for entry in listed(document))
        Budget().check(len(wanted))
        tasks = [functools.partial(_fetch, source, digest) for digest in wanted]
        run_tasks(None, tasks, jobs=jobs, cancel=access.cancel)
    return select_all(image.digest, document, source.document, sparse=image.sparse)


def _fetch(source: Source, digest: Digest, _cancel: CancelToken) -> None:
    source.document(digest)


def _platform_image(image: SourceImage, chosen: Selection) -> PlatformImage:
    manifest = chosen.manifest
    platform = next(iter(chosen.listed), None) or read_parsed_config(image, chosen).platform
    size = size_of(manifest) if isinstance(manifest, Manifest) else None
    return PlatformImage(platform, chosen.digest, manifest.media_type, size, chosen.layers)
