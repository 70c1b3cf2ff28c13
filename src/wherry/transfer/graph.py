"""Walking from a root document to the manifests of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.budget import Budget
from wherry.errors import InvalidDocument, NotFound, PlatformMismatch, Unsupported
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Document, Index, Manifest
from wherry.model.record import Record
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.model.digest import Digest
    from wherry.model.platform import Platform
    from wherry.model.problem import DocumentFault
    from wherry.model.schema1 import Schema1

MAX_NESTING = 8  # indexes inside indexes
MAX_SEARCHED = 256  # documents that are fetched to find an image for one platform
_TYPES_SHOWN = 3


class Selection(Record):
    """The path from a root document to the manifest of one image.

    ``indexes`` starts with the root. It is empty if the root is the manifest itself.
    """

    indexes: tuple[tuple[Digest, Index], ...]
    digest: Digest
    manifest: Manifest | Schema1

    @property
    def root(self) -> Digest:
        """The digest that a name stands for."""
        return self.indexes[0][0] if self.indexes else self.digest

    @property
    def listed(self) -> tuple[Platform, ...]:
        """The platforms of the image in its index; empty if there is no index."""
        entries = self.indexes[-1][1].manifests if self.indexes else ()
        return tuple(
            entry.platform
            for entry in entries
            if entry.digest == self.digest and entry.platform is not None
        )

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, bottom first; those of schema1 have no type and no size."""
        if isinstance(self.manifest, Manifest):
            return self.manifest.layers
        return tuple(
            Descriptor("", layer.blob_sum)
            for layer in reversed(self.manifest.layers)
            if not layer.throwaway
        )

    @property
    def config(self) -> Descriptor | None:
        """The config; None for schema1, which has none."""
        return self.manifest.config if isinstance(self.manifest, Manifest) else None


def problems(selection: Selection) -> Iterator[str]:
    """Yield the faults of a selection's documents that do not prevent its use."""
    ways = [*selection.indexes, (selection.digest, selection.manifest)]
    for (digest, document), below in zip(ways, [*ways[1:], None], strict=True):
        kind = "index" if isinstance(document, Index) else "manifest"
        if isinstance(document, Index | Manifest):
            yield from (f"{kind} {digest.short}…: {problem}" for problem in document.problems)
        if isinstance(document, Index) and below is not None:
            for entry in document.manifests:
                if entry.digest == below[0]:
                    for problem in _entry_problems(entry, below[1]):
                        yield f"{kind} {digest.short}…: {problem}"


def _entry_problems(entry: Descriptor, document: Document) -> Iterator[str]:
    """Yield the wrong facts in an index about a document."""
    if entry.media_type.lower() != document.media_type:
        yield (
            f"the type of {entry.digest.short}… is {entry.media_type or 'missing'}, "
            f"the document is {document.media_type}"
        )
    if document.raw and entry.size != len(document.raw):
        yield (
            f"the size of {entry.digest.short}… is {entry.size or 0:,}, "
            f"the document has {len(document.raw):,} bytes"
        )


def config_problems(config: Digest, found: Sequence[DocumentFault]) -> Iterator[str]:
    """Yield the faults of a config that do not prevent the use of its image."""
    return (f"config {config.short}…: {problem}" for problem in found)


def select(
    digest: Digest,
    document: Document,
    wanted: Platform,
    fetch: Callable[[Digest], Document],
    *,
    artifacts: bool = False,
    refuse: Callable[[Selection], PlatformMismatch | None] | None = None,
) -> Selection:
    """Find the image for a platform below a root.

    Args:
        digest: The digest of the root.
        document: The root.
        wanted: The platform.
        fetch: Returns further documents.
        artifacts: Whether to accept manifests that are not images.
        refuse: Returns an error to refuse an image by its config. Then the next image in the
            index is tried, if it has the same platform or none.

    Raises:
        PlatformMismatch: No image fits; the error has the available platforms.
        Unsupported: The manifest is not an image.
        BudgetExceeded: The indexes lead to too many documents.
    """
    refused: PlatformMismatch | None = None
    budget = Budget(MAX_SEARCHED)
    for found in _search(digest, document, wanted, budget.limit(fetch), {digest}, 1):
        if not artifacts:
            _check_image(found.manifest)
        if refuse is not None and found.config is not None:
            budget.check()
            budget.spend(min(found.config.size or 0, MAX_DOCUMENT))
        error = None if refuse is None else refuse(found)
        if error is None:
            return found
        refused = refused or error
    if refused is not None:
        raise refused
    assert isinstance(document, Index)  # noqa: S101 - `_search` yields a manifest
    raise no_match(document, wanted)


def _check_image(document: Document) -> None:
    """Raise `Unsupported` for the manifest of an artifact."""
    if isinstance(document, Manifest) and document.artifact is not None:
        raise Unsupported(f"this is {document.artifact}, not an image")


def select_all(
    digest: Digest,
    document: Document,
    fetch: Callable[[Digest], Document],
    *,
    sparse: bool = False,
) -> list[Selection]:
    """Find all images below a root, each once; artifacts are skipped.

    With ``sparse``, missing documents are skipped too.

    Raises:
        Unsupported: There is no image.
        BudgetExceeded: The indexes lead to too many documents.
    """
    found = list(_walk(digest, document, Budget().limit(fetch), {digest}, 1, sparse=sparse))
    if not found:
        _check_image(document)
        raise Unsupported("there is no image in it")
    return found


def check_layers(chosen: Selection) -> None:
    """Raise `Unsupported` for an image with layers of an unreadable type."""
    for layer in chosen.layers:
        reason = mediatype.unreadable_layer(layer.media_type)
        if reason is not None:
            raise Unsupported(
                f"layer {layer.digest} {reason} ({layer.media_type})",
                hint="wherry has no keys: `skopeo copy --decryption-key` writes a plain copy"
                if reason == "is encrypted"
                else "layers are tars: plain, or packed with gzip or zstd",
            )


def listed(index: Index) -> Iterator[Descriptor]:
    """Yield the entries with a known type or none that are not attestations."""
    for entry in index.manifests:
        if mediatype.may_be_image(entry.media_type) and not entry.is_attestation:
            yield entry


def _walk(
    digest: Digest,
    document: Document,
    fetch: Callable[[Digest], Document],
    seen: set[Digest],
    depth: int,
    *,
    sparse: bool,
) -> Iterator[Selection]:
    if not isinstance(document, Index):
        if not isinstance(document, Manifest) or document.artifact is None:
            yield Selection((), digest, document)
        return
    if depth > MAX_NESTING:
        raise InvalidDocument(f"indexes are nested deeper than {MAX_NESTING}")
    for entry in listed(document):
        if entry.digest in seen:
            continue
        seen.add(entry.digest)
        try:
            child = fetch(entry.digest)
        except NotFound:
            if sparse:
                continue
            raise
        check_type(entry, child)
        for found in _walk(entry.digest, child, fetch, seen, depth + 1, sparse=sparse):
            yield found.replace(indexes=((digest, document), *found.indexes))


def select_each(
    digest: Digest, document: Document, wanted: Platform, fetch: Callable[[Digest], Document]
) -> Iterator[Selection]:
    """Yield every image for a platform below a root, the best match first.

    Artifacts and missing documents are skipped: an archive may lack images of its index.
    """
    fetch = Budget().limit(fetch)
    for found in _search(digest, document, wanted, fetch, {digest}, 1, sparse=True):
        if not isinstance(found.manifest, Manifest) or found.manifest.artifact is None:
            yield found


def _search(
    digest: Digest,
    document: Document,
    wanted: Platform,
    fetch: Callable[[Digest], Document],
    seen: set[Digest],
    depth: int,
    *,
    sparse: bool = False,
) -> Iterator[Selection]:
    """Search depth first; visit each document once."""
    if not isinstance(document, Index):
        yield Selection((), digest, document)
        return
    if depth > MAX_NESTING:
        raise InvalidDocument(f"indexes are nested deeper than {MAX_NESTING}")
    for entry in candidates(document, wanted):
        if entry.digest in seen:
            continue
        seen.add(entry.digest)
        try:
            child = fetch(entry.digest)
        except NotFound:
            if sparse:
                continue
            raise
        check_type(entry, child)
        for found in _search(entry.digest, child, wanted, fetch, seen, depth + 1, sparse=sparse):
            yield found.replace(indexes=((digest, document), *found.indexes))


def check_type(entry: Descriptor, child: Document) -> None:
    """Raise `InvalidDocument` if the kind of a document is not the one in its index."""
    stated = mediatype.kind_of(entry.media_type)
    found = mediatype.kind_of(child.media_type)
    if stated not in {None, found}:
        raise InvalidDocument(f"{entry.digest} is a {found}, its index says {stated}")


def candidates(index: Index, wanted: Platform) -> list[Descriptor]:
    """Return the entries that may have an image for ``wanted``, the best match first.

    Entries without a platform come last, in their order. Attestations (``unknown/unknown``) and
    documents of unknown types are left out.
    """
    ranked: list[tuple[int, Descriptor]] = []
    last = 1000  # after all ranks of a platform
    rank = wanted.ranking()
    for entry in index.manifests:
        if not mediatype.may_be_image(entry.media_type):
            continue
        platform = entry.platform
        if entry.is_attestation:
            continue
        if platform is None or not (platform.os or platform.architecture):
            ranked.append((last, entry))
        elif (place := rank(platform)) is not None:
            ranked.append((place, entry))
    ranked.sort(key=lambda item: item[0])
    return [entry for _, entry in ranked]


def platforms(index: Index) -> Iterator[str]:
    """Yield the platforms of the images in an index, each once, in order."""
    seen = set()
    for entry in index.manifests:
        if entry.platform is None or not mediatype.may_be_image(entry.media_type):
            continue
        name = entry.platform.specifier
        if name not in seen and not entry.is_attestation:
            seen.add(name)
            yield name


def no_match(index: Index, wanted: Platform) -> PlatformMismatch:
    """Make the error for an index without an image for a platform."""
    available = list(platforms(index))
    return PlatformMismatch(
        f"there is no image for {wanted.specifier}",
        wanted=str(wanted),
        available=available,
        hint=f"it has: {' '.join(available) or _other_types(index)}",
    )


def _other_types(index: Index) -> str:
    """Name the types of an index's entries that are no images."""
    types = {
        each.media_type for each in index.manifests if not mediatype.may_be_image(each.media_type)
    }
    shown = sorted(types)[:_TYPES_SHOWN]
    return f"no image, but {', '.join(shown)}" if shown else "no image at all"
