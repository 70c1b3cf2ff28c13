"""File locks (``flock``) that end with their process, on files that may be unlinked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from typing import TYPE_CHECKING

from wherry.content import fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.store.directory import Directory

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_OURS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EROFS, errno.EISDIR}
_NOT_OURS |= {errno.ENXIO}  # a socket


# Held while a descriptor is opened or closed, so that a fork sees every open descriptor.
_opening = threading.RLock()
fork.hold(_opening)


class FileLock:
    """An open file and this process's lock on it; ``descriptor`` is -1 after `release`.

    A forked child inherits the lock, and an idle child would keep it after the parent exits. So
    the child closes its descriptor, which leaves the lock with the parent.
    """

    def __init__(self, open_file: Callable[[], int]) -> None:
        with _opening:
            self.descriptor = open_file()
            fork.watch(self, FileLock.release)

    @property
    def held(self) -> bool:
        """Whether the file is still open, in the process that opened it."""
        return self.descriptor >= 0

    def acquire(self, directory: Directory, name: str) -> bool | None:
        """Lock the file; return False if it is locked, None if it has lost its name."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return _is_at(self.descriptor, directory, name) or None

    def release(self) -> None:
        """Close the file, which releases the lock. Idempotent."""
        with _opening:
            descriptor, self.descriptor = self.descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)


def lock_file(directory: Directory, name: str, *, make: bool = True) -> FileLock | None:
    """Open or create a file and lock it; return None if another holder has locked it.

    Another process may unlink or rename the file between opening and locking. A lock on such a
    file protects nothing, so the inodes are compared and a stale file is opened again. The
    content of the file is not changed.

    Raises:
        FileNotFoundError: The file does not exist, and ``make`` is false.
        StoreError: The name belongs to something else than a file of the store.
    """
    while True:
        lock = _open(directory, name) if make else _open_existing(directory, name)
        locked: bool | None = False
        try:
            locked = lock.acquire(directory, name)
        finally:
            if not locked:
                lock.release()
        if locked is not None:
            return lock if locked else None


def _open(directory: Directory, name: str) -> FileLock:
    """Open or create a file for locking."""
    while True:
        with contextlib.suppress(FileExistsError):
            return FileLock(lambda: directory.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        with contextlib.suppress(FileNotFoundError):  # another process just removed it
            return _open_existing(directory, name)


def _open_existing(directory: Directory, name: str) -> FileLock:
    return FileLock(lambda: directory.open(name, os.O_RDWR))


def lock_abandoned(directory: Directory, name: str) -> FileLock | None:
    """Lock an existing file that no process has locked; return None if that is not possible.

    A sweeper unlinks the file while it holds the lock. A process that opened the file in the
    meantime then finds another inode at the path, or none (see `lock_file`). A file that cannot
    be opened, and anything that is not a regular file, counts as locked.
    """
    try:
        lock = FileLock(lambda: os.open(name, _FLAGS, dir_fd=directory.fd))
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return None
    is_file = stat.S_ISREG(os.fstat(lock.descriptor).st_mode)
    if is_file and lock.acquire(directory, name):
        return lock
    lock.release()
    return None


def _is_at(descriptor: int, directory: Directory, name: str) -> bool:
    opened = os.fstat(descriptor)
    try:
        found = directory.stat(name)
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino)
