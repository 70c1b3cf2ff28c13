"""Cancelling operations, and waking the calls that they block in."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from wherry.content import fork
from wherry.errors import Cancelled


class CancelToken:
    """Tells an operation to stop; any thread or signal handler may set it, once.

    Cancelling a token cancels its children, and not its parent.

    No method takes a lock that another call in the same thread may hold. So a signal handler may
    call `cancel`, whatever it interrupted. Setting, reading and popping an item of a dict are
    atomic, so exactly one call pops a waker and calls it.
    """

    def __init__(self) -> None:
        self._cancelled = False
        self._wakers: dict[object, Callable[[], None]] = {}

    def __reduce__(self) -> NoReturn:
        """Raise `TypeError`: cancelling a copy would not reach the original."""
        raise TypeError("a wherry.CancelToken cannot be pickled or copied: it stays in its process")

    @property
    def cancelled(self) -> bool:
        """Whether the token was cancelled."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel the operation. Idempotent; does not wait for the operation to stop."""
        self._cancelled = True
        for key in list(self._wakers):
            self._wake(key)

    def abandon(self) -> None:
        """Become cancelled in a forked child, without waking calls of the parent."""
        self._cancelled = True
        self._wakers = {}

    def check(self) -> None:
        """Raise `Cancelled` if the token was cancelled."""
        if self.cancelled:
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``; raises `Cancelled` as soon as the token is cancelled."""
        self.check()
        woken = threading.Lock()
        woken.acquire()  # released by `cancel`, or never
        with self.wake_on_cancel(woken.release):
            woken.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))
        self.check()

    @contextlib.contextmanager
    def wake_on_cancel(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call ``wake`` if the token is cancelled during the block."""
        forget = self.on_cancel(wake)
        try:
            yield
        finally:
            forget()

    def on_cancel(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` on `cancel`, or now; returns a function that undoes this."""
        key = object()
        self._wakers[key] = wake
        if self._cancelled:  # perhaps after `cancel` has called the other wakers
            self._wake(key)
        return lambda: self._forget(key)

    def _wake(self, key: object) -> None:
        wake = self._wakers.pop(key, None)
        if wake is not None:
            wake()

    def _forget(self, key: object) -> None:
        self._wakers.pop(key, None)

    @contextlib.contextmanager
    def child(self) -> Iterator[CancelToken]:
        """Yield a token that is cancelled with this one, or alone."""
        token = CancelToken()
        fork.watch(token, CancelToken.abandon)
        with self.wake_on_cancel(token.cancel):
            yield token


class JoinedToken(CancelToken):
    """A token that is cancelled with any of its parents, or alone.

    It registers with its parents only while a call waits, so it needs no clean-up.
    """

    def __init__(self, *parents: CancelToken) -> None:
        super().__init__()
        self._parents = parents
        fork.watch(self, CancelToken.abandon)

    @property
    def cancelled(self) -> bool:
        """Whether this token or one of its parents was cancelled."""
        if self._cancelled:
            return True
        for parent in self._parents:  # noqa: SIM110 - half the time of any()
            if parent.cancelled:
                return True
        return False

    def on_cancel(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Register ``wake`` with this token and its parents; it is called at most once."""
        left = [wake]

        def once() -> None:
            try:
                found = left.pop()
            except IndexError:  # another token was cancelled first
                return
            found()

        forget = [super().on_cancel(once), *(each.on_cancel(once) for each in self._parents)]

        def forget_all() -> None:
            for each in forget:
                each()

        return forget_all
