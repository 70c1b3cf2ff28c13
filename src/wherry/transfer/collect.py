"""Collecting the documents that a copy writes, from the root down."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.content.budget import Budget
from wherry.errors import InvalidDocument, NotFound, Unsupported
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index, Manifest
from wherry.model.record import Record
from wherry.transfer.graph import MAX_NESTING, check_type, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.platform import Platform
    from wherry.transfer.graph import Selection

_ATTESTED = "vnd.docker.reference.digest"  # BuildKit: the image that an attestation is about


class Node(Record):
    """A document that a copy writes, under the digest that it has at the source."""

    descriptor: Descriptor
    document: Document

    @property
    def digest(self) -> Digest:
        """The digest of the document at the source."""
        return self.descriptor.digest

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers; none for an index."""
        document = self.document
        if isinstance(document, Index):
            return ()
        if isinstance(document, Manifest):
            return (document.config, *document.layers)
        layers = reversed(document.layers)
        return tuple(dict.fromkeys(Descriptor("", layer.blob_sum) for layer in layers))

    @property
    def subject(self) -> Descriptor | None:
        """The document that this one refers to, if any."""
        document = self.document
        return document.subject if isinstance(document, Index | Manifest) else None

    @property
    def children(self) -> tuple[Digest, ...]:
        """The digests of all that the document names."""
        document = self.document
        if isinstance(document, Index):
            return tuple(entry.digest for entry in document.manifests)
        return tuple(blob.digest for blob in self.blobs)


class Wanted(Record):
    """Which documents below a root to copy.

    Attributes:
        platforms: The platforms; empty means all.
        several: Whether the caller asked for a list, so that an index stays an index.
        sparse: Keep an index as it is, although only some of its images are copied: those of
            the platforms, or without platforms those that the source has.
        attestations: Whether to copy the attestations of the images.
    """

    platforms: tuple[Platform, ...] = ()
    several: bool = False
    sparse: bool = False
    attestations: bool = True


class Collection(NamedTuple):
    """The documents of a copy in post-order: the root is the last one.

    Attributes:
        nodes: The documents.
        kept: The documents that indexes keep; None if indexes stay as they are.
    """

    nodes: tuple[Node, ...]
    kept: frozenset[Digest] | None = None


def node_of(digest: Digest, document: Document) -> Node:
    """Return a document with its descriptor."""
    return Node(Descriptor(document.media_type, digest, len(document.raw)), document)


def keeps_every_root(wanted: Wanted) -> bool:
    """Tell whether the root of the source is the root of the copy, whatever its kind."""
    return wanted.sparse or (not wanted.platforms and wanted.attestations)


def collect(
    digest: Digest, document: Document, wanted: Wanted, fetch: Callable[[Digest], Document]
) -> Collection:
    """Collect the documents to copy.

    One platform of an index without ``several`` and ``sparse`` is copied as its manifest.

    Args:
        digest: The digest of the root.
        document: The root.
        wanted: What to copy.
        fetch: Returns further documents.

    Raises:
        PlatformMismatch: There is no image for a platform.
        InvalidDocument: A document breaks the rules.
        NotFound: The source lacks a document.
        BudgetExceeded: The indexes lead to too many documents.
    """
    fetch = Budget().limit(fetch)
    if not isinstance(document, Index):
        return Collection((node_of(digest, document),))
    if not wanted.platforms:
        return _collect_all(digest, document, wanted, fetch)
    chosen = [select(digest, document, each, fetch, artifacts=True) for each in wanted.platforms]
    if len(chosen) == 1 and not (wanted.several or wanted.sparse):
        return Collection((node_of(chosen[0].digest, chosen[0].manifest),))
    return _collect_chosen(digest, document, chosen, wanted, fetch)


def _collect_all(
    digest: Digest, document: Index, wanted: Wanted, fetch: Callable[[Digest], Document]
) -> Collection:
    found: dict[Digest, Node] = {}
    dropped = False
    missing: NotFound | None = None

    def visit(at: Digest, index: Index, depth: int) -> None:
        nonlocal dropped, missing
        if depth > MAX_NESTING:
            raise InvalidDocument(f"indexes are nested deeper than {MAX_NESTING}")
        for entry in index.manifests:
            if entry.digest in found:
                continue
            if entry.is_attestation and not wanted.attestations:
                dropped = True
                continue
            try:
                child = _fetch(entry, fetch)
            except NotFound as error:
                missing = error
                if not wanted.sparse:
                    raise
                continue
            if isinstance(child, Index):
                visit(entry.digest, child, depth + 1)
            else:
                found[entry.digest] = node_of(entry.digest, child)
        found[at] = node_of(at, index)

    visit(digest, document, 1)
    if missing is not None and all(isinstance(each.document, Index) for each in found.values()):
        raise missing
    kept = frozenset(found) if dropped and not wanted.sparse else None
    return Collection(tuple(found.values()), kept)


def _collect_chosen(
    digest: Digest,
    document: Index,
    chosen: list[Selection],
    wanted: Wanted,
    fetch: Callable[[Digest], Document],
) -> Collection:
    """Collect the images of some platforms, their attestations and the indexes above them."""
    found: dict[Digest, Node] = {}
    indexes: dict[Digest, Index] = {}
    for selection in chosen:
        found[selection.digest] = node_of(selection.digest, selection.manifest)
        indexes |= dict(selection.indexes)
    if wanted.attestations:
        images = {str(each.digest) for each in chosen}
        for entry in _attestations(indexes, images):
            found.setdefault(entry.digest, node_of(entry.digest, _fetch(entry, fetch)))
    for at, index in reversed(indexes.items()):
        found[at] = node_of(at, index)
    nodes = tuple(node for node in found.values() if node.digest != digest)
    nodes = (*nodes, node_of(digest, document))
    listed = {entry.digest for index in indexes.values() for entry in index.manifests}
    kept = None if wanted.sparse or listed <= found.keys() else frozenset(found)
    return Collection(nodes, kept)


def _attestations(indexes: dict[Digest, Index], images: set[str]) -> Iterator[Descriptor]:
    for index in indexes.values():
        for entry in index.manifests:
            if entry.is_attestation and entry.annotations.get(_ATTESTED) in images:
                yield entry


def _fetch(entry: Descriptor, fetch: Callable[[Digest], Document]) -> Document:
    """Fetch a document that an index lists; raises `NotFound` with what to try."""
    if entry.media_type and not mediatype.may_be_image(entry.media_type):
        raise Unsupported(
            f"the index lists {entry.digest.short}… of type {entry.media_type}",
            hint="--platform copies the images of some platforms alone",
        )
    try:
        child = fetch(entry.digest)
    except NotFound as error:
        error.hint = error.hint or "--platform copies the images of some platforms alone"
        raise
    check_type(entry, child)
    return child
