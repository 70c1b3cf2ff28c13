"""Where images are read from: registries, the store and archives behind one face."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, cast

from wherry.content.protocols import Opened
from wherry.content.read_blob import read_verified
from wherry.errors import (
    Ambiguous,
    IntegrityError,
    InvalidDocument,
    InvalidReference,
    NotFound,
    PlatformMismatch,
    Unsupported,
)
from wherry.model.address import Where
from wherry.model.manifest import Manifest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.registry.repository import Repository
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from wherry.archive.dir import FlatDirectory
    from wherry.archive.docker import DockerArchive
    from wherry.archive.files import Directory, TarFiles
    from wherry.archive.oci import OciLayout
    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event
    from wherry.content.protocols import Place
    from wherry.model.address import Address
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.registry.session import Session
    from wherry.store import LocalStore

    Archive: TypeAlias = OciLayout | FlatDirectory | DockerArchive


class Access(Record):
    """What it may take to open an address; ``session`` and ``stored`` are called if need be.

    ``stored`` finds an image of a store by name or id: the store, the root that the name
    stands for, and the manifest that it shows.
    """

    session: Callable[[], Session]
    stored: Callable[[str], tuple[LocalStore, Digest, Digest]]
    listener: Callable[[Event], None]
    cancel: CancelToken


class Source(Record):
    """An opened image: its root and the place to read it and all below it from.

    ``reference`` is its name, where it comes from a registry; ``named`` is the one by which it
    was found in a store or archive, if any. ``shown`` is the manifest below the root that a
    name of the store shows (the one pulled last). A ``sparse`` place need not hold all that
    an index lists.
    """

    place: Place
    digest: Digest
    document: Document
    reference: Reference | None = None
    shown: Digest | None = None
    sparse: bool = False
    store: LocalStore | None = None
    named: Reference | None = None

    def holds(self, manifest: Digest) -> bool:
        """Tell whether the image or artifact of a manifest is all there.

        A store knows its images, and of an artifact all blobs have to be there. Elsewhere
        what has its manifest counts as whole.
        """
        if self.store is not None and self.store.image(manifest) is not None:
            return True
        try:
            found = self.place.document(manifest)
        except NotFound:
            return False
        if self.store is None:
            return True
        blobs = (found.config, *found.layers) if isinstance(found, Manifest) else ()
        return (
            isinstance(found, Manifest)
            and found.artifact is not None
            and all(self.store.holds(blob.digest) for blob in blobs)
        )

    def derived(self, manifest: Digest) -> Digest | None:
        """Return the manifest that a store has made from a schema1 one."""
        return None if self.store is None else self.store.derived(manifest)

    def facts(self, layer: Digest) -> tuple[Digest | None, int | None]:
        """Return a layer's DiffID and its size without compression, where a store has them."""
        if self.store is None:
            return None, None
        found = self.store.facts(layer)
        return found.diff_id, found.raw_size


@contextlib.contextmanager
def open_place(address: Address, access: Access) -> Iterator[Source]:
    """Open an image wherever it is and read its root document.

    Raises `NotFound`, `UnsafeArchive`, `InvalidDocument`, `IntegrityError`, `StoreError` and
    what registries answer. What the block raises because there is no image, or none for a
    platform, is told what was looked at.
    """
    try:
        with _opened(address, access) as source:
            yield source
    except (PlatformMismatch, Unsupported) as error:
        error.subject = error.subject or _called(address)
        raise
    except InvalidDocument as error:
        # Archives name the file, and a registry's document of over 4 MiB its repository.
        reference = address.reference
        named = address.path if reference is None else reference.name
        if not named or named not in error.message:
            error.subject = error.subject or _called(address)
        raise


def _called(address: Address) -> str:
    """Return what people call an image."""
    if address.where is Where.REGISTRY and address.reference is not None:
        return address.reference.familiar
    return str(address)


@contextlib.contextmanager
def _opened(address: Address, access: Access) -> Iterator[Source]:
    match address.where:
        case Where.REGISTRY:
            assert address.reference is not None  # noqa: S101 - `Address.parse` sees to it
            yield _from_registry(address.reference, access)
        case Where.STORE:
            yield _from_store(address.name, access)
        case Where.ANY:
            yield _from_anywhere(address.name, access)
        case _:
            with open_archive(address, access.cancel) as archive:
                digest = archive.resolve(address).digest
                yield Source(archive, digest, archive.document(digest), named=address.reference)


def _from_anywhere(name: str, access: Access) -> Source:
    """Look in the store, and where it has no such image, in the registry."""
    try:
        return _from_store(name, access)
    except Ambiguous:
        raise
    except NotFound as missing:
        try:
            reference = Reference.parse(name).with_default_tag()
        except InvalidReference:  # an id, or the beginning of one
            raise missing from None
    return _from_registry(reference, access)


def _from_store(name: str, access: Access) -> Source:
    store, root, shown = access.stored(name)
    place = StorePlace(store)
    try:
        reference = Reference.parse(name).with_default_tag()
    except InvalidReference:  # an id, or the beginning of one
        reference = None
    if reference is not None and store.find(reference) is None:
        reference = None
    return Source(
        place, root, place.document(root), None, shown, sparse=True, store=store, named=reference
    )


def _from_registry(reference: Reference, access: Access) -> Source:
    place = open_repository(reference, access)
    digest, document = place.fetch(reference)
    return Source(place, digest, document, reference)


def open_repository(reference: Reference, access: Access) -> Repository:
    """Return the repository of a reference; nothing is asked for yet."""
    emitter = Emitter(access.listener, reference.familiar)
    return repository(access.session(), reference, emitter, access.cancel)


@contextlib.contextmanager
def open_archive(address: Address, cancel: CancelToken) -> Iterator[Archive]:
    """Open an archive or layout; raises `NotFound`, `UnsafeArchive`, `InvalidDocument`."""
    from wherry.archive.dir import FlatDirectory
    from wherry.archive.files import Directory, TarFiles
    from wherry.archive.legacy import docker_archive
    from wherry.archive.oci import OciLayout

    files: Directory | TarFiles
    if address.where in {Where.OCI, Where.DIR}:
        files = Directory(address.path)
    else:
        files = TarFiles(address.path, cancel)
    with contextlib.closing(files):
        match address.where:
            case Where.DIR:
                yield FlatDirectory(files)
            case Where.DOCKER_ARCHIVE:
                yield docker_archive(files, cancel)
            case _:
                yield OciLayout(files)


@contextlib.contextmanager
def open_docker_archive(address: Address, cancel: CancelToken) -> Iterator[DockerArchive]:
    """Open an archive whose images need not be readable; raises as `open_archive` does."""
    from wherry.archive.files import TarFiles
    from wherry.archive.legacy import docker_archive

    with contextlib.closing(TarFiles(address.path, cancel)) as files:
        yield docker_archive(files, cancel)


def repository(
    session: Session,
    reference: Reference,
    emitter: Emitter,
    cancel: CancelToken,
    *,
    foreign: bool = False,
) -> Repository:
    """Return a repository that tells ``emitter`` of warnings and retries.

    ``foreign`` allows the addresses that layers name.
    """
    return Repository(
        session,
        reference,
        session.hosts.endpoints(reference, warn=emitter.warn),
        cancel,
        warn=emitter.warn,
        on_retry=emitter.retrying,
        foreign=foreign,
    )


def read_blob(place: Place, descriptor: Descriptor, cancel: CancelToken) -> bytes:
    """Return a small blob, verified: a config, for one; from a registry, retried and kept.

    Raises `InvalidDocument` over 4 MiB, `IntegrityError`, and what the place does.
    """
    if descriptor.data is not None:  # the document brought it along
        return descriptor.data
    if isinstance(place, Repository):
        return place.read(descriptor)
    if isinstance(place, StorePlace):
        return place.read(descriptor.digest)
    try:
        return read_verified(place.open(descriptor, 0, cancel), descriptor)
    except IntegrityError as error:
        raise error.within(archive_path(place)) from None


def archive_path(place: Place) -> str:
    """Return where the archive or layout lies that a place reads; empty for other places."""
    if isinstance(place, Repository | StorePlace):
        return ""
    return cast("Archive", place).path


class StorePlace:
    """A store as a place to read from; documents are hashed again."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def document(self, digest: Digest) -> Document:
        """Return a document; raises `NotFound`, `IntegrityError` and `InvalidDocument`."""
        return self._store.document(digest)

    def read(self, digest: Digest) -> bytes:
        """Return a config, verified; raises `NotFound` and `IntegrityError`."""
        return self._store.read(digest)

    def verify(self, digest: Digest) -> None:
        """Hash a blob; raises `NotFound`, and `IntegrityError` where it is damaged."""
        self._store.verify(digest)

    def open(self, descriptor: Descriptor, offset: int, _cancel: CancelToken) -> Opened:
        """Open a blob; raises `NotFound`."""
        file = self._store.open(descriptor.digest)
        file.seek(offset)
        return Opened(_File(file), offset, os.fstat(file.fileno()).st_size)


class _File:
    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def read1(self, size: int) -> bytes:
        return self._file.read(size) or b""

    def close(self) -> None:
        self._file.close()
