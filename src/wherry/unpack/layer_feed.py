"""Decompressing and hashing a layer in threads, ahead of its reader."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from wherry.content.codec import decompress
from wherry.errors import IntegrityError
from wherry.model.digest import diff_id_mismatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import RawStream
    from wherry.model.digest import Digest

_BUFFER = 512 * 1024  # a multiple of a tar's block, so that headers lie in one piece
_BUFFERS = 6
_ALONE = 4 * 2**20  # bytes after which a thread for hashing pays off


class LayerFeed:
    """The decompressed pieces of a layer, verified at the end; a context manager.

    Args:
        source: The layer as it is stored.
        diff_id: The DiffID that the config has for it; None to verify nothing.
        cancel: Ends the thread.
        limit: Bytes to which the layer may decompress.
        abandon: Ends a read of ``source`` that waits. It is called if the block fails.
    """

    def __init__(
        self,
        source: RawStream,
        diff_id: Digest | None,
        cancel: CancelToken,
        limit: int,
        abandon: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._diff_id = diff_id
        self._cancel = cancel
        self._left = limit
        self._abandon = abandon
        self._stopped = False
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[memoryview | BaseException] = queue.SimpleQueue()
        self._lent: bytearray | None = None
        self._hasher = None if diff_id is None else _PieceHasher(diff_id, self._release)
        self._users: dict[int, int] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="wherry-unpack", daemon=True)

    def __enter__(self) -> Self:
        for _ in range(_BUFFERS):
            self._free.put(bytearray(_BUFFER))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        if kind is not None:
            self._abandon()
        self._free.put(bytearray())
        self._thread.join()
        if self._hasher is not None:
            self._hasher.stop()

    def next_piece(self) -> memoryview:
        """Return the next bytes, none at the verified end; valid until the next call.

        Raises:
            IntegrityError: The layer is damaged, too large, or not the one of the config.
            OSError: The layer cannot be read.
        """
        if self._lent is not None:
            self._release(self._lent)
            self._lent = None
        found = self._full.get()
        if isinstance(found, BaseException):
            self._full.put(found)
            raise found
        if len(found) == 0:
            self._full.put(found)
        elif isinstance(found.obj, bytearray):
            self._lent = found.obj
        return found

    def _run(self) -> None:
        try:
            self._feed()
        except BaseException as error:  # noqa: BLE001 - raised in the reader's thread
            self._full.put(error)

    def _feed(self) -> None:
        stream = decompress(self._source, self._cancel.check)
        while True:
            buffer = self._free.get()
            if self._stopped:
                return
            view, filled = memoryview(buffer), 0
            while filled < len(buffer) and (count := stream.readinto(view[filled:])):
                filled += count
            self._cancel.check()
            self._left -= filled
            if self._left < 0:
                raise IntegrityError(
                    "it decompresses to more than is allowed", expected="less", actual="more"
                )
            if filled:
                self._lend(view[:filled], buffer)
            if filled < len(buffer):
                break
        if self._hasher is not None:
            self._hasher.check()
        self._full.put(memoryview(b""))

    def _lend(self, piece: memoryview, buffer: bytearray) -> None:
        """Pass a piece to the reader and to the hasher."""
        with self._lock:
            self._users[id(buffer)] = 1 if self._hasher is None else 2
        if self._hasher is not None:
            self._hasher.add(piece, buffer)
        self._full.put(piece)

    def _release(self, buffer: bytearray) -> None:
        """Use a buffer again once both have read it."""
        with self._lock:
            self._users[id(buffer)] -= 1
            is_free = self._users[id(buffer)] == 0
        if is_free:
            self._free.put(buffer)


class _PieceHasher:
    """Hashes pieces in a thread of its own, so that decompression does not wait.

    Args:
        expected: The digest that all pieces together have to have.
        release: Called with the buffer of each piece that has been hashed.
    """

    def __init__(self, expected: Digest, release: Callable[[bytearray], None]) -> None:
        self._expected = expected
        self._release = release
        self._hash = expected.hasher()
        self._pieces: queue.SimpleQueue[tuple[memoryview, bytearray] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._alone = _ALONE

    def add(self, piece: memoryview, buffer: bytearray) -> None:
        """Hash a piece, now or in the thread."""
        if self._thread is None and self._alone > 0:
            self._alone -= len(piece)
            self._take(piece, buffer)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wherry-hash", daemon=True)
            self._thread.start()
        self._pieces.put((piece, buffer))

    def _take(self, piece: memoryview, buffer: bytearray) -> None:
        self._hash.update(piece)
        self._release(buffer)

    def _run(self) -> None:
        while (item := self._pieces.get()) is not None:
            self._take(*item)

    def stop(self) -> None:
        """End the thread, after the pieces that it has."""
        if self._thread is not None:
            self._pieces.put(None)
            self._thread.join()
            self._thread = None

    def check(self) -> None:
        """Wait for all pieces; raises `IntegrityError` if the digest is another one."""
        self.stop()
        actual = self._hash.hexdigest()
        if actual != self._expected.hex:
            raise diff_id_mismatch(self._expected, actual)
