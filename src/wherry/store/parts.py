"""Part files: blobs that have not arrived completely.

A part file is a contiguous prefix of its blob. It only grows at its end and is never
preallocated, so its size is the progress. Only the holder of its lock writes to it.
"""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.errors import Cancelled
from wherry.store.directory import unsafe
from wherry.store.locks import lock_file

if TYPE_CHECKING:
    from typing_extensions import Buffer

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


class Part:
    """A locked part file with one writer, and followers in the same process.

    A forked child cannot use the part file of its parent.
    """

    def __init__(self, directory: Directory, name: str, lock: FileLock) -> None:
        self.name = name
        self._directory = directory
        self._lock = lock
        self._size = os.fstat(lock.descriptor).st_size
        self._grown = threading.Condition()
        self._finished = False
        self._poisoned = False

    @property
    def path(self) -> Path:
        """The path of the file."""
        return Path(self._directory.where(self.name))

    @property
    def size(self) -> int:
        """The number of bytes in the file."""
        return self._size

    def append(self, data: Buffer) -> None:
        """Write ``data`` at the end and wake the followers.

        If the disk becomes full, `size` includes the bytes that fit.
        """
        view = memoryview(data).cast("B")
        at = self._size
        try:
            while view:
                count = os.pwrite(self._lock.descriptor, view, at)
                at += count
                view = view[count:]
        except OSError as error:
            error.filename = str(self.path)
            raise
        finally:
            with self._grown:
                self._size = at
                self._grown.notify_all()

    def restart(self) -> None:
        """Empty the file and start again; no thread may be following it."""
        os.ftruncate(self._lock.descriptor, 0)
        self._size = 0
        self._finished = self._poisoned = False

    def finish(self) -> None:
        """Tell the followers that the blob is complete."""
        with self._grown:
            self._finished = True
            self._grown.notify_all()

    def poison(self) -> None:
        """Make the followers fail, because the rest will not arrive."""
        with self._grown:
            self._poisoned = True
            self._grown.notify_all()

    def follow(self) -> io.RawIOBase:
        """Return a stream from the first byte, which waits for bytes that have not arrived."""
        return _PartFollower(self)

    def read_at(self, buffer: Buffer, offset: int) -> int:
        """Wait for bytes at ``offset`` and read them; return 0 at the end of a complete blob."""
        with self._grown:
            while offset >= self._size and not self._finished and not self._poisoned:
                self._grown.wait()
            if self._poisoned:
                raise Cancelled("the download that is being followed has failed")
            available = self._size - offset
        view = memoryview(buffer).cast("B")[:available]
        return os.preadv(self._lock.descriptor, [view], offset) if available else 0

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


class _PartFollower(io.RawIOBase):
    def __init__(self, part: Part) -> None:
        self._part = part
        self._offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        count = self._part.read_at(buffer, self._offset)
        self._offset += count
        return count
