"""Blobs that clients of the server upload, in several requests.

An upload is one file in ``ingest``: a contiguous prefix of the blob, to which the holder of its
lock appends. It has no row in the database and is not open between two requests, so it survives
a restart, and thousands of abandoned uploads cost one small file each. It expires a day after
the last write.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from wherry.content.protocols import Busy
from wherry.errors import Cancelled, NotFound, StoreError
from wherry.model.digest import Digest, mismatch
from wherry.store import blob_info, repository_blobs
from wherry.store.blob_info import BlobInfo
from wherry.store.incoming_files import file_name, names, sweep
from wherry.store.leases import Lease
from wherry.store.locks import lock_file
from wherry.store.os_errors import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from wherry.store.blobs import BlobFiles
    from wherry.store.directory import Directory
    from wherry.store.locks import FileLock
    from wherry.store.store_handle import StoreHandle

_HASHES = 1000  # running hashes that are kept; a hash has a few hundred bytes
_BUFFER = 1024 * 1024
_PIECES = 1024  # that one system call writes (IOV_MAX of Linux)


class RunningHash(NamedTuple):
    """The hash of the first ``size`` bytes of an upload."""

    algorithm: str
    state: hashlib._Hash
    size: int


class IncomingBlobs:
    """The uploads of a store. Methods may be called from any thread."""

    def __init__(self, handle: StoreHandle) -> None:
        self._handle = handle
        self._hashes: OrderedDict[str, RunningHash] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The path of the store."""
        return self._handle.path

    def start(self, repository: str) -> str:
        """Start an upload to a repository (``host/path``); return its id, 32 hex digits."""
        upload = os.urandom(16).hex()
        self._handle.writable_database()
        files = self._handle.files
        with translate_os_errors(self._handle.path):
            files.prepare(Digest.of(b""))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            os.close(files.ingest.open(file_name(repository, upload), flags))
        return upload

    def size(self, repository: str, upload: str) -> int:
        """Return the bytes that have arrived; raises `NotFound`."""
        with self._found() as ingest:
            return ingest.stat(file_name(repository, upload)).st_size

    def cancel(self, repository: str, upload: str) -> None:
        """Remove an upload, even one that is being written; raises `NotFound`."""
        with self._found() as ingest:
            name = file_name(repository, upload)
            ingest.stat(name)
            self.remove(name)

    def open(self, repository: str, upload: str, algorithm: str = "sha256") -> IncomingBlob:
        """Open an upload and lock it.

        Args:
            repository: The repository that the upload was started in.
            upload: Its id.
            algorithm: That of the digest that the client is going to send.

        Raises:
            NotFound: There is no such upload in the repository; it may have expired.
            Busy: Another request is writing to it.
        """
        with self._found() as ingest:
            name = file_name(repository, upload)
            lock = lock_file(ingest, name, make=False)
            if lock is None:
                raise Busy(ingest.stat(name).st_size)
        known = self._take_hash(name)
        if known is None or known.algorithm != algorithm:
            known = _new_hash(algorithm)
        return IncomingBlob(self, repository, name, lock, known)

    @contextlib.contextmanager
    def _found(self) -> Iterator[Directory]:
        """Yield the directory of the uploads; a file that is missing raises `NotFound`."""
        if self._handle.root() is None:
            raise _unknown()
        with translate_os_errors(self._handle.path):
            try:
                yield self._handle.files.ingest
            except FileNotFoundError:
                raise _unknown() from None

    def _take_hash(self, name: str) -> RunningHash | None:
        with self._lock:
            return self._hashes.pop(name, None)

    def remove(self, name: str) -> None:
        """Remove the file of an upload if it exists, and its hash."""
        self._handle.files.ingest.unlink(name)
        self._take_hash(name)

    def sweep(self) -> None:
        """Remove expired uploads."""
        if self._handle.root() is not None:
            with translate_os_errors(self._handle.path):
                sweep(self._handle.files, dry_run=False)

    def count(self) -> int:
        """Return the number of unfinished uploads."""
        if self._handle.root() is None:
            return 0
        with translate_os_errors(self._handle.path):
            return len(names(self._handle.files))

    def keep_hash(self, name: str, running: RunningHash) -> None:
        """Keep the hash of an upload for the next request."""
        with self._lock:
            self._hashes[name] = running
            while len(self._hashes) > _HASHES:
                self._hashes.popitem(last=False)

    def publish(self, upload: IncomingBlob, digest: Digest) -> None:
        """Store a verified upload as a blob of its repository."""
        db = self._handle.writable_database()
        files = self._handle.files
        files.prepare(digest)
        lease = Lease(files.root)  # keeps `rebuild` away
        try:
            if not db.is_current:
                message = "the store's database was replaced"
                raise StoreError(message, hint="try again").within(db.path)
            is_flushed = False
            while True:
                if not (is_flushed or _is_stored(files, digest, upload.size)):
                    upload.flush()
                    is_flushed = True
                with db.write(durable=False) as connection:
                    if not _is_stored(files, digest, upload.size):
                        if not is_flushed:
                            continue  # it was just collected
                        files.publish(upload.name, digest)
                        upload.seal()
                        blob_info.record(connection, digest, upload.size, BlobInfo())
                    repository_blobs.add(connection, upload.repository, [digest])
                    break
            files.sync(digest.algorithm)
        finally:
            lease.end()


class IncomingBlob:
    """A locked upload, open for one request; use it as a context manager.

    Attributes:
        repository: The repository (``host/path``).
        name: The name of the file.
        size: The bytes that have arrived.
    """

    def __init__(
        self,
        uploads: IncomingBlobs,
        repository: str,
        name: str,
        lock: FileLock,
        running: RunningHash,
    ) -> None:
        self.repository = repository
        self.name = name
        self.size = os.fstat(lock.descriptor).st_size
        self._uploads = uploads
        self._lock = lock
        self._hash = running
        self._is_gone = False
        self._using = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write pieces at the end; on a full disk, those bytes that fit stay."""
        with self._open(), translate_os_errors(self._uploads.path):
            is_hashed = self._hash.size == self.size
            for start in range(0, len(pieces), _PIECES):
                self._write(pieces[start : start + _PIECES])
            if is_hashed:
                for piece in pieces:
                    self._hash.state.update(piece)
                self._hash = self._hash._replace(size=self.size)

    def _write(self, pieces: Sequence[bytes]) -> None:
        left = sum(map(len, pieces))
        while left:
            count = os.pwritev(self._lock.descriptor, pieces, self.size)
            self.size += count
            left -= count
            if left:
                pieces = [b"".join(pieces)[count:]]

    def truncate(self, size: int) -> None:
        """Discard all but the first ``size`` bytes."""
        with self._open(), translate_os_errors(self._uploads.path):
            os.ftruncate(self._lock.descriptor, size)
            self.size = size
            if self._hash.size > size:
                self._hash = _new_hash(self._hash.algorithm)

    def finish(self, digest: Digest) -> None:
        """Verify the content and store it as a blob of the repository.

        On return the blob is visible and flushed to the disk, and the upload is gone.

        Raises:
            IntegrityError: The content has another digest; it is discarded.
            NotFound: The upload was cancelled.
        """
        with self._open(), translate_os_errors(self._uploads.path):
            actual = self._hexdigest(digest.algorithm)
            if actual != digest.hex:
                self.discard()
                raise mismatch(digest, actual)
            try:
                self._uploads.publish(self, digest)
            except FileNotFoundError:
                raise NotFound("the upload was cancelled") from None
            self.discard()

    def _hexdigest(self, algorithm: str) -> str:
        """Hash what has not been hashed yet, and return the digest of all in hex."""
        if self._hash.algorithm != algorithm:
            self._hash = _new_hash(algorithm)
        _, state, at = self._hash
        while data := os.pread(self._lock.descriptor, _BUFFER, at):
            state.update(data)
            at += len(data)
        self._hash = self._hash._replace(size=at)
        return state.hexdigest()

    def flush(self) -> None:
        """Flush the content to the disk; discard it if that fails, see `Part.sync`."""
        try:
            os.fsync(self._lock.descriptor)
        except OSError:
            self.discard()
            raise

    def seal(self) -> None:
        """Make the published file read-only."""
        os.fchmod(self._lock.descriptor, 0o444)

    def discard(self) -> None:
        """Remove the upload."""
        self._uploads.remove(self.name)
        self._is_gone = True

    def close(self) -> None:
        """Release the lock; the upload stays unless it was finished or discarded."""
        with self._using:
            if self._lock.held and not self._is_gone:
                self._uploads.keep_hash(self.name, self._hash)
            self._lock.release()

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """Keep the file open in the block, even if the request is aborted in another thread."""
        with self._using:
            if not self._lock.held:
                raise Cancelled("the request was aborted")
            yield


def _unknown() -> NotFound:
    return NotFound("there is no such upload, or it has expired")


def _new_hash(algorithm: str) -> RunningHash:
    return RunningHash(algorithm, hashlib.new(algorithm), 0)


def _is_stored(files: BlobFiles, digest: Digest, size: int) -> bool:
    """Tell whether a blob is stored; a file of another size is damaged, and is replaced."""
    try:
        return files.size(digest) == size
    except FileNotFoundError:
        return False
