"""The part of an index that a source holds, as an index of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wherry.content.budget import Budget
from wherry.errors import InvalidDocument, NotFound
from wherry.model import gojson, mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index, digest_of, parse
from wherry.transfer.graph import MAX_NESTING

if TYPE_CHECKING:
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.ops.open_source import SourceImage


class PartialIndex:
    """An index with the entries that the source holds, as ``root``.

    If entries are missing, ``root`` is a new index and ``missing`` is their number. `document`
    returns the new indexes, besides the documents of the source.
    """

    def __init__(self, image: SourceImage, digest: Digest, index: Index) -> None:
        self._image = image
        self._fetch = Budget().limit(image.source.document)
        self._made: dict[Digest, Index] = {}
        self.missing = 0
        self.lacks_image = False
        self.digest, self.root = self._held(digest, index, 1)

    def document(self, digest: Digest) -> Document:
        """Return a document below the root; raises `NotFound`."""
        return self._made.get(digest) or self._image.source.document(digest)

    def _held(self, digest: Digest, index: Index, depth: int) -> tuple[Digest, Index]:
        if depth > MAX_NESTING:
            raise InvalidDocument(f"indexes are nested deeper than {MAX_NESTING}")
        listed: list[dict[str, Any]] = json.loads(index.raw)["manifests"]
        kept = []
        for entry, fields in zip(index.manifests, listed, strict=True):
            child = self._child(entry)
            if child is None:
                self.missing += 1
                self.lacks_image = self.lacks_image or _is_image(entry)
                continue
            if isinstance(child, Index):
                below, part = self._held(entry.digest, child, depth + 1)
                if below != entry.digest:
                    fields |= {"digest": str(below), "size": len(part.raw)}
            kept.append(fields)
        if kept == json.loads(index.raw)["manifests"]:
            return digest, index
        document = json.loads(index.raw) | {"manifests": kept}
        made = parse(gojson.encode(document).encode("utf-8"), index.media_type)
        assert isinstance(made, Index)  # noqa: S101 - by its media type
        self._made[digest_of(made)] = made
        return digest_of(made), made

    def _child(self, entry: Descriptor) -> Document | None:
        """Return a document that an index lists, if it and its blobs are there."""
        kind = entry.media_type.lower()
        if not mediatype.may_be_image(kind):
            return None
        if kind not in mediatype.INDEXES and not self._image.holds(entry.digest):
            return None
        try:
            return self._fetch(entry.digest)
        except NotFound:
            return None


def _is_image(entry: Descriptor) -> bool:
    """Tell whether an entry may be an image, by the entry alone."""
    known = mediatype.may_be_image(entry.media_type)
    return known and not entry.is_attestation and not entry.artifact_type
