"""Reading a decompressed layer in pieces, from front to back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError
from wherry.unpack.entry import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.unpack.entry import Entry


class LayerReader:
    """Bytes that arrive in pieces.

    Args:
        next_piece: Returns the next bytes, none at the end. They stay valid until the next call.

    Attributes:
        member: The name of the member that is being read, for errors.
    """

    member = b""

    def __init__(self, next_piece: Callable[[], memoryview]) -> None:
        self._next = next_piece
        self._piece = memoryview(b"")
        self._at = 0
        self._before = 0  # bytes of the pieces before this one

    @property
    def position(self) -> int:
        """The number of bytes before the next one."""
        return self._before + self._at

    def _advance(self) -> bool:
        """Go on to the next piece; False at the end."""
        self._before += len(self._piece)
        self._piece, self._at = self._next(), 0
        return len(self._piece) > 0

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer only at the end."""
        at = self._at
        found = bytes(self._piece[at : at + count])
        self._at = at + len(found)
        if len(found) == count:
            return found
        parts = [found]
        count -= len(found)
        while count > 0 and self._advance():
            part = bytes(self._piece[:count])
            self._at = len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes; raises `IntegrityError` if the layer is cut off."""
        found = self.read(count)
        if len(found) < count:
            raise self._cut_off()
        return found

    def content(self, count: int) -> Iterator[memoryview]:
        """Yield the next ``count`` bytes in pieces, each valid until the next one.

        Raises:
            IntegrityError: The layer is cut off.
        """
        while count > 0:
            if self._at == len(self._piece) and not self._advance():
                raise self._cut_off()
            piece = self._piece[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            yield piece

    def link(self, _name: bytes, _parent: int) -> bool:
        """Return False: there is no file that a link could lead to."""
        return False

    def write(self, entry: Entry, file: int) -> None:
        """Write the content of a file, which is next, into an empty file; holes stay holes.

        Raises:
            IntegrityError: The layer is cut off.
        """
        if entry.extents is None:
            self._write(entry.size, file)
            return
        for extent in entry.extents:
            os.lseek(file, extent.offset, os.SEEK_SET)
            self._write(extent.size, file)
        os.ftruncate(file, entry.size)

    def _write(self, size: int, file: int) -> None:
        for piece in self.content(size):
            done = os.write(file, piece)
            while done < len(piece):
                done += os.write(file, piece[done:])

    def skip_to(self, position: int) -> None:
        """Move forward; raises `IntegrityError` if the layer ends before ``position``."""
        while (missing := position - self.position) > 0:
            room = len(self._piece) - self._at
            if missing <= room:
                self._at += missing
                return
            self._at += room
            if not self._advance():
                raise self._cut_off()

    def drain(self) -> None:
        """Read to the end, so that the whole layer is verified."""
        while self._advance():
            pass

    def _cut_off(self) -> IntegrityError:
        error = IntegrityError(
            f"the layer is cut off at byte {self.position:,}",
            expected="a whole tar",
            actual=f"{self.position} bytes",
        )
        return error.within(shown(self.member)) if self.member else error
