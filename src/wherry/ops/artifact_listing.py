"""List the names of a store that stand for no image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import wherry
from wherry.errors import IntegrityError, InvalidDocument, NotFound
from wherry.model.manifest import Index, Manifest
from wherry.model.record import Record
from wherry.ops.listing import name_filter
from wherry.store.stored_images import required_blobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.model.manifest import Document
    from wherry.store import LocalStore


class ArtifactRecord(Record):
    """A name of a store that stands for an artifact, or for an index of which no image is stored.

    Attributes:
        name: The full name.
        digest: The digest of the document.
        type: The type of the artifact, or the media type of the index.
        size: Bytes of the document and of its stored blobs.
    """

    name: str
    digest: wherry.Digest
    type: str
    size: int


def list_artifacts(store: LocalStore, patterns: Sequence[str] = ()) -> Iterator[ArtifactRecord]:
    """Yield the names of artifacts in order; ``patterns`` select names as those of images."""
    is_wanted = name_filter(patterns)
    for name, digest in store.names_without_image():
        if not is_wanted(name):
            continue
        try:
            document = store.document(digest)
            yield ArtifactRecord(name, digest, _type(document), _size(store, document))
        except (NotFound, IntegrityError, InvalidDocument):
            continue  # it was collected meanwhile, or `fsck` reports it


def _type(document: Document) -> str:
    if isinstance(document, Manifest):
        return document.artifact_type or document.config.media_type
    return (document.artifact_type if isinstance(document, Index) else "") or document.media_type


def _size(store: LocalStore, document: Document) -> int:
    return len(document.raw) + sum(map(store.size, required_blobs(document)))
