"""Writing archives and layouts to a file, a pipe or a directory.

The size of every member is known before anything is written. So the members of a tar in a file
have known places, and several threads write them. A pipe gets them in their order.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import tarfile
import threading
from typing import TYPE_CHECKING, NamedTuple

from wherry.archive.tar import BLOCK
from wherry.errors import Cancelled, IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO, Self, TypeAlias

    from wherry.content.cancel import CancelToken

    Write: TypeAlias = Callable[[memoryview], None]
    Copy: TypeAlias = Callable[[Write, CancelToken], None]

_RECORD = 20 * BLOCK  # a tar ends with two empty blocks and padding to a whole record
_AHEAD = 96  # chunks that are read ahead of the member that a pipe is getting
CHUNK = 256 * 1024


class Entry(NamedTuple):
    """A member: ``data``, ``size`` bytes by ``copy``, a ``link`` or a directory.

    ``copy`` is called once with a function that writes a buffer. It may reuse the buffer after
    each call, and raises `IntegrityError` for wrong content.
    """

    name: str
    data: bytes | None = None
    size: int = 0
    copy: Copy | None = None
    link: str = ""


class Task(NamedTuple):
    """A part of the writing that can run in parallel; ``size`` is in bytes."""

    size: int
    run: Callable[[CancelToken], None]


def header(entry: Entry) -> bytes:
    """Make a header without times and owners, so that tars are reproducible."""
    info = tarfile.TarInfo(entry.name)
    info.mode = 0o644
    if entry.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
    elif entry.name.endswith("/"):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    else:
        info.size = entry.size if entry.data is None else len(entry.data)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> int:
    """Return the number of zero bytes after ``size`` bytes of content."""
    return -size % BLOCK


def ending(position: int) -> int:
    """Return the number of zero bytes at the end of a tar."""
    return 2 * BLOCK + -(position + 2 * BLOCK) % _RECORD


def tar_tasks(file: int, entries: Sequence[Entry]) -> Iterator[Task]:
    """Write headers and documents to an empty file; yield tasks that write the rest."""
    position = 0
    for entry in entries:
        small = header(entry) + (entry.data or b"")
        write_at(file, memoryview(small), position)
        position += len(small)
        if entry.copy is not None:
            yield Task(entry.size, _MemberWriter(file, position, entry))
            position += entry.size
        position += padding(position)
    os.ftruncate(file, position + ending(position))


def _make_directory(path: Path) -> None:
    """Make a directory and its parents, which may be too many for pathlib's recursion."""
    missing = itertools.takewhile(lambda each: not each.is_dir(), (path, *path.parents))
    for each in reversed(list(missing)):
        each.mkdir(exist_ok=True)


def directory_tasks(root: Path, entries: Sequence[Entry]) -> Iterator[Task]:
    """Write documents below a directory; yield tasks that write the other files."""
    for entry in entries:
        path = root / entry.name
        if entry.name.endswith("/"):
            _make_directory(path)
            continue
        _make_directory(path.parent)
        if entry.copy is None:
            with path.open("xb") as file:
                file.write(entry.data or b"")
                file.flush()
                os.fsync(file.fileno())
        else:
            yield Task(entry.size, _FileWriter(path, entry))


def write_at(file: int, data: memoryview, position: int) -> None:
    """Write all of ``data`` at a position of a file."""
    while data:
        count = os.pwrite(file, data, position)
        position, data = position + count, data[count:]


class _MemberWriter:
    """Writes the content of a member at its place in a file."""

    def __init__(self, file: int, position: int, entry: Entry) -> None:
        self._file = file
        self._entry = entry
        self._start = self._at = position

    def __call__(self, cancel: CancelToken) -> None:
        assert self._entry.copy is not None  # noqa: S101 - only such entries get a writer
        self._entry.copy(self._write, cancel)
        _check_size(self._entry, self._at - self._start)

    def _write(self, data: memoryview) -> None:
        _check_more(self._entry, self._at - self._start + len(data))
        write_at(self._file, data, self._at)
        self._at += len(data)


class _FileWriter:
    """Writes a file of a directory."""

    def __init__(self, path: Path, entry: Entry) -> None:
        self._path = path
        self._entry = entry

    def __call__(self, cancel: CancelToken) -> None:
        with self._path.open("xb", buffering=0) as file:
            _MemberWriter(file.fileno(), 0, self._entry)(cancel)
            os.fsync(file.fileno())


def _check_more(entry: Entry, size: int) -> None:
    if size > entry.size:
        raise _wrong_size(entry, f"more than {entry.size:,}")


def _check_size(entry: Entry, size: int) -> None:
    if size != entry.size:
        raise _wrong_size(entry, f"{size:,}")


def _wrong_size(entry: Entry, actual: str) -> IntegrityError:
    return IntegrityError(
        f"it has {actual} bytes, {entry.size:,} were recorded",
        expected=str(entry.size),
        actual=actual,
    ).within(entry.name)


def write_stream(file: BinaryIO, entries: Sequence[Entry], cancel: CancelToken) -> None:
    """Write a tar to a pipe or another stream, and read the next members meanwhile.

    Raises:
        StoreError: The reader has closed the pipe.
    """
    with cancel.child() as token, _ReadAhead(entries, token) as ahead:
        position = 0
        for entry in entries:
            small = header(entry) + (entry.data or b"")
            position += _send(file, memoryview(small))
            if entry.copy is not None:
                for chunk in ahead.chunks(entry):
                    position += _send(file, chunk)
            position += _send(file, memoryview(bytes(padding(position))))
        _send(file, memoryview(bytes(ending(position))))
        _flush(file)


def _send(file: BinaryIO, data: memoryview) -> int:
    sent = 0
    with _translate_os_errors():
        while sent < len(data):
            sent += file.write(data[sent:]) or 0
    return sent


def _flush(file: BinaryIO) -> None:
    with _translate_os_errors():
        file.flush()


@contextlib.contextmanager
def _translate_os_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise StoreError("the reader of the archive closed the pipe before the end") from None


class _ReadAhead:
    """Reads members in order with two threads, at most `_AHEAD` chunks ahead.

    The member whose turn it is may always add one chunk. Otherwise chunks of later members
    could fill the buffer and block it for ever.
    """

    def __init__(self, entries: Sequence[Entry], cancel: CancelToken) -> None:
        self._waiting = collections.deque(entry for entry in entries if entry.copy is not None)
        self._cancel = cancel
        self._changed = threading.Condition()
        self._ready: dict[int, collections.deque[memoryview]] = {}
        self._ended: set[int] = set()
        self._turn: int | None = None
        self._held = 0
        self._stopped = False
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, name="wherry-save", daemon=True) for _ in range(2)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._cancel.cancel()
        for thread in self._threads:
            thread.join()

    def chunks(self, entry: Entry) -> Iterator[memoryview]:
        """Yield the content of a member as it arrives."""
        key = id(entry)
        with self._changed:
            self._turn = key
            self._changed.notify_all()
        while (chunk := self._next(key)) is not None:
            yield chunk

    def _next(self, key: int) -> memoryview | None:
        with self._changed:
            while not (ready := self._ready.get(key)):
                if self._error is not None:
                    raise self._error
                if key in self._ended:
                    return None
                self._changed.wait()
            self._held -= 1
            self._changed.notify_all()
            return ready.popleft()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting or self._stopped:
                    return
                entry = self._waiting.popleft()
                self._ready[id(entry)] = collections.deque()
            try:
                self._copy(entry)
            except BaseException as error:  # noqa: BLE001 - raised again in `_next`
                with self._changed:
                    self._error = self._error or error
                    self._changed.notify_all()
                return

    def _copy(self, entry: Entry) -> None:
        assert entry.copy is not None  # noqa: S101 - `_waiting` has no others
        key, written = id(entry), 0

        def write(data: memoryview) -> None:
            nonlocal written
            written += len(data)
            _check_more(entry, written)
            self._put(key, memoryview(bytes(data)))

        entry.copy(write, self._cancel)
        _check_size(entry, written)
        with self._changed:
            self._ended.add(key)
            self._changed.notify_all()

    def _put(self, key: int, chunk: memoryview) -> None:
        with self._changed:
            while self._held >= _AHEAD and not (self._turn == key and not self._ready[key]):
                if self._stopped:
                    raise Cancelled
                self._changed.wait()
            self._ready[key].append(chunk)
            self._held += 1
            self._changed.notify_all()
