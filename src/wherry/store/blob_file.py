"""Stored blobs that are open for reading."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from wherry.store.os_errors import translate_os_errors

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Buffer


class BlobFile(io.FileIO):
    """A file whose methods raise `StoreError` instead of `OSError`."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor)
        self._path = path

    def readinto(self, buffer: Buffer, /) -> int:
        """Read into ``buffer`` once; return the number of bytes, 0 at the end."""
        with translate_os_errors(self._path):
            return super().readinto(buffer)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes, or all with None or -1."""
        with translate_os_errors(self._path):
            return super().read(-1 if size is None else size)

    def readall(self) -> bytes:
        """Read the rest of the file."""
        with translate_os_errors(self._path):
            return super().readall()

    def close(self) -> None:
        """Close the file."""
        with translate_os_errors(self._path):
            super().close()
