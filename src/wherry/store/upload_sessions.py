"""The addresses of upload sessions, kept so that a later process goes on with an upload.

An address may grant access to the upload, and other users may be able to read the database. So
each address is in a file of its own, ``uploads/<name>``, that only its owner can read. A process
locks the file while it uses the session. The lock ends with the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

from wherry.errors import StoreError
from wherry.model.secret import SecretBytes, SecretUrl
from wherry.store.locks import lock_abandoned, lock_file
from wherry.store.os_errors import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.model.digest import Digest
    from wherry.store.directory import Directory
    from wherry.store.locks import FileLock
    from wherry.store.store_handle import StoreHandle

DIRECTORY = "uploads"
EXPIRY_SECONDS = 86_400.0  # registries drop unused sessions, most of them earlier
MAX_ADDRESS = 16 * 1024  # bytes
_NAME = re.compile(r"[0-9a-f]{64}")


class UploadSessions:
    """The addresses of upload sessions in a store. Thread-safe for different blobs.

    No method fails. Where the store cannot be written, or another process uploads the same blob
    to the same repository, no address is kept.
    """

    def __init__(self, handle: StoreHandle) -> None:
        self._handle = handle
        self._files: dict[str, _AddressFile] = {}

    def load(self, repository: str, digest: Digest) -> str | None:
        """Return the address of a session that no other process uses, or None.

        Other processes do not get the address until `close`.

        Args:
            repository: The host and the path of the repository.
            digest: The blob.
        """
        name = _name(repository, digest)
        with self._suppress_errors():
            root = self._handle.root()
            directory = None if root is None else _open(root)
            if directory is not None and directory.exists(name):
                file = self._lock(directory, name)
                return None if file is None else file.read()
        return None

    def save(self, repository: str, digest: Digest, url: str) -> None:
        """Keep the address of a session in the place of an earlier one."""
        if len(url) >= MAX_ADDRESS or not url.isascii():
            return
        name = _name(repository, digest)
        with self._suppress_errors():
            file = self._own(name)
            if file is None:
                self._handle.check_writable()  # creates the store
                root = self._handle.root()
                assert root is not None  # noqa: S101 - it was just created
                sweep(root)
                file = self._lock(root.child(DIRECTORY, make=True, private=True), name)
            if file is not None:
                file.write(url)

    def forget(self, repository: str, digest: Digest) -> None:
        """Remove the address of a session that is finished or cannot go on."""
        file = self._files.pop(_name(repository, digest), None)
        if file is not None:
            with self._suppress_errors():
                file.remove()

    def close(self) -> None:
        """Leave the addresses to other processes."""
        while self._files:
            _, file = self._files.popitem()
            file.lock.release()

    def _own(self, name: str) -> _AddressFile | None:
        """Return a file that this process has locked; a fork leaves the locks to the parent."""
        found = self._files.get(name)
        return found if found is not None and found.lock.held else None

    def _lock(self, directory: Directory, name: str) -> _AddressFile | None:
        found = self._own(name)
        if found is None:
            lock = lock_file(directory, name)
            if lock is None:
                return None
            found = self._files[name] = _AddressFile(directory, name, lock)
        return found

    @contextlib.contextmanager
    def _suppress_errors(self) -> Iterator[None]:
        with contextlib.suppress(StoreError), translate_os_errors(self._handle.path):
            yield


class _AddressFile:
    """A locked file with one line: the address."""

    def __init__(self, directory: Directory, name: str, lock: FileLock) -> None:
        self._directory = directory
        self._name = name
        self.lock = lock

    def read(self) -> SecretUrl | None:
        """Return the address, or None if there is none or it is too old."""
        if _is_old(self.lock):
            return None
        raw = SecretBytes(os.pread(self.lock.descriptor, MAX_ADDRESS, 0))
        end = raw.find(b"\n")  # the rest of a longer address may follow
        return SecretUrl(raw[:end].decode()) if end > 0 and raw.isascii() else None

    def write(self, url: str) -> None:
        """Replace the address, by one write: a killed process leaves the old or the new one."""
        line = SecretBytes(url.encode() + b"\n")
        if os.pwrite(self.lock.descriptor, line, 0) < len(line):
            os.ftruncate(self.lock.descriptor, 0)

    def remove(self) -> None:
        """Remove the file and release the lock; does nothing in a forked child."""
        try:
            if self.lock.held:
                self._directory.unlink(self._name)
        finally:
            self.lock.release()


def sweep(root: Directory) -> None:
    """Remove old addresses that no process uses."""
    with contextlib.suppress(OSError, StoreError):  # the directory may be another user's
        directory = _open(root)
        if directory is None:
            return
        for name in filter(_NAME.fullmatch, directory.names()):
            lock = lock_abandoned(directory, name)
            if lock is None:
                continue
            try:
                if _is_old(lock):
                    directory.unlink(name)
            finally:
                lock.release()


def _open(root: Directory) -> Directory | None:
    try:
        return root.child(DIRECTORY, private=True)
    except FileNotFoundError:
        return None


def _name(repository: str, digest: Digest) -> str:
    return hashlib.sha256(f"{repository}@{digest}".encode()).hexdigest()


def _is_old(lock: FileLock) -> bool:
    """Tell whether a file was written long ago, or in the future by a wrong clock."""
    return abs(time.time() - os.fstat(lock.descriptor).st_mtime) > EXPIRY_SECONDS
