"""Opening the files of archives, and errors of the file system about them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from io import FileIO
from typing import TYPE_CHECKING

from wherry.content.small_file import is_null, kind_of
from wherry.errors import NotFound, StoreError, StoreFull, UnsafeArchive

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = "oci: and dir: are directories, oci-archive: and docker-archive: are files"


@contextlib.contextmanager
def translate_os_errors(path: str) -> Iterator[None]:
    """Turn errors of the file system about an archive into `WherryError`."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound("no such file or directory").within(path) from None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise UnsafeArchive(
                "a parent of it is a link or not a directory", member=path
            ) from None
        message = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = "compressed archives are unpacked aside; make room, or set TMPDIR"
            raise StoreFull(message, hint=hint).within(path) from error
        raise StoreError(message).within(path) from error


class FileRange:
    """A stream from ``start`` to ``end`` of a file; closes the descriptor."""

    def __init__(self, path: str, descriptor: int, start: int, end: int | None = None) -> None:
        self._path = path
        self._descriptor: int | None = descriptor
        self._at = start
        self._end = end

    def read1(self, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        if self._descriptor is None:
            return b""
        if self._end is not None:
            size = min(size, self._end - self._at)
        with translate_os_errors(self._path):
            data = os.pread(self._descriptor, size, self._at) if size > 0 else b""
        self._at += len(data)
        return data

    def close(self) -> None:
        """Close the file; idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with translate_os_errors(self._path):
                os.close(descriptor)


def open_stream(path: str) -> FileIO:
    """Open a file or a FIFO that is read once from front to back.

    /dev/null is an empty file. Opening a FIFO waits for a writer.

    Raises:
        StoreError: The path is a device or a socket, or it cannot be opened.
    """
    with translate_os_errors(path):
        check_stream(path, os.stat(path))  # noqa: PTH116 - a string
        file = FileIO(os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
        check_stream(path, os.fstat(file.fileno()))
    return file


def check_stream(path: str, status: os.stat_result) -> None:
    """Raise `StoreError` for a socket, and for a device, which may have no end."""
    kind = kind_of(status.st_mode)
    if kind and not is_null(status) and not stat.S_ISFIFO(status.st_mode):
        raise StoreError(
            f"{kind}; a file, a directory or a pipe is expected",
            hint="a tape or disk can be read through a pipe: dd if=DEVICE | wherry …",
        ).within(path)
