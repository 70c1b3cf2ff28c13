"""The file or pipe that an archive is written to."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.archive.blob_part import Spool
from wherry.archive.tar_writer import FileTar, PipeTar
from wherry.archive.write_errors import check_parent
from wherry.content.output import StagedFile, opened
from wherry.errors import StoreError, Unsupported

if TYPE_CHECKING:
    from wherry.archive.entry import Entry
    from wherry.archive.tar_writer import TarWriter


class ArchiveFile:
    """A tar at a path: a new file, a file to replace, or a named pipe.

    Nothing is created or opened before the first use of `tar`. The file gets its name by
    `publish`.

    Args:
        path: The path; links in it are followed.
        first: The first entry of the tar, if there always is one.
        hint: What to try if the path is a directory.

    Raises:
        NotFound: The directory of the file does not exist.
        StoreError: The path is a directory.
        Unsupported: The path is a terminal.
    """

    def __init__(self, path: str, first: Entry | None = None, *, hint: str = "") -> None:
        self.path = Path(path)
        self._first = first
        self._opened = contextlib.ExitStack()
        self._staged: StagedFile | None = None
        self._tar: TarWriter | None = None
        self._is_pipe = self._check(hint)

    def _check(self, hint: str) -> bool:
        """Check the path; tell whether it is a pipe or a device.

        The link /dev/stdout may lead to a pipe that has no path.
        """
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return True
        self.path = Path(os.path.realpath(self.path))
        if stat.S_ISDIR(mode):
            raise StoreError("is a directory, a file is expected", hint=hint).within(self.path)
        check_parent(self.path)
        return False

    @property
    def tar(self) -> TarWriter:
        """The tar, which is opened now if need be."""
        if self._tar is None:
            self._tar = self._open()
            if self._first is not None:
                self._tar.add(self._first)
        return self._tar

    def _open(self) -> TarWriter:
        if not self._is_pipe:
            directory = self._opened.enter_context(opened(self.path.parent))
            self._staged = self._opened.enter_context(StagedFile(directory, self.path.name))
            return FileTar(self._staged.descriptor)
        file = os.open(self.path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        pipe = self._opened.enter_context(os.fdopen(file, "wb", buffering=0))
        if pipe.isatty():
            message = "cannot write an archive to a terminal"
            raise Unsupported(message, hint="name a file, or use a pipe")
        return PipeTar(pipe)

    def spool(self) -> Spool:
        """Return a spool beside the file, or in the directory of temporary files for a pipe."""
        return Spool(None if self._is_pipe else self.path.parent)

    def publish(self) -> None:
        """Finish the tar and give the file its name."""
        self.tar.finish()
        if self._staged is not None:
            self._staged.publish()

    def close(self) -> None:
        """Close the file; it is removed unless it was published."""
        self._opened.close()
