"""Reading the members of an archive ahead of a pipe that gets them in order."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING

from wherry.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from wherry.archive.entry import Entry
    from wherry.content.cancel import CancelToken

_AHEAD = 96  # chunks that are read ahead of the member that a pipe is getting


class ReadAhead:
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
        key = id(entry)
        entry.write_to(lambda data: self._put(key, memoryview(bytes(data))), self._cancel)
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
