"""Opening the image that a copy reads, at the root that is copied."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.errors import InvalidDocument, NotFound, PlatformMismatch, Unsupported
from wherry.model.address import Where
from wherry.model.manifest import Index
from wherry.model.record import Record
from wherry.ops.open_source import open_image, open_repository
from wherry.ops.partial_index import PartialIndex
from wherry.transfer.collect import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.protocols import Source
    from wherry.model.address import Address
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.platform import Platform
    from wherry.model.reference import Reference
    from wherry.ops.copy_choice import CopyChoice
    from wherry.ops.open_source import Access, SourceImage
    from wherry.store import LocalStore


class CopySource(Record):
    """An image to copy.

    Attributes:
        source: The place that has it.
        digest: The root.
        load: Returns the root document; it may take a request.
        wanted: Which documents below the root to copy.
        reference: The repository, if the place is a registry.
        named: The name of the image in a store or archive.
        store: The store, if the place is one.
        staging: The temporary store of an image from a version 1 registry. It knows the ids of
            the image there.
        notes: What a user should know about the choice.
    """

    source: Source
    digest: Digest
    load: Callable[[], Document]
    wanted: Wanted
    reference: Reference | None = None
    named: Reference | None = None
    store: LocalStore | None = None
    staging: LocalStore | None = None
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def open_copy_source(
    address: Address, choice: CopyChoice, access: Access, root: Digest | None = None
) -> Iterator[CopySource]:
    """Open an image to copy.

    Without a platform, a registry's index is copied as the image for this machine. Of other
    places the whole index is copied if all of it is there, or if it is copied sparse, or else
    the image that is there.

    Args:
        address: Where the image is.
        choice: What to copy of it.
        access: What opening takes.
        root: The digest of the root if it is known; the name is not resolved again.

    Raises:
        NotFound: There is no such image.
        WherryError: The place cannot be read.
    """
    if address.where is Where.REGISTRY:
        assert address.reference is not None  # noqa: S101 - `Address.parse` sees to it
        with _within_name(address.reference):
            yield _in_registry(address.reference, choice, access, root)
        return
    with contextlib.ExitStack() as opened:
        image = opened.enter_context(open_image(address, access, true_types=True, tries_v1=True))
        if image.store is not None:
            opened.enter_context(image.store.hold(image.digest))
        if image.reference is not None:  # `Where.ANY`, and the store has no such image
            yield _in_registry(image.reference, choice, access, root)
        elif root is not None:
            yield _local(image, root, _wanted(choice, ()), ())
        else:
            yield _choose_local(_unconverted(image), choice)


def _unconverted(image: SourceImage) -> SourceImage:
    """Return the image of a layout as it was before it was converted for the layout."""
    original = image.original()
    if original is None:
        return image
    return image.replace(digest=original, document=image.source.document(original))


@contextlib.contextmanager
def _within_name(reference: Reference) -> Iterator[None]:
    """Name the image in errors about its content."""
    try:
        yield
    except (PlatformMismatch, Unsupported, InvalidDocument) as error:
        if not error.is_within(reference.name):
            error.within(reference.familiar)
        raise


def _in_registry(
    reference: Reference, choice: CopyChoice, access: Access, root: Digest | None
) -> CopySource:
    repository = open_repository(reference, access)
    if root is not None:
        reference = reference.with_digest(root)
    found = repository.resolve(reference)

    def load() -> Document:
        if found.document is not None:
            return found.document
        try:
            return repository.document(found.digest)
        except NotFound:
            if reference.digest is not None:
                raise
            return repository.resolve_again(reference)[1]

    wanted = _wanted(choice, () if choice.all_platforms else (choice.host,))
    return CopySource(repository, found.digest, load, wanted, reference=reference)


def _wanted(choice: CopyChoice, default: tuple[Platform, ...]) -> Wanted:
    return Wanted(
        platforms=choice.platforms or default,
        several=choice.several,
        sparse=choice.sparse,
        attestations=choice.attestations,
    )


def _choose_local(image: SourceImage, choice: CopyChoice) -> CopySource:
    """Choose what to copy of a store or an archive, which need not have all of an index."""
    document = image.document
    if not isinstance(document, Index) or choice.platforms or choice.all_platforms:
        return _local(image, image.digest, _wanted(choice, ()), ())
    held = PartialIndex(image, image.digest, document)
    if held.digest == image.digest or choice.sparse:
        return _local(image, image.digest, _wanted(choice, ()), ())
    if image.shown is not None:
        note = f"copied as {image.shown}: the other images of the index are not there"
        return _local(image, image.shown, _wanted(choice, ()), (note,))
    return _local(image, image.digest, _wanted(choice, (choice.host,)), ())


def _local(image: SourceImage, root: Digest, wanted: Wanted, notes: tuple[str, ...]) -> CopySource:
    source = image.source

    def load() -> Document:
        return image.document if root == image.digest else source.document(root)

    return CopySource(source, root, load, wanted, named=image.named, store=image.store, notes=notes)
