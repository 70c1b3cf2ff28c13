"""Part files: blobs that are still arriving.

A part file is a contiguous prefix of its blob, append-only and never preallocated; its size
is the progress. Whoever holds its lock writes it.
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
    """Lock a part file, or make it; None while another thread or process holds it.

    Raises `StoreError` for a file that has another name as well: appending would change that.
    """
    lock = lock_file(directory, name)
    if lock is None:
        return None
    if os.fstat(lock.descriptor).st_nlink > 1:
        lock.release()
        raise unsafe(directory.where(name), "has more than one hard link")
    return Part(directory, name, lock)


class Part:
    """A locked part file; one writer, any number of followers in the same process.

    It is the parent's in a forked child, where nothing can be done with it.
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
        """Where the file is."""
        return Path(self._directory.where(self.name))

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self._size

    def append(self, data: Buffer) -> None:
        """Write ``data`` at the end and tell the followers; what fits counts, if not all does."""
        view = memoryview(data).cast("B")
        at = self._size
        try:
            while view:
                count = os.pwrite(self._lock.descriptor, view, at)
                at += count
                view = view[count:]
        finally:
            with self._grown:
                self._size = at
                self._grown.notify_all()

    def restart(self) -> None:
        """Drop all that is there and begin anew; nobody may be following."""
        os.ftruncate(self._lock.descriptor, 0)
        self._size = 0
        self._finished = self._poisoned = False

    def finish(self) -> None:
        """Tell the followers that all has arrived."""
        with self._grown:
            self._finished = True
            self._grown.notify_all()

    def poison(self) -> None:
        """Make the followers fail: the rest will not arrive."""
        with self._grown:
            self._poisoned = True
            self._grown.notify_all()

    def follow(self) -> io.RawIOBase:
        """Read from the beginning, waiting for what is not there yet."""
        return _PartFollower(self)

    def read_at(self, buffer: Buffer, offset: int) -> int:
        """Wait for bytes at ``offset`` and read them; 0 at the end of a finished part."""
        with self._grown:
            while offset >= self._size and not self._finished and not self._poisoned:
                self._grown.wait()
            if self._poisoned:
                raise Cancelled("the download that is being followed has failed")
            available = self._size - offset
        view = memoryview(buffer).cast("B")[:available]
        return os.preadv(self._lock.descriptor, [view], offset) if available else 0

    def sync(self) -> None:
        """Make the content survive a loss of power; where that fails, throw it away.

        The system may report lost pages once: after a failure a second fsync can succeed
        without them (fsync(2), "Errors").
        """
        try:
            os.fsync(self._lock.descriptor)
        except OSError:
            self.discard()
            raise

    def seal(self) -> None:
        """Make the file read-only, once it has its name (a part must stay writable)."""
        os.fchmod(self._lock.descriptor, 0o444)

    def discard(self) -> None:
        """Remove the file, or empty it where it cannot be removed; the lock is still held."""
        if not self._lock.held:
            return
        try:
            self._directory.unlink(self.name)
        except OSError:
            self.restart()

    def close(self) -> None:
        """Let go of the lock; the file stays unless it was published or discarded."""
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
