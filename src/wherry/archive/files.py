"""The files of an archive or layout, by name: below a directory, or in a tar."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from io import FileIO
from typing import TYPE_CHECKING

from wherry.archive.detect import no_archive, outside
from wherry.archive.members import Members, find
from wherry.archive.tar import MAX_HOPS, NotATar, UnsafeLink, linked, members, normal
from wherry.content.codec import decompress, detect
from wherry.content.protocols import CountingReader, Opened
from wherry.content.read_blob import DAMAGED
from wherry.content.small_file import is_null, kind_of
from wherry.content.verify import RawLimit
from wherry.errors import (
    IntegrityError,
    InvalidDocument,
    NotFound,
    StoreError,
    StoreFull,
    UnsafeArchive,
    Unsupported,
)
from wherry.model._fields import MAX_DOCUMENT
from wherry.model.manifest import parse_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO, Protocol

    from wherry.archive.tar import Member
    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document

    class Files(Protocol):
        """Named files, all inside of one archive or directory; ``path`` is where that is."""

        path: str
        ended: bool  # False for a tar that lacks the marker of its end

        def names(self) -> Iterable[str]:
            """Return the names of all files and links, in no order."""
            ...

        def size(self, name: str) -> int:
            """Return a file's size in bytes; raises `NotFound` and `UnsafeArchive`."""
            ...

        def real(self, name: str) -> str:
            """Return the name of the file that a link leads to, where that is known."""
            ...

        def open(self, name: str, offset: int = 0) -> Opened:
            """Open a file at ``offset``; raises as `size` does."""
            ...

        def digest(self, name: str) -> Digest | None:
            """Return the sha256 of a file where it is known already; None elsewhere."""
            ...

        def close(self) -> None:
            """Close what is open; streams that were handed out end."""
            ...


MAX_DOCUMENTS = 64 * 2**20  # bytes of documents of one archive that are kept in memory
_CHUNK = 1024 * 1024
_KINDS = "oci: and dir: are directories, oci-archive: and docker-archive: are files"
# Memory is no place for a copy of an archive, and /tmp may be that.
_MEMORY, _DISK = "/tmp", "/var/tmp"  # noqa: S108 - temporary files have no names


def read(files: Files, name: str) -> bytes:
    """Return a document or config: its first 4 MiB and a byte."""
    stream = files.open(name).stream
    found = bytearray()
    try:
        while len(found) <= MAX_DOCUMENT and (
            data := stream.read1(min(_CHUNK, MAX_DOCUMENT + 1 - len(found)))
        ):
            found += data
    finally:
        stream.close()
    return bytes(found)


def read_document(files: Files, name: str, digest: Digest, media_type: str) -> Document:
    """Return the document in a file; raises `IntegrityError` and what `parse` does."""
    try:
        return parse_named(digest, read(files, name), media_type)
    except IntegrityError as error:
        error.hint = error.hint or DAMAGED
        raise error.within(files.path, name) from None
    except (InvalidDocument, Unsupported) as error:
        raise error.within(files.path, name) from None


def has(files: Files, name: str) -> bool:
    """Tell whether there is a file of this name."""
    try:
        files.size(name)
    except NotFound:
        return False
    return True


class DirectoryFiles:
    """The files below a directory. Links are followed as long as they stay inside of it."""

    ended = True

    def __init__(self, path: str) -> None:
        self.path = path
        with translated(path):
            if stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a string
                raise StoreError("is a file, a directory is expected", hint=_KINDS).within(path)
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def names(self) -> Iterable[str]:
        """Return the names of what is at the top."""
        with os.scandir(self._root) as entries:
            return [entry.name for entry in entries]

    def real(self, name: str) -> str:
        """Return the normal name; links are followed when a file is opened."""
        return normal(name)

    def digest(self, _name: str) -> None:
        """Return nothing: no file has been read."""

    def size(self, name: str) -> int:
        """Return a file's size in bytes; raises `NotFound` and `UnsafeArchive`."""
        descriptor = self._descriptor(name)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def open(self, name: str, offset: int = 0) -> Opened:
        """Open a file at ``offset``; raises as `size` does."""
        descriptor = self._descriptor(name)
        source = _FileRange(self.path, descriptor, offset)
        return Opened(source, offset, os.fstat(descriptor).st_size)

    def close(self) -> None:
        """Close the directory."""
        with translated(self.path):
            os.close(self._root)

    def _descriptor(self, name: str) -> int:
        with translated(f"{self.path}/{name}"):
            at = normal(name)
            for _ in range(MAX_HOPS):
                found = self._step(at)
                if isinstance(found, int):
                    return found
                at = linked(at, found)
        raise UnsafeArchive("links that lead to links without end", member=name)

    def _step(self, name: str) -> int | str:
        """Open a file step by step, so that no link is followed; return one's target instead."""
        *parents, leaf = name.split("/")
        with contextlib.ExitStack() as opened:
            at = self._root
            for part in parents:
                at = os.open(part, _DIRECTORY, dir_fd=at)
                opened.callback(os.close, at)
            try:
                found = os.open(leaf, _FILE, dir_fd=at)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    raise _no_file(f"{self.path}/{name}") from None  # a socket
                if error.errno != errno.ELOOP:
                    raise
                return os.readlink(leaf, dir_fd=at)
        if not stat.S_ISREG(os.fstat(found).st_mode):
            os.close(found)
            raise _no_file(f"{self.path}/{name}")
        return found


def _no_file(member: str) -> UnsafeArchive:
    return UnsafeArchive("is no regular file", member=member)


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a fifo must not block


class TarFiles:
    """The files of a tar, found in one pass over it; a compressed one is unpacked aside.

    The copy of a compressed archive lies in a temporary file without a name, and is bounded
    as layers are.
    """

    def __init__(self, path: str, cancel: CancelToken) -> None:
        self.path = path
        with translated(path), contextlib.ExitStack() as opened:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(lambda: os.close(self._file))  # whichever it is by then
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise StoreError("is no regular file", hint=_KINDS).within(path)
            if not os.fstat(self._file).st_size:
                raise no_archive(path, "is empty")
            try:
                if detect(os.pread(self._file, 8, 0)) is not None:
                    spooled = _spool(self._file, cancel)
                    os.close(self._file)
                    self._file = spooled
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
        """Return the name of the file that a link leads to."""
        return self._find(name).name

    def digest(self, _name: str) -> None:
        """Return nothing: only headers have been read."""

    def size(self, name: str) -> int:
        """Return a file's size in bytes; raises `NotFound` and `UnsafeArchive`."""
        return self._find(name).size

    def open(self, name: str, offset: int = 0) -> Opened:
        """Open a file at ``offset``; raises as `size` does."""
        member = self._find(name)
        begin = member.offset or 0
        source = _FileRange(self.path, os.dup(self._file), begin + offset, begin + member.size)
        return Opened(source, offset, member.size)

    def close(self) -> None:
        """Close the archive."""
        with translated(self.path):
            os.close(self._file)

    def _find(self, name: str) -> Member:
        return find(self.path, self._members, name)


def _index(path: str, file: int, cancel: CancelToken) -> tuple[dict[str, Member], bool]:
    """Find all files and links of a tar, and whether it has the marker of its end."""
    found = Members()
    source = _SeekableTar(file)

    def digest(member: Member) -> str:
        begin = member.offset or 0
        stream = _FileRange(path, os.dup(file), begin, begin + member.size)
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
        raise outside(path, found.found, error) from None
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


class _FileRange:
    """The bytes of a file from ``start`` to ``end``, as a stream; closes the descriptor."""

    def __init__(self, path: str, descriptor: int, start: int, end: int | None = None) -> None:
        self._path = path
        self._descriptor: int | None = descriptor
        self._at = start
        self._end = end

    def read1(self, size: int) -> bytes:
        if self._descriptor is None:
            return b""
        if self._end is not None:
            size = min(size, self._end - self._at)
        with translated(self._path):
            data = os.pread(self._descriptor, size, self._at) if size > 0 else b""
        self._at += len(data)
        return data

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with translated(self._path):
                os.close(descriptor)


def _spool(file: int, cancel: CancelToken) -> int:
    """Decompress an archive into a temporary file and return its descriptor."""
    buffer = bytearray(_CHUNK)
    total = 0
    with os.fdopen(os.dup(file), "rb", buffering=0) as source, _temporary() as target:
        source.seek(0)
        arrived = CountingReader(source)
        stream = decompress(arrived, cancel.check)
        while count := stream.readinto(buffer):
            cancel.check()
            total += count
            limit = RawLimit().of(arrived.size)
            if total > limit:
                raise IntegrityError(
                    f"the archive decompresses to more than {limit:,} bytes",
                    expected=f"at most {limit} bytes",
                    actual="more",
                )
            target.write(memoryview(buffer)[:count])
        target.flush()
        return os.dup(target.fileno())


def open_stream(path: str) -> FileIO:
    """Open a file or a FIFO, to be read once; raises `StoreError` for a device or a socket.

    /dev/null is an empty file. A FIFO waits for its writer, as it does in all programs.
    """
    with translated(path):
        check_stream(path, os.stat(path))  # noqa: PTH116 - a string
        file = FileIO(os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
        check_stream(path, os.fstat(file.fileno()))
    return file


def check_stream(path: str, found: os.stat_result) -> None:
    """Raise `StoreError` for a device, which may have no end, and for a socket."""
    kind = kind_of(found.st_mode)
    if kind and not is_null(found) and not stat.S_ISFIFO(found.st_mode):
        raise StoreError(
            f"{kind}; a file, a directory or a pipe is expected",
            hint="a tape or disk can be read through a pipe: dd if=DEVICE | wherry …",
        ).within(path)


def _temporary() -> IO[bytes]:
    directory = tempfile.gettempdir()
    if directory == _MEMORY and os.access(_DISK, os.W_OK):
        directory = _DISK
    return tempfile.TemporaryFile(dir=directory)


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn what the file system says about an archive into errors of ours."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound("no such file or directory").within(path) from None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise UnsafeArchive("a directory on the way is none, or a link", member=path) from None
        message = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = "compressed archives are unpacked aside; make room, or set TMPDIR"
            raise StoreFull(message, hint=hint).within(path) from error
        raise StoreError(message).within(path) from error
