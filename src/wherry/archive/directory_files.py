"""The files of a layout in a directory."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from wherry.archive.os_files import KINDS, FileRange, translate_os_errors
from wherry.archive.tar import MAX_HOPS, linked, normal
from wherry.content.protocols import Opened
from wherry.errors import StoreError, UnsafeArchive

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block


class DirectoryFiles:
    """The files below a directory. Links that stay inside the directory are followed."""

    ended = True
    streamed = False

    def __init__(self, path: str) -> None:
        self.path = path
        with translate_os_errors(path):
            if stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a string
                raise StoreError("is a file, a directory is expected", hint=KINDS).within(path)
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def names(self) -> Iterable[str]:
        """Return the names of the entries at the top."""
        with os.scandir(self._root) as entries:
            return [entry.name for entry in entries]

    def real(self, name: str) -> str:
        """Return the normal name; links are followed when a file is opened."""
        return normal(name)

    def digest(self, _name: str) -> None:
        """Return None: no file has been read."""

    def size(self, name: str) -> int:
        """Return a file's size in bytes; raises `NotFound` and `UnsafeArchive`."""
        descriptor = self._descriptor(name)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def open(self, name: str, offset: int = 0) -> Opened:
        """Open a file at ``offset``; raises as `size` does."""
        descriptor = self._descriptor(name)
        source = FileRange(self.path, descriptor, offset)
        return Opened(source, offset, os.fstat(descriptor).st_size)

    def close(self) -> None:
        """Close the directory."""
        with translate_os_errors(self.path):
            os.close(self._root)

    def _descriptor(self, name: str) -> int:
        with translate_os_errors(f"{self.path}/{name}"):
            at = normal(name)
            for _ in range(MAX_HOPS):
                found = self._step(at)
                if isinstance(found, int):
                    return found
                at = linked(at, found)
        raise UnsafeArchive("links that lead to links without end", member=name)

    def _step(self, name: str) -> int | str:
        """Open a file without following links; return the target if it is a link.

        Directories are opened one by one, so that no link in the path is followed either.
        """
        *parents, leaf = name.split("/")
        with contextlib.ExitStack() as opened:
            at = self._root
            for part in parents:
                at = os.open(part, _DIRECTORY, dir_fd=at)
                opened.callback(os.close, at)
            try:
                found = os.open(leaf, _FILE, dir_fd=at)
            except OSError as error:
                if error.errno == errno.ENXIO:  # a socket
                    raise _not_regular(f"{self.path}/{name}") from None
                if error.errno != errno.ELOOP:
                    raise
                return os.readlink(leaf, dir_fd=at)
        if not stat.S_ISREG(os.fstat(found).st_mode):
            os.close(found)
            raise _not_regular(f"{self.path}/{name}")
        return found


def _not_regular(member: str) -> UnsafeArchive:
    return UnsafeArchive("is not a regular file", member=member)
