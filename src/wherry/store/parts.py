"""Part files: blobs that have not arrived completely.

A part file is a contiguous prefix of its blob. It only grows at its end and is never
preallocated, so its size is the progress. Only the holder of its lock writes to it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.content.growing_file import GrowingFile
from wherry.store.directory import unsafe
from wherry.store.locks import lock_file

if TYPE_CHECKING:
    from wherry.store.directory import Directory
    from wherry.store.locks import FileLock


def open_part(directory: Directory, name: str) -> Part | None:
    """Open or create a part file and lock it.

    Returns:
        The part file, or None while another thread or process has locked it.

    Raises:
        StoreError: The file has another hard link, which appending would change too.
    """
    lock = lock_file(directory, name)
    if lock is None:
        return None
    if os.fstat(lock.descriptor).st_nlink > 1:
        lock.release()
        raise unsafe(directory.where(name), "has more than one hard link")
    return Part(directory, name, lock)


class Part(GrowingFile):
    """A locked part file with one writer, and followers in the same process.

    A forked child cannot use the part file of its parent.
    """

    def __init__(self, directory: Directory, name: str, lock: FileLock) -> None:
        super().__init__(lock.descriptor, directory.where(name))
        self.name = name
        self._directory = directory
        self._lock = lock

    @property
    def path(self) -> Path:
        """The path of the file."""
        return Path(self._directory.where(self.name))

    def sync(self) -> None:
        """Flush the content to the disk; discard it if that fails.

        The kernel may report lost pages only once: after a failure, a second fsync can succeed
        although they are lost (fsync(2), "Errors").
        """
        try:
            os.fsync(self._lock.descriptor)
        except OSError as error:
            error.filename = str(self.path)
            self.discard()
            raise

    def seal(self) -> None:
        """Make the published file read-only; before that, a resumed part must be writable."""
        os.fchmod(self._lock.descriptor, 0o444)

    def discard(self) -> None:
        """Remove the file, or empty it if that fails; the lock stays held."""
        if not self._lock.held:
            return
        try:
            self._directory.unlink(self.name)
        except OSError:
            self.restart()

    def close(self) -> None:
        """Release the lock; the file stays unless it was published or discarded."""
        self._lock.release()
