"""Blobs that are being written: into a file, or into a spool until their place is known."""

from __future__ import annotations

import io
import os
import tempfile
from typing import TYPE_CHECKING

from wherry.content.pipeline import Limits, receive
from wherry.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import NoReturn

    from typing_extensions import Buffer

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob, GrowingBlob

IN_MEMORY = 256 * 1024  # bytes of a spool before it becomes a file
GRACE = 0.6  # seconds that a thread has to stop after an error
_CHUNK = 512 * 1024


def fill(
    part: GrowingBlob, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]
) -> int:
    """Write a blob to an empty part and verify it; return its size in bytes.

    Raises:
        IntegrityError: The content does not match the descriptor.
    """
    limits = Limits()
    try:
        found = receive(part, blob, follow=False, limits=limits, cancel=cancel, on_bytes=on_bytes)
    except IntegrityError:
        if not blob.joined():  # several connections may have sent different versions
            raise
        part.restart()
        found = receive(part, blob, follow=False, limits=limits, cancel=cancel, on_bytes=on_bytes)
    return found.size


def write_at(file: int, data: memoryview, position: int) -> None:
    """Write all of ``data`` at a position of a file."""
    while data:
        count = os.pwrite(file, data, position)
        position, data = position + count, data[count:]


class UnreadPart:
    """A part without followers."""

    size = 0

    def finish(self) -> None:
        """Do nothing: there are no followers."""

    def poison(self) -> None:
        """Do nothing: there are no followers."""

    def follow(self) -> NoReturn:
        """Raise `io.UnsupportedOperation`."""
        raise io.UnsupportedOperation("a blob in an archive is read when it is complete")


class FilePart(UnreadPart):
    """A blob that grows at the end of a file, from ``start``."""

    def __init__(self, file: int, start: int = 0) -> None:
        self._file = file
        self._start = start

    def append(self, data: Buffer) -> None:
        """Write ``data`` at the end of the file."""
        view = memoryview(data).cast("B")
        write_at(self._file, view, self._start + self.size)
        self.size += len(view)

    def restart(self) -> None:
        """Cut off what was written."""
        os.ftruncate(self._file, self._start)
        self.size = 0


class Spool(UnreadPart):
    """A blob in memory, or in a temporary file if it is larger than 256 KiB.

    Args:
        directory: Where the file is made; None for the directory of temporary files.
    """

    def __init__(self, directory: Path | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - `close` closes it
            IN_MEMORY, dir=None if directory is None else str(directory)
        )

    def append(self, data: Buffer) -> None:
        """Write ``data`` at the end."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        self.size += len(view)

    def restart(self) -> None:
        """Discard what was written."""
        self._file.seek(0)
        self._file.truncate()
        self.size = 0

    def chunks(self) -> Iterator[bytes]:
        """Yield the content from the start."""
        self._file.seek(0)
        while data := self._file.read(_CHUNK):
            yield data

    def read(self) -> bytes:
        """Return the whole content."""
        return b"".join(self.chunks())

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
