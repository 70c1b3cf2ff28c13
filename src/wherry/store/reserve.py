"""A file that reserves disk space, so that images can be removed from a full disk.

The database needs space for its log even in order to remove rows. The reserve is deleted to make
that space, and written again afterwards.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, TypeVar

from wherry.errors import StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.store.directory import Directory

T = TypeVar("T")

FILE = "wherry.reserve"
SIZE = 128 * 1024  # bytes: the log of the database, its index, and some steps of a collection
_PLENTY = 4 * 2**20  # bytes that must be free before the reserve is written
# The hint if the reserve was not enough.
NEEDED = "removing takes 128 KB for the database: make room for it elsewhere on this disk first"


def lay(root: Directory) -> None:
    """Write the reserve unless it exists or the disk is nearly full. Idempotent."""
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileNotFoundError):
            if root.stat(FILE).st_size >= SIZE:
                return
            root.unlink(FILE)
        found = os.statvfs(root.fd)
        if found.f_bavail * found.f_frsize < _PLENTY:
            return
        descriptor = root.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(descriptor, os.urandom(SIZE))  # some file systems do not store zeros
        finally:
            os.close(descriptor)


def give_up(root: Directory) -> bool:
    """Delete the reserve; tell whether there was one."""
    try:
        os.unlink(FILE, dir_fd=root.fd)
    except OSError:
        return False
    return True


def with_room(root: Directory, call: Callable[[], T]) -> T:
    """Call a function; on a full disk, delete the reserve and call it again."""
    try:
        return call()
    except StoreFull:
        if not give_up(root):
            raise
    return call()


@contextlib.contextmanager
def hint_when_full(hint: str) -> Iterator[None]:
    """Replace the hint of a `StoreFull`, whose default is meant for downloads."""
    try:
        yield
    except StoreFull as error:
        error.hint = hint
        raise
