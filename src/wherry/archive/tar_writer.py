"""Writing the members of a tar one after the other, as their content arrives."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from wherry.archive.blob_part import FilePart, Spool
from wherry.archive.writer import Entry, ending, header, padding, write_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.content.protocols import GrowingBlob

_CHUNK = 1024 * 1024


class TarWriter:
    """A tar in an open file, empty at first, or in a pipe.

    In a file, the header of a member is written after its content, so its size need not be known.
    A pipe gets a member from a spool, when the member is complete.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._is_file = stat.S_ISREG(os.fstat(file).st_mode)
        self._at = 0

    def add(self, entry: Entry) -> None:
        """Write a document, a link or a directory."""
        self._write(header(entry) + (entry.data or b""))
        self._pad()

    def add_spool(self, name: str, spool: Spool) -> None:
        """Write a member from a spool."""
        self._write(header(Entry(name, size=spool.size)))
        for chunk in spool.chunks():
            self._write(chunk)
        self._pad()

    @contextlib.contextmanager
    def member(self, name: str, size: int | None) -> Iterator[GrowingBlob]:
        """Yield a part to write a member to; if the block fails, the tar stays as it was.

        Args:
            name: The name of the member.
            size: Its size in bytes, as far as it is known.
        """
        if not self._is_file:
            with contextlib.closing(Spool(None)) as spool:
                yield spool
                self.add_spool(name, spool)
            return
        start = self._at
        content = start + len(header(Entry(name, size=size or 0)))
        part = FilePart(self._file, content)
        try:
            yield part
        except BaseException:
            os.ftruncate(self._file, start)
            raise
        head = header(Entry(name, size=part.size))
        if start + len(head) != content:  # 8 GiB and more take a longer header
            move_content(self._file, content, part.size, start + len(head))
        write_at(self._file, memoryview(head), start)
        self._at = start + len(head) + part.size
        self._pad()

    def finish(self) -> None:
        """Write the end of the tar."""
        self._write(bytes(ending(self._at)))

    def _pad(self) -> None:
        self._write(bytes(padding(self._at)))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        if self._is_file:
            write_at(self._file, left, self._at)
        else:
            while left:
                left = left[os.write(self._file, left) :]
        self._at += len(data)


def move_content(file: int, start: int, size: int, target: int) -> None:
    """Move ``size`` bytes of a file from ``start`` to ``target``, which may overlap."""
    offsets = range(0, size, _CHUNK)
    for offset in reversed(offsets) if target > start else offsets:
        data = os.pread(file, min(_CHUNK, size - offset), start + offset)
        write_at(file, memoryview(data), target + offset)
