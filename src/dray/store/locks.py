"""Locks that die with their process: ``flock`` on files that others may unlink."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dray.store.directory import Directory

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_OURS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EROFS, errno.EISDIR}
_NOT_OURS |= {errno.ENXIO}  # a socket


def lock_file(directory: Directory, name: str) -> int | None:
    """Open and lock a file, making it; return its descriptor, or None if it is held.

    A file that was unlinked or renamed between opening and locking is not the file of that
    name any more, so the lock on it means nothing: inodes are compared and a stale one is
    opened anew. Nothing in the file is touched. Raises what `Directory.open` does.
    """
    while True:
        descriptor = _open(directory, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(descriptor, directory, name):
            return descriptor
        os.close(descriptor)


def _open(directory: Directory, name: str) -> int:
    """Open a file for locking, or make it."""
    while True:
        with contextlib.suppress(FileExistsError):
            return directory.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        with contextlib.suppress(FileNotFoundError):  # another process has removed it since
            return directory.open(name, os.O_RDWR)


def lock_abandoned(directory: Directory, name: str) -> int | None:
    """Lock a file that is there and that no process holds; return its descriptor, else None.

    For sweepers: they unlink while they hold the lock, so that a process that opened the file
    meanwhile finds another inode at its path, or none. What may not be opened counts as held,
    and so does everything but a file.
    """
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=directory.fd)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, directory, name):
                return descriptor
    os.close(descriptor)
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
