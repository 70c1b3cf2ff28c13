"""The running calls of a client, and how closing the client ends them."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from wherry.content import fork
from wherry.content.cancel import CancelToken, JoinedToken

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE = 1.0  # seconds that `end` waits for calls that were told to stop


class RunningCalls:
    """Count the running calls of a client.

    Thread-safe. A signal handler may call `end` too.
    """

    def __init__(self) -> None:
        self._closing = CancelToken()
        self._running: set[object] = set()
        self._changed = threading.Condition()
        fork.watch(self, RunningCalls._after_fork)

    def _after_fork(self) -> None:
        """Cancel the parent's calls in the child, which lacks their threads."""
        closing, self._closing = self._closing, CancelToken()
        if closing.cancelled:
            self._closing.cancel()
        closing.abandon()
        self._running = set()
        self._changed = threading.Condition()

    def check(self) -> None:
        """Raise `RuntimeError` if the client is closed."""
        if self._closing.cancelled:
            raise RuntimeError("this wherry.Client is closed: make a new one")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count a call until the block ends.

        Raises:
            RuntimeError: The client is closed.
        """
        call = object()
        with self._changed:
            self.check()
            self._running.add(call)
        try:
            yield
        finally:
            with self._changed:
                self._running.discard(call)
                self._changed.notify_all()

    def token(self, cancel: CancelToken | None) -> CancelToken:
        """Return a token that both `end` and ``cancel`` cancel."""
        return JoinedToken(self._closing, *(() if cancel is None else (cancel,)))

    def end(self) -> bool:
        """Cancel all calls, wait up to `GRACE` seconds, and tell whether all have ended."""
        self._closing.cancel()
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, GRACE)
