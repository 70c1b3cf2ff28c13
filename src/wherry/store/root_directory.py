"""The root directory of a store: opened or made by its path."""

from __future__ import annotations

import contextlib
import os
import stat

from wherry.errors import StoreError
from wherry.store.directory import (
    DIRECTORY_FLAGS,
    DIRECTORY_MODE,
    Directory,
    check_mode,
    kind_of,
    unsafe,
)


def open_store(path: str) -> Directory:
    """Open the directory of a store; links in ``path`` are followed, once.

    Raises:
        FileNotFoundError: The directory does not exist.
        StoreError: The path is not a directory, every user can write to it, or the path is a link
            that another user made.
    """
    link = os.lstat(path)
    real = os.path.realpath(path)
    try:
        opened = Directory(real, os.open(real, DIRECTORY_FLAGS))
    except NotADirectoryError:
        raise StoreError(
            f"{kind_of(os.stat(real))}, a store is a directory",  # noqa: PTH116 - a string
            hint="choose another place with --store or WHERRY_STORE",
        ).within(path) from None
    # The rule of Linux's protected_symlinks (proc_sys_fs(5)): a third user may change where the
    # link leads.
    owners = {os.geteuid(), opened.status.st_uid, 0}
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in owners:
        raise unsafe(path, f"is a link that another user made (uid {link.st_uid})")
    check_mode(opened)
    return opened


def make_store(path: str) -> None:
    """Make the directory of a store and its parents, and flush their names to the disk.

    Idempotent.
    """
    missing = []
    while path and not os.path.isdir(path):  # noqa: PTH112 - a string
        missing.append(path)
        path = os.path.dirname(path)  # noqa: PTH120 - as above
    for each in reversed(missing):  # a loop, because a path may have 2,000 parts
        _make_directory(each)


def _make_directory(path: str) -> None:
    parent = os.path.dirname(path)  # noqa: PTH120 - as above
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, DIRECTORY_MODE)  # noqa: PTH102 - as above
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 - as above
        raise StoreError(f"is a link to {os.readlink(path)}, which does not exist").within(path)  # noqa: PTH115 - as above
    try:
        _fsync_directory(parent)
    except OSError:
        with contextlib.suppress(OSError):  # the next attempt would skip the sync
            os.rmdir(path)  # noqa: PTH106 - as above
        raise


def _fsync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
