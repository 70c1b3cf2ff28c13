"""Opening directories below a root without following a link."""

from __future__ import annotations

import collections
import ctypes
import errno
import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.unpack.tree import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 32  # open directories
# openat2(2): the number of the call is the same on all architectures but alpha.
_OPENAT2 = 437
_NO_LINKS, _BENEATH = 0x04, 0x08


class _How(ctypes.Structure):
    """The structure ``open_how`` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class OpenDirectories:
    """Directories below a root, by their paths; a few stay open. Not thread-safe.

    Args:
        root: The descriptor of the root, which stays the caller's.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._open = _opener()
        self._kept: collections.OrderedDict[Path, int] = collections.OrderedDict()

    def get(self, path: Path) -> int:
        """Return a descriptor, valid until the next call; raises `OSError`."""
        found = self._kept.get(path)
        if found is not None:
            self._kept.move_to_end(path)
            return found
        if not path:
            return self._root
        above = self._kept.get(path[:-1])  # or a deep tree would take quadratic time
        made = self._open(self._root, path) if above is None else self._open(above, path[-1:])
        self._kept[path] = made
        if len(self._kept) > _KEPT:
            os.close(self._kept.popitem(last=False)[1])
        return made

    def forget(self, path: Path) -> None:
        """Close a directory and those below it, before they are removed."""
        for kept in [each for each in self._kept if each[: len(path)] == path]:
            os.close(self._kept.pop(kept))

    def close(self) -> None:
        """Close all directories."""
        while self._kept:
            os.close(self._kept.popitem()[1])


@functools.cache
def _opener() -> Callable[[int, Path], int]:
    """Return the way to open a path that this kernel offers."""
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_openat2(here, (b".",)))
    except (OSError, AttributeError):
        return walk  # before Linux 5.6, or forbidden by a sandbox
    finally:
        os.close(here)
    return _openat2


def _openat2(root: int, path: Path) -> int:
    """Open a directory; the kernel refuses links and what leads out of ``root``."""
    how = _How(_FLAGS, 0, _NO_LINKS | _BENEATH)
    name = b"/".join(path)
    while True:
        found = _library().syscall(_OPENAT2, root, name, ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0:
            return int(found)
        number = ctypes.get_errno()
        if number not in {errno.EINTR, errno.EAGAIN}:
            raise OSError(number, os.strerror(number), os.fsdecode(name))


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def walk(root: int, path: Path) -> int:
    """Open a directory part by part; no part may be a link."""
    found = root
    for part in path:
        try:
            below = os.open(part, _FLAGS, dir_fd=found)
        finally:
            if found != root:
                os.close(found)
        found = below
    return found
