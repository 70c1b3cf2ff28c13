"""Telling an operation to stop, and waking what it is blocked in."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from dray.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class CancelToken:
    """Set once, from any thread; children follow their parent, not the other way round."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._wakers: dict[int, Callable[[], None]] = {}
        self._next = 0

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask to stop. Idempotent; never blocks on what is being stopped."""
        with self._lock:
            self._event.set()
            wakers = list(self._wakers.values())
            self._wakers.clear()
        for wake in wakers:
            wake()

    def check(self) -> None:
        """Raise `Cancelled` if somebody asked to stop."""
        if self._event.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait; raises `Cancelled` as soon as somebody asks to stop."""
        if self._event.wait(seconds):
            raise Cancelled

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call ``wake`` if the token is cancelled while the block runs."""
        forget = self.on_cancel(wake)
        try:
            yield
        finally:
            forget()

    def on_cancel(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Register ``wake``, called at once if it is too late; returns how to take it back."""
        with self._lock:
            key = self._next
            self._next += 1
            late = self._event.is_set()
            if not late:
                self._wakers[key] = wake
        if late:
            wake()
        return lambda: self._forget(key)

    def _forget(self, key: int) -> None:
        with self._lock:
            self._wakers.pop(key, None)

    @contextlib.contextmanager
    def child(self) -> Iterator[CancelToken]:
        """Yield a token that is cancelled with this one, and can be by itself."""
        token = CancelToken()
        with self.waking(token.cancel):
            yield token
