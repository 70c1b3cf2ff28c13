"""Telling an operation to stop, and waking what it is blocked in."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from wherry.content import fork
from wherry.errors import Cancelled


class CancelToken:
    """Set once, from any thread or signal handler; children follow their parent only.

    Nothing here takes a lock that another call of the same thread could be holding, so a
    handler may `cancel` whatever it interrupted. What keeps the wakers in order is that
    setting, reading and popping a dict's entry are single steps: whoever pops a waker calls it.
    """

    def __init__(self) -> None:
        self._cancelled = False
        self._wakers: dict[object, Callable[[], None]] = {}

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: cancelling one would not reach the other."""
        raise TypeError("a wherry.CancelToken cannot be pickled or copied: it stays in its process")

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask to stop. Idempotent; never blocks on what is being stopped."""
        self._cancelled = True
        for key in list(self._wakers):
            self._wake(key)

    def abandon(self) -> None:
        """Count as cancelled in a forked child, where what would be woken is the parent's."""
        self._cancelled = True
        self._wakers = {}

    def check(self) -> None:
        """Raise `Cancelled` if somebody asked to stop."""
        if self.cancelled:
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait; raises `Cancelled` as soon as somebody asks to stop."""
        self.check()
        woken = threading.Lock()
        woken.acquire()  # released by whoever cancels, or never
        with self.waking(woken.release):
            woken.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))
        self.check()

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
        key = object()
        self._wakers[key] = wake
        if self._cancelled:  # perhaps after `cancel` had looked for the last time
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
        """Yield a token that is cancelled with this one, and can be by itself."""
        token = CancelToken()
        fork.watch(token, CancelToken.abandon)
        with self.waking(token.cancel):
            yield token


class JoinedToken(CancelToken):
    """A token that is cancelled with any of its parents, and can be by itself.

    It registers nothing with its parents but while something waits, so it needs no clean-up.
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
        """Register ``wake`` with this token and its parents; it is called once at most."""
        left = [wake]

        def once() -> None:
            try:
                found = left.pop()
            except IndexError:  # another of the tokens has been cancelled too
                return
            found()

        forget = [super().on_cancel(once), *(each.on_cancel(once) for each in self._parents)]

        def forget_all() -> None:
            for each in forget:
                each()

        return forget_all
