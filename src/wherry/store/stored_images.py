"""Which stored documents are complete, and which of them are images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.verify import check_layer_count
from wherry.errors import IntegrityError, InvalidDocument, NotFound
from wherry.model import mediatype
from wherry.model.config import parse_config
from wherry.model.manifest import Index, Manifest
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.store.images import ImageRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.model.digest import Digest
    from wherry.model.manifest import Document


def required_blobs(document: Document) -> list[Digest]:
    """Return the blobs without which a document is incomplete.

    These are the config and the layers. Foreign layers may be elsewhere, and so may what an
    index lists.
    """
    if not isinstance(document, Manifest):
        return []
    layers = [
        layer.digest for layer in document.layers if not mediatype.is_foreign(layer.media_type)
    ]
    return list(dict.fromkeys([document.config.digest, *layers]))


def listed_digests(document: Manifest | Index) -> list[Digest]:
    """Return all that a document lists, each once; the config of a manifest is the first."""
    if isinstance(document, Index):
        listed = [entry.digest for entry in document.manifests]
    else:
        listed = [document.config.digest, *(layer.digest for layer in document.layers)]
    return list(dict.fromkeys(listed))


def read_image(
    digest: Digest,
    document: Document,
    read: Callable[[Digest], bytes],
    size: Callable[[Digest], int],
) -> ImageRecord | None:
    """Return the record of a stored document if it is a complete image.

    DiffIDs are not computed.

    Args:
        digest: The digest of the document.
        document: The document.
        read: Returns a config.
        size: Returns the size of a blob in bytes; raises `NotFound` if it is not stored.
    """
    if not isinstance(document, Manifest) or document.artifact is not None:
        return None
    try:
        sizes = [size(blob) for blob in listed_digests(document)]
        if sizes[0] > MAX_DOCUMENT:  # to read it would hash all of it
            return None
        config = parse_config(read(document.config.digest))
        check_layer_count(config, len(document.layers))
    except (InvalidDocument, IntegrityError, NotFound):
        return None
    return ImageRecord(
        manifest=digest,
        id=document.config.digest,
        platform=str(config.platform.normalized()),
        created=config.created,
        size=sum(sizes),
    )
