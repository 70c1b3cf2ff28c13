"""Open images in registries, the store and archives as one kind of source."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from wherry.errors import (
    Ambiguous,
    InvalidDocument,
    NotFound,
    PlatformMismatch,
    Unsupported,
    WherryError,
)
from wherry.model.address import Where
from wherry.model.cloud_settings import CloudSettings
from wherry.model.manifest import Manifest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.registry.repository import Repository
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.archive.archive import Archive
    from wherry.archive.cloud_files import CloudFiles
    from wherry.archive.directory_files import DirectoryFiles
    from wherry.archive.docker import DockerArchive
    from wherry.archive.tar_files import TarFiles
    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event
    from wherry.content.protocols import Source
    from wherry.model.address import Address
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.registry.session import Session
    from wherry.registry.v1_repository import V1Repository
    from wherry.store import LocalStore


class Access(Record):
    """What opening an address takes.

    ``session`` and ``stored`` are called only if they are needed. ``stored`` finds an image of a
    store by name or id. It returns the store, the root that the name stands for, and the
    manifest that the name shows. ``target`` returns the store to copy into. ``cloud`` returns
    how to connect to object storage.
    """

    session: Callable[[], Session]
    stored: Callable[[Address], tuple[LocalStore, Digest, Digest]]
    target: Callable[[], LocalStore]
    listener: Callable[[Event], None]
    cancel: CancelToken
    cloud: Callable[[], CloudSettings] = CloudSettings


class SourceImage(Record):
    """An image at its source: the root, and where to read what lies below it.

    ``reference`` is the image's name in a registry. ``named`` is the name by which it was found
    in a store or archive, if any. ``shown`` is the manifest below the root that a name of the
    store shows (the one pulled last). A ``sparse`` source need not hold all that an index lists.
    ``original`` returns the root in docker's format that a layout has converted, or None.
    """

    source: Source
    digest: Digest
    document: Document
    reference: Reference | None = None
    shown: Digest | None = None
    sparse: bool = False
    store: LocalStore | None = None
    named: Reference | None = None
    original: Callable[[], Digest | None] = lambda: None

    def holds(self, manifest: Digest) -> bool:
        """Tell whether an image or artifact is complete.

        A store knows its images. Of an artifact, all blobs have to be in the store. In other
        sources a manifest that is there counts as complete.
        """
        if self.store is not None and self.store.image(manifest) is not None:
            return True
        try:
            found = self.source.document(manifest)
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

    def converted_manifest(self, manifest: Digest) -> Digest | None:
        """Return the manifest that a store has made from a schema1 manifest."""
        return None if self.store is None else self.store.converted_manifest(manifest)

    def facts(self, layer: Digest) -> tuple[Digest | None, int | None]:
        """Return a layer's DiffID and uncompressed size in bytes, if a store has them."""
        if self.store is None:
            return None, None
        found = self.store.facts(layer)
        return found.diff_id, found.raw_size


@contextlib.contextmanager
def open_image(
    address: Address, access: Access, *, true_types: bool = False, tries_v1: bool = False
) -> Iterator[SourceImage]:
    """Open an image wherever it is and read its root document.

    Errors of the block name the image if it is missing or not for the platform.

    Args:
        address: Where the image is.
        access: What opening takes.
        true_types: Whether manifests of docker archives say that layers are uncompressed;
            otherwise they have the bytes and the digest that skopeo shows.
        tries_v1: Whether the caller goes on to v1 after the error of a registry.

    Raises:
        NotFound: There is no such image.
        UnsafeArchive: The archive has links that lead outside.
        InvalidDocument: A document breaks the rules.
        IntegrityError: A document does not match its digest.
        StoreError: The store or archive cannot be read.
        WherryError: The registry does not serve the image.
    """
    try:
        with _open(address, access, true_types=true_types, tries_v1=tries_v1) as image:
            yield image
    except (PlatformMismatch, Unsupported, InvalidDocument) as error:
        repository = "" if address.reference is None else address.reference.name
        names = (address.name, address.path, str(address), repository)
        if not any(name and error.is_within(name) for name in names):
            error.within(_familiar_name(address))
        raise


def _familiar_name(address: Address) -> str:
    if address.where is Where.REGISTRY and address.reference is not None:
        return address.reference.familiar
    return str(address)


@contextlib.contextmanager
def _open(
    address: Address, access: Access, *, true_types: bool, tries_v1: bool
) -> Iterator[SourceImage]:
    match address.where:
        case Where.REGISTRY:
            assert address.reference is not None  # noqa: S101 - `Address.parse` sees to it
            yield _from_registry(address.reference, access, tries_v1=tries_v1)
        case Where.STORE:
            yield _from_store(address, access)
        case Where.ANY:
            yield _from_anywhere(address, access, tries_v1=tries_v1)
        case _:
            with open_archive(
                address, access.cancel, true_types=true_types, cloud=access.cloud
            ) as archive:
                root = archive.resolve(address)
                document = archive.document(root.digest)
                original = partial(archive.original, root)
                yield SourceImage(
                    archive, root.digest, document, named=address.reference, original=original
                )


def _from_anywhere(address: Address, access: Access, *, tries_v1: bool) -> SourceImage:
    """Look in the store, and if it has no such image, in the registry."""
    try:
        return _from_store(address, access)
    except Ambiguous:
        raise
    except NotFound:
        if address.given is None:  # an id
            raise
    return _from_registry(address.given.with_default_tag(), access, tries_v1=tries_v1)


def _from_store(address: Address, access: Access) -> SourceImage:
    from wherry.store.source import StoreSource

    store, root, shown = access.stored(address)
    source = StoreSource(store)
    reference = None if address.given is None else address.given.with_default_tag()
    if reference is not None and store.find(reference) is None:  # an id or the prefix of one
        reference = None
    document = source.document(root)
    return SourceImage(
        source, root, document, None, shown, sparse=True, store=store, named=reference
    )


def _from_registry(reference: Reference, access: Access, *, tries_v1: bool) -> SourceImage:
    source = open_repository(reference, access)
    try:
        digest, document = source.fetch(reference)
    except WherryError as error:
        if tries_v1:
            raise
        from wherry.ops.legacy import without_v1

        raise without_v1(
            access.session(), reference, error, access.listener, access.cancel
        ) from None
    return SourceImage(source, digest, document, reference)


def open_repository(reference: Reference, access: Access) -> Repository:
    """Return the repository of a reference; sends no request."""
    emitter = Emitter(access.listener, reference.familiar)
    return make_repository(access.session(), reference, emitter, access.cancel)


def open_v1_image(
    address: Address, access: Access, error: WherryError, *, served: bool = False
) -> V1Repository:
    """Open the repository of an image by v1 after its registry has failed by v2.

    Args:
        address: The image.
        access: What opening takes.
        error: The error of v2, or that of another place, which is raised again.
        served: Whether v2 has served the tag list.

    Raises:
        WherryError: As `wherry.ops.legacy.open_v1` does.
    """
    reference = address.given if address.where in {Where.REGISTRY, Where.ANY} else None
    if reference is None:
        raise error
    from wherry.ops.legacy import open_v1

    reference = reference.with_default_tag()
    return open_v1(
        access.session(), reference, error, access.listener, access.cancel, served=served
    )


@contextlib.contextmanager
def open_archive(
    address: Address,
    cancel: CancelToken,
    *,
    true_types: bool = False,
    cloud: Callable[[], CloudSettings] = CloudSettings,
) -> Iterator[Archive]:
    """Open an archive or layout; raises `NotFound`, `StoreError` and the like.

    ``cloud`` returns how to connect to object storage.
    """
    from wherry.archive.dir import FlatDirectory
    from wherry.archive.directory_files import DirectoryFiles
    from wherry.archive.legacy import docker_archive
    from wherry.archive.oci import OciLayout
    from wherry.archive.tar_files import TarFiles

    files: DirectoryFiles | TarFiles | CloudFiles
    if address.in_cloud:
        from wherry.archive.cloud_files import CloudFiles

        files = CloudFiles(address.path, cloud(), cancel)
    elif address.where in {Where.OCI, Where.DIR}:
        files = DirectoryFiles(address.path)
    else:
        files = TarFiles(address.path, cancel)
    with contextlib.closing(files):
        match address.where:
            case Where.DIR:
                yield FlatDirectory(files)
            case Where.DOCKER_ARCHIVE:
                yield docker_archive(files, cancel, true_types=true_types)
            case _:
                yield OciLayout(files)


@contextlib.contextmanager
def open_docker_archive(address: Address, cancel: CancelToken) -> Iterator[DockerArchive]:
    """Open a docker archive, whose images need not be readable."""
    from wherry.archive.legacy import docker_archive
    from wherry.archive.tar_files import TarFiles

    with contextlib.closing(TarFiles(address.path, cancel)) as files:
        yield docker_archive(files, cancel)


def make_repository(
    session: Session,
    reference: Reference,
    emitter: Emitter,
    cancel: CancelToken,
    *,
    foreign: bool = False,
) -> Repository:
    """Return a repository that reports warnings and retries to ``emitter``.

    ``foreign`` allows layers to be fetched from the URLs that a manifest names.
    """
    return Repository(
        session,
        reference,
        session.hosts.endpoints(reference, warn=emitter.warn),
        cancel,
        warn=emitter.warn,
        on_retry=emitter.report_retry,
        foreign=foreign,
    )
