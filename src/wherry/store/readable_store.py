"""The read side of a store: names, images, documents and blobs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import wherry
from wherry.errors import IntegrityError, NotFound, StoreError
from wherry.model.digest import Digest
from wherry.store import blob_info, images, refs
from wherry.store.blob_file import BlobFile
from wherry.store.blob_info import BlobInfo
from wherry.store.os_errors import translate_os_errors
from wherry.store.store_handle import StoreHandle

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

# Listing images should start as fast as anything does, so the modules that only other calls need
# are imported by those calls.

_BUFFER = 1024 * 1024  # bytes that are read at a time


class ReadableStore:
    """The store at ``path``, as far as it is read."""

    def __init__(self, path: Path, *, limits: wherry.types.Limits | None = None) -> None:
        self.path = path
        self.limits = limits
        self._handle = StoreHandle(path)

    def close(self) -> None:
        """Close the database; the store can be used again afterwards."""
        self._handle.close()

    def ask(self, query: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Return what a query finds, or ``otherwise`` if there is no store yet."""
        db = self._handle.database()
        if db is None:
            return otherwise
        with db.read() as connection:
            return query(connection)

    # Names and images

    def find(self, reference: wherry.Reference) -> refs.Ref | None:
        """Look up a name."""
        return self.ask(lambda connection: refs.find(connection, reference), None)

    def find_with_image(
        self, reference: wherry.Reference
    ) -> tuple[refs.Ref, wherry.types.ImageRecord | None] | None:
        """Look up a name and the image that it shows, both at the same moment."""
        db = self._handle.database()
        if db is None:
            return None
        with db.snapshot() as connection:
            ref = refs.find(connection, reference)
            return None if ref is None else (ref, images.find_image(connection, ref.manifest))

    def image(self, manifest: Digest) -> wherry.types.ImageRecord | None:
        """Return the image of a manifest, or None unless its config and layers are stored."""
        return self.ask(lambda connection: images.find_image(connection, manifest), None)

    def ids_below(self, ref: refs.Ref) -> set[Digest]:
        """Return the ids of all images that a name leads to."""
        return self.ask(
            lambda connection: images.ids_below(connection, ref.root, ref.manifest), set()
        )

    def images_by_id(self, prefix: str) -> list[wherry.types.ImageRecord]:
        """Return the images whose id begins with ``prefix`` (hex digits)."""
        return self.ask(lambda connection: images.images_by_id(connection, prefix), [])

    def named_images(self) -> Iterator[tuple[str, Digest, wherry.types.ImageRecord]]:
        """Yield each name with its root and its image, ordered by name."""
        db = self._handle.database()
        if db is None:
            return
        with db.read() as connection:
            yield from images.named_images(connection)

    def names_of(self, manifest: Digest) -> list[wherry.Reference]:
        """Return the names of one image, in order."""
        return self.ask(lambda connection: refs.names_of(connection, manifest), [])

    def list_images(
        self, columns: Sequence[str], *, tagged: bool | None = None, unnamed: bool = False
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield each name with its image, ordered by name, in batches of rows.

        A name by digest is left out if its repository has a tag for the same document. The
        calling thread must not write to the store between two batches.

        Args:
            columns: Fields of `wherry.types.ImageRow` that each row has.
            tagged: Only names with a tag, or only names without one; None for all.
            unnamed: Whether images without a name follow, the newest first.
        """
        from wherry.store import listing

        db = self._handle.database()
        if db is not None:
            with db.snapshot() as connection:
                yield from listing.list_images(connection, columns, tagged=tagged, unnamed=unnamed)

    def names_without_image(self) -> list[tuple[str, Digest]]:
        """Return the names that stand for no image, such as artifacts, each with its root."""
        from wherry.store import listing

        none: list[tuple[str, str]] = []
        found = self.ask(listing.names_without_image, none)
        return [(name, Digest.parse(root)) for name, root in found]

    def sources(self, manifest: Digest) -> list[str]:
        """Return the repositories (``host/path``) of an image's blobs, the latest first."""
        return self.ask(lambda connection: images.repositories(connection, manifest), [])

    def images_with(
        self, digests: Collection[str]
    ) -> list[tuple[Digest, wherry.types.ImageRecord]]:
        """Return the named images that need any of these blobs, each with its root."""
        db = self._handle.database()
        if db is None:
            return []
        with db.snapshot() as connection:
            return images.find_images_with(connection, digests)

    def root_of(self, manifest: Digest) -> Digest:
        """Return the root that the latest name of an image has, or else its manifest."""
        return self.ask(lambda connection: refs.root_of(connection, manifest), None) or manifest

    # Content

    def holds(self, digest: Digest) -> bool:
        """Tell whether a blob is stored now; `Ingest.has` also keeps it."""
        return self._handle.files.exists(digest)

    def size(self, digest: Digest) -> int:
        """Return the size of a blob in bytes; raises `NotFound`."""
        with self._present(digest), translate_os_errors(self.path):
            return self._handle.files.size(digest)

    def open(self, digest: Digest) -> io.FileIO:
        """Open a blob for reading; raises `NotFound`."""
        with self._present(digest), translate_os_errors(self.path):
            path = self.path / "blobs" / digest.algorithm / digest.hex
            return BlobFile(self._handle.files.descriptor(str(digest)), path)

    def open_part(self, digest: Digest) -> io.FileIO:
        """Open what has arrived of a blob, for reading while it grows; raises `NotFound`."""
        from wherry.store.blobs import part_name

        with self._present(digest), translate_os_errors(self.path):
            return io.FileIO(self._handle.files.ingest.open(part_name(digest)))

    def read(self, digest: Digest) -> bytes:
        """Return a verified document or config, at most its first 4 MiB and one byte.

        Raises:
            NotFound: The blob is not stored.
            IntegrityError: The file is damaged.
        """
        from wherry.model.strict_json import MAX_DOCUMENT

        with self.open(digest) as file:
            raw = file.read(MAX_DOCUMENT + 1)
        if len(raw) > MAX_DOCUMENT:
            self.verify(digest)
        elif not digest.matches(raw):
            raise _damaged(digest, Digest.of(raw, digest.algorithm))
        return raw

    def verify(self, digest: Digest) -> None:
        """Hash a blob.

        Raises:
            NotFound: The blob is not stored.
            IntegrityError: The file is damaged.
        """
        hasher = digest.hasher()
        with self.open(digest) as file:
            while data := file.read(_BUFFER):
                hasher.update(data)
        actual = Digest(f"{digest.algorithm}:{hasher.hexdigest()}")
        if actual != digest:
            raise _damaged(digest, actual)

    def document(self, digest: Digest) -> wherry.types.Document:
        """Return a document by the digest under which registries serve it.

        Raises:
            NotFound: The document is not stored.
            IntegrityError: The file is damaged.
        """
        from wherry.model.manifest import parse_verified
        from wherry.store import documents

        found = self.ask(lambda connection: documents.find(connection, digest), None)
        if found is None:
            raise NotFound(f"{digest} is not a document of the store {self.path}")
        own, media_type = found
        return parse_verified(digest, self.read(own), media_type)

    def facts(self, digest: Digest) -> BlobInfo:
        """Return what is known of a layer besides its bytes."""
        return self.ask(lambda connection: blob_info.find(connection, digest), None) or BlobInfo()

    def provenance_of(self, digests: Collection[Digest]) -> dict[Digest, list[tuple[str, int]]]:
        """Return where blobs are known to be, also blobs that are not stored.

        Returns:
            For each blob that a repository is known to have: the repositories (``host/path``),
            each with the Unix time at which it had the blob, the latest first.
        """
        from wherry.store import provenance

        return self.ask(lambda connection: provenance.find(connection, digests), {})

    def find_packed(self, source: Digest, compression: str) -> wherry.types.Descriptor | None:
        """Return what a blob became when it was packed with another compression.

        Args:
            source: The blob that was packed.
            compression: The compression with its level, such as ``gzip:6``.

        Returns:
            Digest and size, with an empty media type; None if they are not known.
        """
        from wherry.store import packed

        return self.ask(lambda connection: packed.find(connection, source, compression), None)

    def v1_layers(self, registry: str, ids: Collection[str]) -> dict[str, Digest]:
        """Return the layers of those ids that are known at a registry of version 1.

        Args:
            registry: The host of the registry.
            ids: Ids, 64 hex digits.
        """
        from wherry.store import v1_ids

        return self.ask(lambda connection: v1_ids.layers(connection, registry, ids), {})

    def v1_ids_of(
        self, registry: str, chain_ids: Sequence[Digest], image: Digest
    ) -> list[str] | None:
        """Return the ids by which a registry of version 1 has an image, the lowest first.

        Args:
            registry: The host of the registry.
            chain_ids: The ChainIDs of the image's layers, the lowest first.
            image: The digest of the image's config.

        Returns:
            None unless the ids of all layers are known, each as the parent of the next.
        """
        from wherry.store import v1_ids

        def find(connection: sqlite3.Connection) -> list[str] | None:
            return v1_ids.find_chain(connection, registry, chain_ids, image)

        return self.ask(find, None)

    def converted_manifest(self, digest: Digest) -> Digest | None:
        """Return the manifest that was converted from the schema1 manifest ``digest``."""
        from wherry.store import documents

        return self.ask(lambda connection: documents.child_of(connection, digest), None)

    @contextlib.contextmanager
    def _present(self, digest: Digest) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                message = f"{digest} is missing from the store {self.path}"
                raise NotFound(message, hint="pull the image again to repair it") from None
            raise


def _damaged(digest: Digest, actual: Digest) -> IntegrityError:
    return IntegrityError(
        "the store's copy is damaged",
        expected=str(digest),
        actual=str(actual),
        hint="`wherry fsck --repair` fetches it again",
    ).within(digest)
