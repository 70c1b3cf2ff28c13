"""Directories that layouts are written to: an existing one, or one that appears whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.archive.os_files import KINDS
from wherry.archive.write_errors import check_parent
from wherry.content.output import StagedDirectory, is_staged, remove_abandoned, whole_file_in
from wherry.errors import InvalidDocument, StoreError, UnsafeArchive
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from wherry.content.cancel import CancelToken

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block
_NOT_A_DIRECTORY = {errno.ELOOP, errno.ENOTDIR}
_PAUSE = 0.02  # seconds between two attempts to lock


class OutputDirectory:
    """A directory to add files to. Thread-safe.

    A directory that did not exist is made beside its place on first use, and gets its name by
    `publish`. Links in the path are followed once, links below it never.

    Args:
        path: The path.

    Raises:
        NotFound: The directory above does not exist.
        StoreError: The path is a file.
        OSError: The directory cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(os.path.realpath(path))
        self._lock = threading.Lock()
        self._opened = contextlib.ExitStack()
        self._folders: dict[str, int] = {}
        self._cleared: set[str] = set()  # folders without files of killed writers
        self._staged: StagedDirectory | None = None
        self.is_new = not self.path.exists()
        if self.is_new:
            check_parent(self.path)
        elif not self.path.is_dir():
            raise StoreError("is a file, a directory is expected", hint=KINDS).within(self.path)
        else:
            self._add("", os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def _add(self, folder: str, descriptor: int) -> None:
        self._opened.callback(os.close, descriptor)
        self._folders[folder] = descriptor

    def names(self, folder: str = "") -> list[str]:
        """Return the names in the directory or in a folder of it."""
        descriptor = self._find(folder)
        if descriptor is None:
            return []
        with os.scandir(descriptor) as entries:
            return [entry.name for entry in entries if not is_staged(entry.name)]

    def _find(self, folder: str) -> int | None:
        """Open a folder; return None if it does not exist."""
        with self._lock:
            return self._walk(folder, make=False)

    def _make(self, folder: str) -> int:
        """Open a folder, which is made if need be."""
        with self._lock:
            if not self._folders:
                self._staged = self._opened.enter_context(StagedDirectory(self.path))
                self._folders[""] = self._staged.descriptor
            found = self._walk(folder, make=True)
        assert found is not None  # noqa: S101 - it was made
        return found

    def _walk(self, folder: str, *, make: bool) -> int | None:
        at, done = self._folders.get(""), ""
        for part in filter(None, folder.split("/")):
            done = f"{done}/{part}" if done else part
            if at is not None and done not in self._folders:
                self._add_child(at, part, done, make=make)
            at = self._folders.get(done)
        return at

    def _add_child(self, parent: int, name: str, folder: str, *, make: bool) -> None:
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=parent)
                    os.fsync(parent)
            self._add(folder, os.open(name, _DIRECTORY, dir_fd=parent))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _NOT_A_DIRECTORY:
                raise
            message = "is a link or not a directory"
            raise UnsafeArchive(message, member=f"{self.path}/{folder}") from None

    def size(self, folder: str, name: str) -> int | None:
        """Return the size of a file in bytes; None if there is no regular file of this name."""
        descriptor = self._find(folder)
        if descriptor is None:
            return None
        try:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, folder: str, name: str) -> bytes | None:
        """Return a document of at most 4 MiB, or None if there is no such file.

        Raises:
            InvalidDocument: The file is larger.
            UnsafeArchive: It is a link or not a regular file.
        """
        descriptor = self._find(folder)
        if descriptor is None:
            return None
        try:
            file = os.open(name, _FILE, dir_fd=descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENXIO}:
                raise
            raise self._not_regular(name) from None
        with open(file, "rb") as opened:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise self._not_regular(name)
            raw = opened.read(MAX_DOCUMENT + 1)
        if len(raw) > MAX_DOCUMENT:
            raise InvalidDocument(f"{name} is over {MAX_DOCUMENT >> 20} MiB").within(self.path)
        return raw

    def _not_regular(self, name: str) -> UnsafeArchive:
        return UnsafeArchive("is a link or not a regular file", member=f"{self.path}/{name}")

    def write(self, folder: str, name: str) -> AbstractContextManager[int]:
        """Write a file: a context manager of a descriptor, see `whole_file`."""
        descriptor = self._make(folder)
        with self._lock:
            if folder not in self._cleared:
                self._cleared.add(folder)
                remove_abandoned(descriptor)
        return whole_file_in(descriptor, name)

    def write_bytes(self, folder: str, name: str, data: bytes) -> None:
        """Write a small file; it replaces another file of that name."""
        with self.write(folder, name) as file, open(file, "wb", closefd=False) as opened:
            opened.write(data)

    def rename(self, old: str, new: str) -> None:
        """Rename a file at the top, before `sync`; it replaces another file of the new name."""
        root = self._make("")
        os.rename(old, new, src_dir_fd=root, dst_dir_fd=root)

    def sync(self) -> None:
        """Sync the names at the top to the disk."""
        os.fsync(self._make(""))

    def remove(self, name: str) -> None:
        """Remove a file at the top, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._make(""))

    def move_from(self, other: OutputDirectory, folder: str) -> None:
        """Move all files of a folder of another directory to the same folder of this one."""
        source, target = other._make(folder), self._make(folder)
        for name in other.names(folder):
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        os.fsync(target)

    @contextlib.contextmanager
    def locked(self, cancel: CancelToken) -> Iterator[None]:
        """Hold the lock of the directory; wait for other processes that hold it.

        A directory that is new belongs to this process.
        """
        descriptor = self._make("")
        if self._staged is not None:
            yield
            return
        while not _lock(descriptor):
            cancel.sleep(_PAUSE)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def keep_locked(self) -> None:
        """Hold the lock of the directory until it is closed.

        Raises:
            StoreError: Another process holds it.
        """
        if not _lock(self._make("")):
            message = "another process is writing to it"
            raise StoreError(message, hint="try again later").within(self.path)

    def publish(self) -> bool:
        """Give a new directory its name; return False if another directory has taken it."""
        if self._staged is None:
            return True
        try:
            self._staged.publish()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise
            return False
        return True

    def close(self) -> None:
        """Close the directory; a new one is removed unless it was published."""
        self._opened.close()
        self._folders.clear()


def _lock(descriptor: int) -> bool:
    """Lock a directory; return False if it is locked.

    Where the file system has no locks, nothing is locked.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
