"""Copying the content of files within the kernel."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.unpack.entry import Entry

_FICLONE = 0x40049409  # ioctl_ficlonerange(2)


class Copier:
    """Copies files of one directory: as reflinks, where the file system can."""

    def __init__(self) -> None:
        self._clones = True
        self._sends = False

    def copy(self, source: int, target: int, entry: Entry) -> bool:
        """Copy what an entry says of a file; holes stay holes.

        Args:
            source: A descriptor of the file.
            target: A descriptor of an empty file.
            entry: The size of the file, and its ranges if it is sparse.

        Returns:
            False if the file is too short.
        """
        if self._clones:
            try:
                fcntl.ioctl(target, _FICLONE, source)
            except OSError:  # file systems and sandboxes report this with various numbers
                self._clones = False
            else:
                return os.fstat(target).st_size == entry.size
        if entry.extents is None:
            return self._copy_range(source, target, 0, entry.size)
        whole = all(self._copy_range(source, target, *extent) for extent in entry.extents)
        os.ftruncate(target, entry.size)
        return whole

    def _copy_range(self, source: int, target: int, offset: int, size: int) -> bool:
        while size > 0:
            done = self._copy_some(source, target, offset, size)
            if done == 0:
                return False
            offset += done
            size -= done
        return True

    def _copy_some(self, source: int, target: int, offset: int, size: int) -> int:
        if not self._sends:
            try:
                return os.copy_file_range(source, target, size, offset, offset)
            except OSError:
                self._sends = True  # between file systems, before Linux 5.3
        os.lseek(target, offset, os.SEEK_SET)
        return os.sendfile(target, source, offset, size)
