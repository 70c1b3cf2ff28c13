"""Room that is kept for when there is none: what removes from a full disk needs some to begin."""

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
_PLENTY = 4 * 2**20  # bytes that have to be free before any are laid by
# What is said where even that has not been enough.
NEEDED = "removing takes 128 KB for the database: make room for it elsewhere on this disk first"


def lay(root: Directory) -> None:
    """Keep some room, unless that is done or the disk has little. Idempotent."""
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
            os.write(descriptor, os.urandom(SIZE))  # some file systems take zeros for nothing
        finally:
            os.close(descriptor)


def give_up(root: Directory) -> bool:
    """Give the room back; tell whether there was any."""
    try:
        os.unlink(FILE, dir_fd=root.fd)
    except OSError:
        return False
    return True


def with_room(root: Directory, call: Callable[[], T]) -> T:
    """Call, and where there is no room, once more with what was kept."""
    try:
        return call()
    except StoreFull:
        if not give_up(root):
            raise
    return call()


@contextlib.contextmanager
def advised(hint: str) -> Iterator[None]:
    """Say what helps where there is no room: not all that needs some is a download."""
    try:
        yield
    except StoreFull as error:
        error.hint = hint
        raise
