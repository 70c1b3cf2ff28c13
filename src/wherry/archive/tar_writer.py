"""Writing tars without times and owners, so that they are reproducible."""

from __future__ import annotations

import abc
import contextlib
import functools
import os
import tarfile
from typing import TYPE_CHECKING

from wherry.archive.blob_part import FilePart, Spool, write_at
from wherry.archive.entry import Entry, Task
from wherry.archive.tar import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from wherry.content.protocols import GrowingBlob

_RECORD = 20 * BLOCK  # a tar ends with two empty blocks and padding to a whole record
_CHUNK = 1024 * 1024


class TarWriter(abc.ABC):
    """A tar whose members are written one after the other."""

    def __init__(self) -> None:
        self._at = 0

    def add(self, entry: Entry, content: Iterable[bytes | memoryview] = ()) -> None:
        """Write a member, with its data or with content of its size."""
        self._write(header(entry) + (entry.data or b""))
        for chunk in content:
            self._write(chunk)
        self._pad()

    def add_spool(self, name: str, spool: Spool) -> None:
        """Write a member from a spool."""
        self.add(Entry(name, size=spool.size), spool.chunks())

    def finish(self) -> None:
        """Write the end of the tar."""
        self._write(bytes(2 * BLOCK + -(self._at + 2 * BLOCK) % _RECORD))

    def _pad(self) -> None:
        self._write(bytes(-self._at % BLOCK))

    @abc.abstractmethod
    def member(self, name: str, size: int | None) -> AbstractContextManager[GrowingBlob]:
        """Yield a part to write a member to; if the block fails, the tar stays as it was.

        Args:
            name: The name of the member.
            size: Its size in bytes, as far as it is known.
        """

    @abc.abstractmethod
    def _write(self, data: bytes | memoryview) -> None:
        """Write all of ``data`` at the end."""


class FileTar(TarWriter):
    """A tar in an open file, empty at first."""

    def __init__(self, file: int) -> None:
        super().__init__()
        self._file = file

    @contextlib.contextmanager
    def member(self, name: str, size: int | None) -> Iterator[GrowingBlob]:
        """Yield a part of the file.

        The header is written after the content, so the size need not be known.
        """
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

    def reserve(self, entry: Entry) -> Task:
        """Leave the place of a member free; return the task that writes its content."""
        self._write(header(entry))
        part = FilePart(self._file, self._at)
        self._at += entry.size
        self._pad()
        return Task(entry.size, functools.partial(entry.write_to, part.append))

    def _write(self, data: bytes | memoryview) -> None:
        write_at(self._file, memoryview(data), self._at)
        self._at += len(data)


class PipeTar(TarWriter):
    """A tar in a pipe or another stream."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    @contextlib.contextmanager
    def member(self, name: str, _size: int | None) -> Iterator[GrowingBlob]:
        """Yield a spool, which is written when the member is complete."""
        with contextlib.closing(Spool(None)) as spool:
            yield spool
            self.add_spool(name, spool)

    def finish(self) -> None:
        """Write the end of the tar, and what the stream has buffered."""
        super().finish()
        self._file.flush()

    def _write(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) or 0 :]
        self._at += len(data)


def header(entry: Entry) -> bytes:
    """Make the header of a member."""
    info = tarfile.TarInfo(entry.name)
    info.mode = 0o644
    if entry.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
    elif entry.name.endswith("/"):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    else:
        info.size = entry.size if entry.data is None else len(entry.data)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def move_content(file: int, start: int, size: int, target: int) -> None:
    """Move ``size`` bytes of a file from ``start`` to ``target``, which may overlap."""
    offsets = range(0, size, _CHUNK)
    for offset in reversed(offsets) if target > start else offsets:
        data = os.pread(file, min(_CHUNK, size - offset), start + offset)
        write_at(file, memoryview(data), target + offset)
