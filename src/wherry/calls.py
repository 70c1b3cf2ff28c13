"""The calls of one client: they are counted while they run, and closing the client ends them."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from wherry.content import fork
from wherry.content.cancel import CancelToken, JoinedToken
from wherry.model.arguments import checked
from wherry.parameters import RULES

F = TypeVar("F", bound=Callable[..., Any])

GRACE = 1.0  # seconds that `end` waits for calls that were told to stop


class Calls:
    """The running calls of a client. Thread-safe; a signal handler may end them too."""

    def __init__(self) -> None:
        self._closing = CancelToken()
        self._running: set[object] = set()
        self._changed = threading.Condition()
        fork.watch(self, Calls._after_fork)

    def _after_fork(self) -> None:
        """End what the parent has begun, in the child alone, where its threads are missing."""
        closing, self._closing = self._closing, CancelToken()
        if closing.cancelled:
            self._closing.cancel()
        closing.abandon()
        self._running = set()
        self._changed = threading.Condition()

    def check(self) -> None:
        """Raise `RuntimeError` if the client was closed."""
        if self._closing.cancelled:
            raise RuntimeError("this wherry.Client is closed: make a new one")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count a call while the block runs; raises `RuntimeError` after `end`."""
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
        """Return a token that is cancelled by `end`, and with the caller's own."""
        return JoinedToken(self._closing, *(() if cancel is None else (cancel,)))

    def end(self) -> bool:
        """Cancel all calls and wait for them a little; tells whether none is running."""
        self._closing.cancel()
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, GRACE)


def operation(call: F) -> F:
    """Check the arguments of a client's call, and count it while it runs."""

    @functools.wraps(call)
    def run(client: Any, *arguments: Any, **named: Any) -> Any:
        with client._calls.running():  # noqa: SLF001 - the decorator of its methods
            return call(client, *arguments, **named)

    return checked(RULES)(cast("F", run))
