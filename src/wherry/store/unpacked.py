"""Unpacked layers in a store: a cache, in one directory for each user.

What is in it was verified when it was unpacked, and is not hashed again. So only its user may be
able to write it: root, or another user of the same store, has a directory of their own.

The directory of a layer is complete once it has its name. It is locked with ``flock`` while it is
in use.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.content.output import StagedDirectory, is_staged
from wherry.content.remove_tree import remove_tree
from wherry.store.directory import DIRECTORY_FLAGS, PRIVATE_DIRECTORY_MODE, unsafe

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Container, Iterator

    from wherry.model.digest import Digest
    from wherry.store.directory import Directory

DIRECTORY = "unpacked"
_USER = re.compile(r"[0-9]{1,10}")
_LAYER = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64,128})\.[0-9a-z]+")
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY}
# What other users have, or have put there.
_NOT_OURS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP}


class UnpackedLayers:
    """The unpacked layers of this user; the directory is made if there is none.

    Raises:
        StoreError: Other users can write the directory.
        OSError: The store cannot be written.
    """

    def __init__(self, root: Directory) -> None:
        parent = root.child(DIRECTORY, make=True)
        name = str(os.geteuid())
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, PRIVATE_DIRECTORY_MODE, dir_fd=parent.fd)
        self._directory = parent.child(name)
        about = self._directory.status
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise unsafe(self._directory.path, "belongs to another user, or is not private")

    def open(self, diff_id: Digest, variant: str) -> int | None:
        """Open the directory of a layer; None if there is none.

        The directory stays until the descriptor is closed.

        Args:
            diff_id: The DiffID of the layer.
            variant: How it is unpacked, in letters and digits.
        """
        name = _name(diff_id, variant)
        try:
            found = os.open(name, DIRECTORY_FLAGS, dir_fd=self._directory.fd)
        except FileNotFoundError:
            return None
        fcntl.flock(found, fcntl.LOCK_SH)  # waits for a process that is removing it
        if _is_at(found, self._directory.fd, name):
            return found
        os.close(found)
        return None

    def add(self, diff_id: Digest, variant: str, write: Callable[[int], None]) -> None:
        """Add a layer, unless another process has added it meanwhile.

        The content is on the disk before the directory has its name.

        Args:
            diff_id: As for `open`.
            variant: As for `open`.
            write: Writes into the open directory that it gets.

        Raises:
            OSError: The store cannot be written; nothing of the layer is left.
        """
        place = Path(f"/proc/self/fd/{self._directory.fd}") / _name(diff_id, variant)
        with StagedDirectory(place) as staged:
            write(staged.descriptor)
            _sync_file_system(staged.descriptor)
            try:
                staged.publish(syncs=False)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise


def measure(root: Directory) -> tuple[int, int]:
    """Return the number of unpacked layers that this user can read, and their bytes."""
    sizes = [_size(found) for _, name, found in _directories(root) if not is_staged(name)]
    return len(sizes), sum(sizes)


def sweep(root: Directory, kept: Container[str], *, dry_run: bool) -> tuple[int, int]:
    """Remove layers that are not in use, and what killed processes left.

    Args:
        root: The directory of the store.
        kept: The DiffIDs of the layers that stay, as text.
        dry_run: Whether to change nothing.

    Returns:
        Their number and their bytes.
    """
    sizes = []
    for parent, name, found in _directories(root):
        if _diff_id(name) not in kept and _is_unused(found) and _is_at(found, parent, name):
            sizes.append(_size(found))
            if not dry_run:
                _remove(parent, name)
    return len(sizes), sum(sizes)


def diff_ids(connection: sqlite3.Connection, lost: Container[str]) -> set[str]:
    """Return the DiffIDs of all layers except those that are among the blobs ``lost``."""
    rows = connection.execute("SELECT digest, diff_id FROM blobs")
    return {diff_id or digest for digest, diff_id in rows if digest not in lost}


def _name(diff_id: Digest, variant: str) -> str:
    return f"{diff_id.algorithm}-{diff_id.hex}.{variant}"


def _diff_id(name: str) -> str:
    """Return the DiffID of a layer by the name of its directory."""
    return name.partition(".")[0].replace("-", ":")


def _remove(parent: int, name: str) -> None:
    """Remove a directory; it loses its name first, so that no process sees a part of it."""
    if not is_staged(name):
        aside = f".wherry-{os.urandom(8).hex()}.part"
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
        name = aside
    remove_tree(name, parent)


def _directories(root: Directory) -> Iterator[tuple[int, str, int]]:
    """Yield each directory of a layer: what has it, open, its name, and itself, open."""
    try:
        users = root.child(DIRECTORY)
    except FileNotFoundError:
        return
    for user in sorted(filter(_USER.fullmatch, users.names())):
        for parent in _opened(user, users.fd):
            for name in sorted(os.listdir(parent)):  # noqa: PTH208 - a descriptor
                if _LAYER.fullmatch(name) or is_staged(name):
                    for found in _opened(name, parent):
                        yield parent, name, found


def _opened(name: str, parent: int) -> Iterator[int]:
    """Yield a directory, open until the next step; nothing for what others have put there."""
    try:
        found = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return
    try:
        yield found
    finally:
        os.close(found)


def _size(directory: int) -> int:
    """Return the bytes that a directory takes on the disk, those of hard links included."""
    with os.scandir(directory) as entries:
        return sum(map(_blocks, entries))


def _blocks(entry: os.DirEntry[str]) -> int:
    with contextlib.suppress(FileNotFoundError):
        return entry.stat(follow_symlinks=False).st_blocks * 512
    return 0


def _is_unused(descriptor: int) -> bool:
    """Lock a directory; False if it is in use, or is being removed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, parent: int, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)


def _sync_file_system(descriptor: int) -> None:
    """Flush a file system to the disk (syncfs(2)): one call for thousands of files."""
    import ctypes  # slow to import

    library = ctypes.CDLL(None, use_errno=True)
    if library.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
