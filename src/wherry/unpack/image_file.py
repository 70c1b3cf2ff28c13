"""Files in an unpacked tree, located as a process in the container would locate them."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from typing import TYPE_CHECKING

from wherry.errors import UnsafeArchive, Unsupported
from wherry.unpack.tree import MAX_HOPS

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_READ = 4 * 2**20  # bytes of one file
_MAX_DEPTH = 128  # open directories
_ESCAPE = "surrogateescape"  # names are UTF-8 in images, whatever the locale says
_LOCATE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


def read_file(root: int, path: str) -> bytes:
    """Return the content of a file; empty if there is none.

    Args:
        root: A descriptor of the root of the tree; no other process may write there.
        path: The path in the tree.

    Raises:
        UnsafeArchive: It is not a regular file, it is too large, or links lead in a circle.
        Unsupported: Its mode does not let its owner read it.
        OSError: It cannot be read.
    """
    with located(root, path) as file:
        if file is None:
            return b""
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise UnsafeArchive("not a regular file", member=path)
        try:
            # Only now: opening a device has effects.
            with open(f"/proc/self/fd/{file}", "rb") as opened:  # noqa: PTH123 - a descriptor
                content = opened.read(MAX_READ + 1)
        except PermissionError:
            raise Unsupported("its owner may not read it in this image").within(path) from None
    if len(content) > MAX_READ:
        raise UnsafeArchive(f"more than {MAX_READ >> 20} MiB", member=path)
    return content


@contextlib.contextmanager
def located(root: int, path: str) -> Iterator[int | None]:
    """Yield a descriptor that locates a file (``O_PATH``); None if there is none.

    Links are followed. Neither ``..`` nor an absolute link leads out of the root.

    Args:
        root: A descriptor of the root of the tree; no other process may write there.
        path: The path in the tree.

    Raises:
        UnsafeArchive: There are too many links or directories on the way.
        OSError: The tree cannot be read.
    """
    walk = _Walk(root, path)
    try:
        try:
            file = walk.go()
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            file = None
        yield file
    finally:
        walk.leave(0)


def resolve(root: int, path: str) -> str:
    """Return a path without links; parts that do not exist are kept.

    Args:
        root: A descriptor of the root of the tree; no other process may write there.
        path: The path in the tree.

    Raises:
        UnsafeArchive: There are too many links or directories on the way.
        OSError: The tree cannot be read.
    """
    walk = _Walk(root, path)
    try:
        walk.go()
    except OSError as error:
        if error.errno not in _MISSING:
            raise
    finally:
        walk.leave(0)
    return walk.reached


class _Walk:
    """The way along a path, with one open descriptor for each directory below the root."""

    def __init__(self, root: int, path: str) -> None:
        self._root = root
        self._path = path
        self._opened: list[int] = []
        self._names: list[bytes] = []
        self._pending: list[bytes] = []
        self.reached = ""

    def go(self) -> int:
        """Return a descriptor of the file at the end, valid until `leave`."""
        try:
            self._go()
        finally:
            names = [*self._names, *self._pending[::-1]]
            joined = b"/".join(names).decode(errors=_ESCAPE)
            self.reached = posixpath.normpath(f"/{joined}")
        return self._opened[-1] if self._opened else self._root

    def _go(self) -> None:
        pending = self._pending = self._path.encode(errors=_ESCAPE).split(b"/")[::-1]
        hops = 0
        while pending:
            part = pending.pop()
            if part == b"..":
                self.leave(max(0, len(self._opened) - 1))
            elif part not in {b"", b"."}:
                target = self._enter(part)
                if target is None:
                    continue
                hops += 1
                if hops > MAX_HOPS:
                    text = f"more than {MAX_HOPS} links on the way"
                    raise UnsafeArchive(text, member=self._path)
                if target.startswith(b"/"):
                    self.leave(0)
                pending += reversed(target.split(b"/"))

    def _enter(self, part: bytes) -> bytes | None:
        """Go on to a file, or return the target of a link."""
        try:
            here = os.open(part, _LOCATE, dir_fd=self._opened[-1] if self._opened else self._root)
        except OSError:
            self._pending.append(part)
            raise
        if stat.S_ISLNK(os.fstat(here).st_mode):
            try:
                return os.readlink(b"", dir_fd=here)
            finally:
                os.close(here)
        self._opened.append(here)
        self._names.append(part)
        if len(self._opened) > _MAX_DEPTH:
            raise UnsafeArchive(f"more than {_MAX_DEPTH} levels deep", member=self._path)
        return None

    def leave(self, depth: int) -> None:
        """Close all descriptors but the first ``depth``."""
        while len(self._opened) > depth:
            os.close(self._opened.pop())
            self._names.pop()
