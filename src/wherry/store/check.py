"""Check a store: hash every blob, and look for the blobs that names need."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import queue
import threading
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import StoreError, WherryError
from wherry.model.digest import Digest
from wherry.model.manifest import Index, parse
from wherry.model.record import Record
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.store.graph import above, closure, is_known, parents
from wherry.store.os_errors import REBUILD
from wherry.store.refs import read_name
from wherry.store.stored_images import read_image

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection

    from wherry.content.cancel import CancelToken
    from wherry.store.blobs import BlobFiles
    from wherry.store.db import Database

_BUFFER = 1024 * 1024  # bytes that each thread reads at a time
# A bad sector, or a file system's checksum that does not match. Other errors do not mean that the
# file is damaged.
_BAD_DISK = {errno.EIO, errno.EBADMSG, errno.EUCLEAN}


class StoreProblem(NamedTuple):
    """A fault of a store.

    Attributes:
        kind: ``damaged`` or ``missing`` for a blob, ``database`` for a fault of the database.
        digest: The blob, or the manifest of an image that the database does not know.
        message: What is wrong, in words.
        names: The short names of the images concerned; empty for a blob that `gc` would remove.
    """

    kind: str
    digest: str
    message: str
    names: tuple[str, ...] = ()


class CheckReport(Record):
    """The result of a check.

    Attributes:
        problems: The faults, ordered by digest.
        blobs: The number of blobs that were hashed.
        size: Their bytes together.
    """

    problems: list[StoreProblem]
    blobs: int
    size: int


def check(
    db: Database,
    files: BlobFiles,
    cancel: CancelToken,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Hash every blob, on all cores, and compare what names need with what is stored.

    Other operations may run at the same time: blobs that they remove are not reported.
    ``on_progress`` gets the bytes read so far and the bytes of all blobs. It is called from
    several threads, one at a time.

    Raises:
        StoreError: The database is damaged or cannot be read.
        Cancelled: ``cancel`` was set.
    """
    with db.read() as connection:
        for (line,) in connection.execute("PRAGMA quick_check"):
            if line != "ok":
                raise StoreError(
                    line,
                    hint=REBUILD,
                ).within(db.path)
    blob_hasher = _BlobHasher(files, cancel, on_progress)
    blob_hasher.run()
    with db.snapshot() as connection:
        missing = _missing(connection, files)
    if missing and not db.read_only:
        with db.write() as connection:  # the lock keeps other processes from removing blobs
            missing = _missing(connection, files)
    found = [(digest, "damaged", message) for digest, message in blob_hasher.damaged.items()]
    found += [(digest, "missing", "the file is missing") for digest in missing]
    with db.snapshot() as connection:
        over = parents(connection) if found else {}
        problems = [
            StoreProblem(kind, digest, message, _names(connection, above(over, [digest])))
            for digest, kind, message in sorted(found)
        ]
        problems += _unknown(connection, files)
    return CheckReport(problems, blob_hasher.blobs, blob_hasher.size)


def _missing(connection: sqlite3.Connection, files: BlobFiles) -> list[str]:
    """Return the digests that names need and that are not stored."""
    rows = connection.execute("SELECT root, manifest FROM refs").fetchall()
    below = closure(connection, {digest for row in rows for digest in row})
    optional = {
        child
        for (child,) in connection.execute(
            "SELECT child FROM edges GROUP BY child HAVING NOT max(wanted)"
        )
    }
    other_names = {
        name
        for (name,) in connection.execute("SELECT known_as FROM documents WHERE known_as <> digest")
    }
    present = set(files.all())
    wanted = below - other_names - present
    return sorted(digest for digest in wanted if digest not in optional)


def _names(connection: sqlite3.Connection, over: Collection[str]) -> tuple[str, ...]:
    rows = connection.execute("SELECT name, root, manifest FROM refs ORDER BY name")
    return tuple(
        read_name(name).familiar
        for name, root, manifest in rows
        if root in over or manifest in over
    )


def _unknown(connection: sqlite3.Connection, files: BlobFiles) -> list[StoreProblem]:
    rows = connection.execute(
        "SELECT name, manifest FROM refs WHERE manifest NOT IN (SELECT manifest FROM images)"
        " ORDER BY name"
    ).fetchall()
    others = {manifest for _, manifest in rows if not _may_be_image(connection, files, manifest)}
    return [
        StoreProblem(
            "database",
            manifest,
            "its image is not in the database",
            (read_name(name).familiar,),
        )
        for name, manifest in rows
        if manifest not in others
    ]


def _may_be_image(connection: sqlite3.Connection, files: BlobFiles, digest: str) -> bool:
    """Tell whether a name should lead to an image: not if its document is known to be none.

    A server's clients also push artifacts, and indexes before their images.
    """
    if not is_known(connection, digest):
        return True
    try:
        with files.open(digest) as file:
            document = parse(file.read(MAX_DOCUMENT), "")
        if isinstance(document, Index):
            return False
        read = functools.partial(_read, files)
        own = Digest.parse(digest)
        return read_image(own, document, read, files.size) is not None
    except (OSError, WherryError):
        return False  # its fault is reported for itself


def _read(files: BlobFiles, digest: Digest) -> bytes:
    with files.open(digest) as file:
        return file.read(MAX_DOCUMENT + 1)


class _BlobHasher:
    """Hashes all blobs in threads, the largest first."""

    def __init__(
        self,
        files: BlobFiles,
        cancel: CancelToken,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self._files = files
        self._cancel = cancel
        self._on_progress = on_progress
        self._total = 0
        self._lock = threading.Lock()
        self._todo: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self.damaged: dict[str, str] = {}
        self.blobs = 0
        self.size = 0

    def run(self) -> None:
        sizes = {digest: self._files.size_of(digest) for digest in self._files.all()}
        self._total = sum(sizes.values())
        for digest in sorted(sizes, key=sizes.__getitem__, reverse=True):
            self._todo.put(digest)
        threads = [
            threading.Thread(target=self._work, name="wherry-check", daemon=True)
            for _ in range(len(os.sched_getaffinity(0)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        buffer = memoryview(bytearray(_BUFFER))
        try:
            while self._failure is None:
                self._take(self._todo.get_nowait(), buffer)
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by `run`, in the caller's thread
            self._failure = error

    def _take(self, digest: str, buffer: memoryview) -> None:
        algorithm, _, expected = digest.partition(":")
        hasher = hashlib.new(algorithm)
        message = ""
        try:
            with self._files.open(digest) as file:
                while count := file.readinto(buffer):
                    self._cancel.check()
                    hasher.update(buffer[:count])
                    self._tell(count)
        except FileNotFoundError:
            return  # another process removed it
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
        except StoreError as error:  # a link, or anything that is not a file
            message = str(error)
        if not message and hasher.hexdigest() != expected:
            message = f"its content is {algorithm}:{hasher.hexdigest()}"
        with self._lock:
            self.blobs += 1
            if message:
                self.damaged[digest] = message

    def _tell(self, count: int) -> None:
        with self._lock:
            self.size += count
            if self._on_progress is not None:
                self._on_progress(self.size, self._total)


def remove_damaged(db: Database, files: BlobFiles, digests: Collection[str]) -> None:
    """Remove those files among ``digests`` that do not match their digests.

    Other operations may run at the same time. The facts about a blob stay: they are true of its
    digest, and hold again when the blob comes back.

    Raises:
        OSError: A file cannot be read for a reason that does not mean damage.
    """
    for digest in digests:
        try:
            before = files.identity(digest)
            if _is_good(files, digest):
                continue
            with db.write():
                # Another process may have repaired the file in the meantime.
                if files.identity(digest) == before:
                    files.unlink([digest])
        except FileNotFoundError:
            continue


def _is_good(files: BlobFiles, digest: str) -> bool:
    algorithm, _, expected = digest.partition(":")
    hasher = hashlib.new(algorithm)
    try:
        with files.open(digest) as file:
            while data := file.read(_BUFFER):
                hasher.update(data)
    except OSError as error:
        if error.errno in _BAD_DISK:
            return False
        raise
    except StoreError:  # a link, or anything that is not a file
        return False
    return hasher.hexdigest() == expected
