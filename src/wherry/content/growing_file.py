"""A file that grows at its end while other threads read it."""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING

from wherry.errors import Cancelled

if TYPE_CHECKING:
    from typing_extensions import Buffer


class GrowingFile:
    """A file with one writer, and followers in the same process.

    Args:
        descriptor: The open file; what it has counts as written.
        name: The path for errors; empty for a file without a name.
    """

    def __init__(self, descriptor: int, name: str = "") -> None:
        self._descriptor = descriptor
        self._name = name
        self._size = os.fstat(descriptor).st_size
        self._grown = threading.Condition()
        self._finished = False
        self._poisoned = False

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
                count = os.pwrite(self._descriptor, view, at)
                at += count
                view = view[count:]
        except OSError as error:
            error.filename = self._name or None
            raise
        finally:
            with self._grown:
                self._size = at
                self._grown.notify_all()

    def restart(self) -> None:
        """Empty the file and start again; no thread may be following it."""
        os.ftruncate(self._descriptor, 0)
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
        return _Follower(self)

    def read_at(self, buffer: Buffer, offset: int) -> int:
        """Wait for bytes at ``offset`` and read them; return 0 at the end of a complete blob."""
        with self._grown:
            while offset >= self._size and not self._finished and not self._poisoned:
                self._grown.wait()
            if self._poisoned:
                raise Cancelled("the download that is being followed has failed")
            available = self._size - offset
        view = memoryview(buffer).cast("B")[:available]
        return os.preadv(self._descriptor, [view], offset) if available else 0


class _Follower(io.RawIOBase):
    def __init__(self, file: GrowingFile) -> None:
        self._file = file
        self._offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        count = self._file.read_at(buffer, self._offset)
        self._offset += count
        return count
