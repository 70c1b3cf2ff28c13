"""Decompressing and hashing a layer in a thread, ahead of its reader."""

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
_BUFFERS = 4


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

    def next_piece(self) -> memoryview:
        """Return the next bytes, none at the verified end; valid until the next call.

        Raises:
            IntegrityError: The layer is damaged, too large, or not the one of the config.
            OSError: The layer cannot be read.
        """
        if self._lent is not None:
            self._free.put(self._lent)
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
        hasher = None if self._diff_id is None else self._diff_id.hasher()
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
            if hasher is not None:
                hasher.update(view[:filled])
            if filled:
                self._full.put(view[:filled])
            if filled < len(buffer):
                break
        if hasher is not None and self._diff_id is not None:
            actual = hasher.hexdigest()
            if actual != self._diff_id.hex:
                raise diff_id_mismatch(self._diff_id, actual)
        self._full.put(memoryview(b""))
