"""The files of a tar in a file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from typing import TYPE_CHECKING

from wherry.archive.detect import link_error, no_archive
from wherry.archive.members import Members, find
from wherry.archive.os_files import KINDS, FileRange, translate_os_errors
from wherry.archive.tar import NotATar, UnsafeLink, members
from wherry.content.codec import decompress, detect
from wherry.content.protocols import Opened
from wherry.content.streams import CountingReader
from wherry.content.verify import RawLimit
from wherry.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from wherry.archive.tar import Member
    from wherry.content.cancel import CancelToken

_CHUNK = 1024 * 1024
# A copy of an archive does not belong in memory, and /tmp may be in memory.
_MEMORY, _DISK = "/tmp", "/var/tmp"  # noqa: S108 - temporary files have no names


class TarFiles:
    """The files of a tar. One pass over the tar finds them all.

    A compressed tar is decompressed into a temporary file without a name. The size of that file
    is limited in the same way as the size of a decompressed layer.
    """

    streamed = False

    def __init__(self, path: str, cancel: CancelToken) -> None:
        self.path = path
        with translate_os_errors(path), contextlib.ExitStack() as opened:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(lambda: os.close(self._file))  # the archive or its copy
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise StoreError("is not a regular file", hint=KINDS).within(path)
            if not os.fstat(self._file).st_size:
                raise no_archive(path, "is empty")
            try:
                if detect(os.pread(self._file, 8, 0)) is not None:
                    copy = _decompressed_copy(self._file, cancel)
                    os.close(self._file)
                    self._file = copy
                self._members, self.ended = _index(path, self._file, cancel)
            except NotATar:
                raise no_archive(path) from None
            except IntegrityError as error:
                raise error.within(path) from None
            opened.pop_all()

    def names(self) -> Iterable[str]:
        """Return the names of all files and links."""
        return self._members

    def real(self, name: str) -> str:
        """Return the name of the file that a link points to."""
        return self._find(name).name

    def digest(self, _name: str) -> None:
        """Return None: only headers have been read."""

    def size(self, name: str) -> int:
        """Return a file's size in bytes; raises `NotFound` and `UnsafeArchive`."""
        return self._find(name).size

    def open(self, name: str, offset: int = 0) -> Opened:
        """Open a file at ``offset``; raises as `size` does."""
        member = self._find(name)
        begin = member.offset or 0
        source = FileRange(self.path, os.dup(self._file), begin + offset, begin + member.size)
        return Opened(source, offset, member.size)

    def close(self) -> None:
        """Close the archive."""
        with translate_os_errors(self.path):
            os.close(self._file)

    def _find(self, name: str) -> Member:
        return find(self.path, self._members, name)


def _index(path: str, file: int, cancel: CancelToken) -> tuple[dict[str, Member], bool]:
    """Find all files and links of a tar, and whether it has an end-of-archive marker."""
    found = Members()
    source = _SeekableTar(file)

    def digest(member: Member) -> str:
        begin = member.offset or 0
        stream = FileRange(path, os.dup(file), begin, begin + member.size)
        with contextlib.closing(stream):
            hasher = hashlib.sha256()
            while data := stream.read1(_CHUNK):
                cancel.check()
                hasher.update(data)
        return hasher.hexdigest()

    try:
        for member in members(source):
            cancel.check()
            found.add(member)
    except UnsafeLink as error:
        raise link_error(path, found.found, error) from None
    found.check(path, digest)
    return found.found, source.ended


class _SeekableTar:
    """A tar in a file, for `members`."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._size = os.fstat(file).st_size
        self.position = 0
        self.ended = False

    def read(self, count: int) -> bytes:
        data = os.pread(self._file, count, self.position)
        self.position += len(data)
        return data

    def skip_to(self, position: int) -> None:
        if position > self._size:
            raise IntegrityError(
                f"the archive is cut off: it ends at byte {self._size:,}",
                expected=f"{position} bytes",
                actual=str(self._size),
            )
        self.position = position


def _decompressed_copy(file: int, cancel: CancelToken) -> int:
    """Decompress an archive into a temporary file and return its descriptor."""
    buffer = bytearray(_CHUNK)
    total = 0
    with os.fdopen(os.dup(file), "rb", buffering=0) as source, _temporary_file() as target:
        source.seek(0)
        compressed = CountingReader(source)
        stream = decompress(compressed, cancel.check)
        while count := stream.readinto(buffer):
            cancel.check()
            total += count
            limit = RawLimit().of(compressed.size)
            if total > limit:
                raise IntegrityError(
                    f"the archive decompresses to more than {limit:,} bytes",
                    expected=f"at most {limit} bytes",
                    actual="more",
                )
            target.write(memoryview(buffer)[:count])
        target.flush()
        return os.dup(target.fileno())


def _temporary_file() -> IO[bytes]:
    directory = tempfile.gettempdir()
    if directory == _MEMORY and os.access(_DISK, os.W_OK):
        directory = _DISK
    return tempfile.TemporaryFile(dir=directory)
