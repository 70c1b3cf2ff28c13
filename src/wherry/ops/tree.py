"""Walk the tree below a directory, safe from other processes that change it.

Names are opened relative to an open directory, and links are not followed. Each opened file is
compared with the listed file (device, inode, type). So a process that replaces names makes the
walk fail, and cannot lead it to another file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OPEN = 64  # directories that are kept open; the others are opened again by ".."
_GONE = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ESTALE}
_TYPES = {
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}


class TreeChanged(Exception):
    """A file has changed during the walk; the argument is its path in the tree."""


class TreeEntry(NamedTuple):
    """One name of the tree; ``target`` is the target of a symbolic link."""

    path: str
    name: str
    directory: int
    status: os.stat_result
    target: str

    @property
    def type(self) -> bytes:
        """The tar type of a directory, link, FIFO or device."""
        return _TYPES[stat.S_IFMT(self.status.st_mode)]

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_socket(self) -> bool:
        """Whether it is a socket."""
        return stat.S_ISSOCK(self.status.st_mode)

    @property
    def is_device(self) -> bool:
        """Whether it is a device."""
        return stat.S_ISCHR(self.status.st_mode) or stat.S_ISBLK(self.status.st_mode)

    @contextlib.contextmanager
    def open(self) -> Iterator[tuple[BinaryIO, os.stat_result]]:
        """Open a file, with its status; raises `TreeChanged` if it changes."""
        with os.fdopen(_open(self.name, _FILE, self.directory, self.path), "rb") as content:
            before = os.fstat(content.fileno())
            _compare(before, self.status, self.path)
            try:
                yield content, before
            except OSError as error:
                if error.errno is None:  # `tarfile` raises this if the file ends too soon
                    raise TreeChanged(self.path) from None
                raise
            after = os.fstat(content.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise TreeChanged(self.path)


class _OpenDirectory:
    """A directory on the path of the walk, and the names in it that are left."""

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor: int | None = descriptor
        self.path = path
        self.status = os.fstat(descriptor)
        self.names = sorted(os.listdir(descriptor), reverse=True)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def reopen(self, below: int) -> None:
        """Open the directory again, as the parent of ``below``."""
        if self.descriptor is None:
            self.descriptor = _open("..", _DIRECTORY, below, self.path)
            _compare(os.fstat(self.descriptor), self.status, self.path)


def walk(root: Path) -> Iterator[TreeEntry]:
    """Yield all entries below a directory, in order, at any depth.

    Raises `TreeChanged`. An entry can be opened until the next one is requested.
    """
    levels = [_OpenDirectory(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), "")]
    try:
        while levels:
            level = levels[-1]
            at = level.descriptor
            assert at is not None  # noqa: S101 - the last one is open
            if not level.names:
                levels.pop()
                try:
                    if levels:
                        levels[-1].reopen(at)
                finally:
                    level.close()
                continue
            entry = _list(level.names.pop(), at, level.path)
            yield entry
            if stat.S_ISDIR(entry.status.st_mode):
                levels.append(_enter(entry))
                if len(levels) > _OPEN:
                    levels[-_OPEN - 1].close()
    finally:
        for level in levels:
            level.close()


def _list(name: str, directory: int, above: str) -> TreeEntry:
    path = f"{above}/{name}" if above else name
    with _translate_os_errors(path):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        is_link = stat.S_ISLNK(status.st_mode)
        try:
            target = os.readlink(name, dir_fd=directory) if is_link else ""
        except OSError as error:
            if error.errno == errno.EINVAL:  # it is not a link any more
                raise TreeChanged(path) from None
            raise
    return TreeEntry(path, name, directory, status, target)


def _enter(entry: TreeEntry) -> _OpenDirectory:
    descriptor = _open(entry.name, _DIRECTORY, entry.directory, entry.path)
    try:
        _compare(os.fstat(descriptor), entry.status, entry.path)
        return _OpenDirectory(descriptor, entry.path)
    except BaseException:
        os.close(descriptor)
        raise


def _open(name: str, flags: int, directory: int, path: str) -> int:
    with _translate_os_errors(path):
        return os.open(name, flags, dir_fd=directory)


@contextlib.contextmanager
def _translate_os_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            raise TreeChanged(path) from None
        error.filename = path
        raise


def _compare(opened: os.stat_result, listed: os.stat_result, path: str) -> None:
    same = os.path.samestat(opened, listed)
    if not same or stat.S_IFMT(opened.st_mode) != stat.S_IFMT(listed.st_mode):
        raise TreeChanged(path)
