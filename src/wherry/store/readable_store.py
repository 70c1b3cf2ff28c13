"""Reading a store: names, images, documents and blobs as they are."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import wherry
from wherry.content import fork
from wherry.errors import IntegrityError, NotFound, StoreError, StoreFull
from wherry.model.arguments import checked
from wherry.model.digest import Digest
from wherry.store import blob_info, images, refs
from wherry.store.blob_file import BlobFile
from wherry.store.blob_info import BlobInfo
from wherry.store.blobs import BlobFiles
from wherry.store.database_file import exclusive, lock_name
from wherry.store.db import Database
from wherry.store.directory import Directory
from wherry.store.hints import REBUILD
from wherry.store.os_errors import translated
from wherry.store.parameters import RULES

# What is not needed for listing images is loaded when it is used: a list should start as fast
# as anything does.


DATABASE = "wherry.db"
_BUFFER = 1024 * 1024  # bytes that are read at a time


class ReadableStore:
    """A store at ``path`` as far as it is read; nothing here changes it."""

    def __init__(self, path: Path, *, limits: wherry.types.Limits | None = None) -> None:
        self.path = path
        self._limits = limits
        self._files = BlobFiles(str(path.absolute()))
        self._lock = threading.Lock()
        self._db: Database | None = None
        fork.watch(self, ReadableStore._after_fork)

    def _after_fork(self) -> None:
        """Open the database anew in a child."""
        self._lock = threading.Lock()
        self._db = None

    def close(self) -> None:
        """Close the database; the store can be used again afterwards."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _existing(self) -> Database | None:
        """Return the database for reading; None where no store has been made yet."""
        with self._lock, translated(self.path):
            root = self._root()
            if root is None:
                self._db = None  # threads close their connections
                return None
            if self._db is not None and self._is_old(self._db, root):
                self._db = None
            if self._db is None and not _is_there(root) and root.exists("blobs"):
                self._check_gone(root)
            if self._db is None and root.check(DATABASE) is not None:
                self._db = self._open(root)
            return self._db

    def _root(self) -> Directory | None:
        """Return the directory that is at the path now; None where there is none."""
        if not self._files.is_current:  # an operation under way keeps the one that it has begun in
            self._files, self._db = BlobFiles(str(self.path.absolute())), None
        try:
            return self._files.root
        except FileNotFoundError:
            return None

    def _is_old(self, db: Database, root: Directory) -> bool:
        """Tell whether a database was removed or made anew, or can be written by now."""
        return not db.is_current or (db.read_only and self._is_writable(root))

    def _open(self, root: Directory) -> Database:
        """Open the database, for reading alone where it cannot be written or the disk is full."""
        try:
            return Database(root, DATABASE, read_only=not self._is_writable(root))
        except StoreFull:
            return Database(root, DATABASE, read_only=True)

    def _check_gone(self, root: Directory) -> None:
        """Refuse to take a store for a new one because its database is gone."""
        if self._is_writable(root):
            with exclusive(root, DATABASE):  # another process may be making it anew at this moment
                pass
        if not _is_there(root):
            raise StoreError(
                f"{self.path / DATABASE}: the store's database is gone",
                hint=REBUILD,
            )

    def _is_writable(self, root: Directory) -> bool:
        """Tell whether the store can be written: its directory, the database and its lock."""
        files = (DATABASE, lock_name(DATABASE))
        for name in files:
            root.check(name)
        return all(root.is_writable(name) for name in (".", *files))

    # Names and images

    @checked(RULES)
    def find(self, reference: wherry.Reference) -> wherry.types.Ref | None:
        """Look a name up."""
        db = self._existing()
        if db is None:
            return None
        with db.read() as connection:
            return refs.find(connection, reference)

    @checked(RULES)
    def image(self, manifest: Digest) -> wherry.types.ImageRecord | None:
        """Return the image of a manifest, if it is complete."""
        db = self._existing()
        if db is None:
            return None
        with db.read() as connection:
            return images.find_image(connection, manifest)

    @checked(RULES)
    def ids_below(self, ref: wherry.types.Ref) -> set[Digest]:
        """Return the ids of all images that a name leads to."""
        db = self._existing()
        if db is None:
            return set()
        with db.read() as connection:
            return images.ids_below(connection, ref.root, ref.manifest)

    @checked(RULES)
    def images_by_id(self, prefix: str) -> list[wherry.types.ImageRecord]:
        """Return the images whose id begins with ``prefix`` (hex digits)."""
        db = self._existing()
        if db is None:
            return []
        with db.read() as connection:
            return images.images_by_id(connection, prefix)

    def named_images(self) -> Iterator[tuple[str, Digest, wherry.types.ImageRecord]]:
        """Yield each name with its root and its image, in the names' order."""
        db = self._existing()
        if db is None:
            return
        with db.read() as connection:
            yield from images.named_images(connection)

    @checked(RULES)
    def names_of(self, manifest: Digest) -> list[wherry.Reference]:
        """List the names of one image, in order."""
        db = self._existing()
        if db is None:
            return []
        with db.read() as connection:
            return refs.names_of(connection, manifest)

    @checked(RULES)
    def list_images(
        self, columns: Sequence[str], *, tagged: bool | None = None, unnamed: bool = False
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield each name with its image, in the names' order, some hundred rows at a time.

        ``columns`` are some of the fields of `wherry.store.listing.ImageRow`; ``tagged``: with a
        tag, or not. A name by digest is left out where its repository has a tag for the same
        document. ``unnamed`` images, which no name leads to, follow, the newest first. The
        calling thread must not write to the store in between.
        """
        from wherry.store import listing

        db = self._existing()
        if db is not None:
            with db.snapshot() as connection:
                yield from listing.list_images(connection, columns, tagged=tagged, unnamed=unnamed)

    @checked(RULES)
    def sources(self, manifest: Digest) -> list[str]:
        """Return the repositories (``host/path``) that an image's blobs came from, latest first."""
        db = self._existing()
        if db is None:
            return []
        with db.read() as connection:
            rows = connection.execute(
                "SELECT repository FROM provenance WHERE digest IN"
                " (SELECT child FROM edges WHERE parent = ? UNION SELECT ?)"
                " GROUP BY repository ORDER BY max(seen) DESC, count(*) DESC, repository",
                (str(manifest), str(manifest)),
            )
            return [repository for (repository,) in rows]

    @checked(RULES)
    def images_with(
        self, digests: Collection[str]
    ) -> list[tuple[Digest, wherry.types.ImageRecord]]:
        """Return the images that names lead to and that need any of these blobs, with roots."""
        db = self._existing()
        if db is None:
            return []
        with db.snapshot() as connection:
            return images.needing(connection, digests)

    @checked(RULES)
    def root_of(self, manifest: Digest) -> Digest:
        """Return what the latest name of an image stands for, else its manifest."""
        db = self._existing()
        if db is None:
            return manifest
        with db.read() as connection:
            return refs.root_of(connection, manifest) or manifest

    # Content

    @checked(RULES)
    def holds(self, digest: Digest) -> bool:
        """Tell whether a blob is there at this moment; see `Ingest.has` for longer."""
        return self._files.exists(digest)

    @checked(RULES)
    def open(self, digest: Digest) -> io.FileIO:
        """Open a blob for reading; raises `NotFound`."""
        with self._present(digest), translated(self.path):
            path = self.path / "blobs" / digest.algorithm / digest.hex
            return BlobFile(self._files.descriptor(str(digest)), path)

    @checked(RULES)
    def read(self, digest: Digest) -> bytes:
        """Return a document or config, verified, its first 4 MiB and a byte.

        Raises `NotFound`, and `IntegrityError` where the file is damaged.
        """
        from wherry.model._fields import MAX_DOCUMENT

        with self.open(digest) as file:
            raw = file.read(MAX_DOCUMENT + 1)
        if len(raw) > MAX_DOCUMENT:
            self.verify(digest)
        elif not digest.matches(raw):
            raise _damaged(digest, Digest.of(raw, digest.algorithm))
        return raw

    @checked(RULES)
    def verify(self, digest: Digest) -> None:
        """Hash a blob; raises `NotFound`, and `IntegrityError` where the file is damaged."""
        hasher = digest.hasher()
        with self.open(digest) as file:
            while data := file.read(_BUFFER):
                hasher.update(data)
        actual = Digest(f"{digest.algorithm}:{hasher.hexdigest()}")
        if actual != digest:
            raise _damaged(digest, actual)

    @checked(RULES)
    def document(self, digest: Digest) -> wherry.types.Document:
        """Return a document by the digest that registries call it; raises what `read` does."""
        from wherry.model.manifest import parse_named

        db = self._existing()
        row = None
        if db is not None:
            with db.read() as connection:
                row = connection.execute(
                    "SELECT digest, media_type FROM documents WHERE known_as = ?", (str(digest),)
                ).fetchone()
        if row is None:
            raise NotFound(f"{digest} is not a document of the store {self.path}")
        return parse_named(digest, self.read(Digest.parse(row[0])), row[1])

    @checked(RULES)
    def facts(self, digest: Digest) -> BlobInfo:
        """Return what is known of a layer besides its bytes."""
        db = self._existing()
        if db is None:
            return BlobInfo()
        with db.read() as connection:
            return blob_info.find(connection, digest) or BlobInfo()

    @checked(RULES)
    def derived(self, digest: Digest) -> Digest | None:
        """Return the manifest that was made from a schema1 one, by the latter's digest."""
        db = self._existing()
        if db is None:
            return None
        with db.read() as connection:
            row = connection.execute(
                "SELECT child FROM edges JOIN documents ON parent = digest WHERE known_as = ?",
                (str(digest),),
            ).fetchone()
        return None if row is None else Digest.parse(row[0])

    @contextlib.contextmanager
    def _present(self, digest: Digest) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                message = f"{digest} is missing from the store {self.path}"
                raise NotFound(message, hint="pull the image again to mend it") from None
            raise


def _is_there(root: Directory) -> bool:
    """Tell whether there is a database; an empty file is what a crash or a full disk leaves."""
    found = root.check(DATABASE)
    return found is not None and found.st_size > 0


def _damaged(digest: Digest, actual: Digest) -> IntegrityError:
    return IntegrityError(
        f"{digest}: the store's copy is damaged",
        expected=str(digest),
        actual=str(actual),
        hint="`wherry fsck --repair` fetches it again",
    )
