"""Locks that die with their process: ``flock`` on files that others may unlink."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading

MODE = 0o644
# No links: root may be at work in a directory where others put them, and lead to anything.
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_making = threading.RLock()

_NOT_OURS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EROFS}


def lock_file(path: str | os.PathLike[str]) -> int | None:
    """Open and lock ``path``, making it; return its descriptor, or None if it is held.

    A file that was unlinked or renamed between opening and locking is not the file at
    ``path`` any more, so the lock on it means nothing: inodes are compared and a stale one
    is opened anew. Nothing in the file is touched. Links are not followed.
    """
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def _open(path: str | os.PathLike[str]) -> int:
    """Open a file for locking; what is made here, and nothing else, is its owner's."""
    while True:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, MODE)
            give_to_owner(descriptor, path)
            return descriptor
        with contextlib.suppress(FileNotFoundError):  # somebody has removed it since
            return os.open(path, _FLAGS)


def lock_abandoned(path: str | os.PathLike[str]) -> int | None:
    """Lock a file that is there and that nobody holds; return its descriptor, else None.

    For sweepers: they unlink while they hold the lock, so that whoever opened the file
    meanwhile finds another inode at its path, or none. A file that may not be opened counts
    as held, and so does a link.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(descriptor, path):
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: str | os.PathLike[str]) -> bool:
    opened = os.fstat(descriptor)
    try:
        found = os.stat(path)  # noqa: PTH116 - a string
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino)


def give_to_owner(target: int | str, path: str | os.PathLike[str]) -> None:
    """Have what root makes belong to whom the directory around ``path`` belongs.

    Else somebody could not use his own store any more after root did so once.
    """
    if os.geteuid() == 0:
        around = os.stat(os.path.dirname(path) or ".")  # noqa: PTH116, PTH120 - a string
        if around.st_uid != 0:
            if isinstance(target, int):
                os.fchown(target, around.st_uid, around.st_gid)
            else:
                os.lchown(target, around.st_uid, around.st_gid)


def make_directory(path: str | os.PathLike[str]) -> None:
    """Make a directory of a store, and let its name survive a loss of power. Idempotent."""
    around = os.path.dirname(path) or "."  # noqa: PTH120 - a string
    with _making:  # until it has its owner nobody may put anything into it
        if os.path.isdir(path):  # noqa: PTH112 - as above
            return
        if not os.path.isdir(around):  # noqa: PTH112 - as above
            make_directory(around)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)  # noqa: PTH102 - as above
            give_to_owner(os.fspath(path), path)
    fsync_directory(around)


def fsync_directory(path: str) -> None:
    """Make the names in a directory survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
