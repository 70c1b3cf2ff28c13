"""Locks that die with their process: ``flock`` on files that others may unlink."""

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


# Held while a descriptor comes or goes, so that each fork finds all of them.
_opening = threading.RLock()
fork.hold(_opening)


class FileLock:
    """An open file and this process's lock on it; ``descriptor`` is -1 once it is closed.

    A forked child shares the lock, which would outlive the parent in an idle child. So the
    child closes the file; that unlocks nothing while the parent has it open.
    """

    def __init__(self, open_file: Callable[[], int]) -> None:
        with _opening:
            self.descriptor = open_file()
            fork.watch(self, FileLock.release)

    @property
    def held(self) -> bool:
        """Whether the file is still open, in the process that has opened it."""
        return self.descriptor >= 0

    def acquire(self, directory: Directory, name: str) -> bool | None:
        """Lock the file; False if it is held, None if it does not have the name any more."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return _is_at(self.descriptor, directory, name) or None

    def release(self) -> None:
        """Close the file, and with it the lock. Idempotent."""
        with _opening:
            descriptor, self.descriptor = self.descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)


def lock_file(directory: Directory, name: str) -> FileLock | None:
    """Open and lock a file, making it; return the lock, or None if it is held.

    A file that was unlinked or renamed between opening and locking is not the file of that
    name any more, so the lock on it means nothing: inodes are compared and a stale one is
    opened anew. Nothing in the file is touched. Raises what `Directory.open` does.
    """
    while True:
        lock = _open(directory, name)
        locked: bool | None = False
        try:
            locked = lock.acquire(directory, name)
        finally:
            if not locked:
                lock.release()
        if locked is not None:
            return lock if locked else None


def _open(directory: Directory, name: str) -> FileLock:
    """Open a file for locking, or make it."""
    while True:
        with contextlib.suppress(FileExistsError):
            return FileLock(lambda: directory.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        with contextlib.suppress(FileNotFoundError):  # another process has removed it since
            return FileLock(lambda: directory.open(name, os.O_RDWR))


def lock_abandoned(directory: Directory, name: str) -> FileLock | None:
    """Lock a file that is there and that no process holds; return the lock, else None.

    For sweepers: they unlink while they hold the lock, so that a process that opened the file
    meanwhile finds another inode at its path, or none. What may not be opened counts as held,
    and so does everything but a file.
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


def fsync_directory(path: str) -> None:
    """Make the names in a directory survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, directory: Directory, name: str) -> bool:
    opened = os.fstat(descriptor)
    try:
        found = directory.stat(name)
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino)
