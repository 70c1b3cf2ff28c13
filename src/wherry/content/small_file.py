"""Reading small files that a user names, such as settings and certificates.

Such a path may lead to a FIFO, a device or a huge file. It is opened without waiting, its type is
checked, and it is read up to a limit.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE = 4 * 2**20  # bytes that are read of a file
PIPE_SECONDS = 15.0  # for the writer of a FIFO, as in `--authfile <(pass show)`
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK = 64 * 1024
_KINDS = (
    (stat.S_ISFIFO, "is a FIFO"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISCHR, "is a device"),
)


def read_small(path: Path, limit_bytes: int = MAX_FILE) -> bytes:
    """Read a whole file, or a FIFO that another process writes and closes in time.

    Raises:
        OSError: The file cannot be opened or read, or has more than ``limit_bytes``. It is a
            directory, a socket, a device other than /dev/null, or a FIFO without data.
            ``strerror`` gives the reason.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _refused(path, kind_of(path.stat().st_mode)) from None
        raise
    try:
        found = os.fstat(descriptor)
        if stat.S_ISFIFO(found.st_mode):
            return _read_pipe(path, descriptor, limit_bytes)
        _check(path, found, limit_bytes)
        return _read(path, descriptor, limit_bytes)
    finally:
        os.close(descriptor)


def check_regular(path: Path, limit_bytes: int) -> None:
    """Raise `OSError` for a path that a library must not open itself."""
    found = path.stat()
    if stat.S_ISFIFO(found.st_mode):
        raise _refused(path, "is a FIFO; a file is expected")
    _check(path, found, limit_bytes)


def kind_of(mode: int) -> str:
    """Describe a FIFO, socket or device; empty for a file or directory."""
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "")


def is_null(found: os.stat_result) -> bool:
    """Tell whether a file is /dev/null, which counts as an empty file."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)


def _check(path: Path, found: os.stat_result, limit_bytes: int) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode) and not is_null(found):
        raise _refused(path, f"{kind_of(found.st_mode)}; a file is expected")
    if found.st_size > limit_bytes:
        raise _too_large(path, limit_bytes)


def _read(path: Path, descriptor: int, limit_bytes: int) -> bytes:
    found = bytearray()
    while len(found) <= limit_bytes:
        data = os.read(descriptor, min(_CHUNK, limit_bytes + 1 - len(found)))
        if not data:
            return bytes(found)
        found += data
    raise _too_large(path, limit_bytes)


def _read_pipe(path: Path, descriptor: int, limit_bytes: int) -> bytes:
    found, ends = bytearray(), time.monotonic() + PIPE_SECONDS
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(found) <= limit_bytes:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:  # a process has it open for writing
            left = ends - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                fact = f"is a FIFO that is not closed within {PIPE_SECONDS:.0f} s"
                raise _refused(path, fact) from None
            continue
        if data:
            found += data
        elif found:
            return bytes(found)
        else:
            raise _refused(path, "is a FIFO that nothing is written to")
        if time.monotonic() > ends:
            raise _refused(path, f"is a FIFO that is not closed within {PIPE_SECONDS:.0f} s")
    raise _too_large(path, limit_bytes)


def _refused(path: Path, fact: str) -> OSError:
    return OSError(errno.EINVAL, fact, str(path))


def _too_large(path: Path, limit_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"over {limit_bytes >> 20} MiB", str(path))
