"""Blocking calls in threads, of which equal ones run once for all clients that wait."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CapacityLimiter, to_thread

from wherry.errors import WherryError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")

MAX_CALLS = 64  # at the same time, for one registry; others do not wait if it is silent


class SharedCalls:
    """Runs blocking calls in threads; equal calls at the same time run once."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self._limiter: CapacityLimiter | None = None

    async def run(self, key: Hashable, call: Callable[[], T]) -> T:
        """Return what a call returns. ``key`` tells which calls are equal."""
        task = self._running.get(key)
        if task is None:
            if self._limiter is None:
                self._limiter = CapacityLimiter(MAX_CALLS)
            attempt = functools.partial(_attempt, call)
            task = asyncio.ensure_future(to_thread.run_sync(attempt, limiter=self._limiter))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key))
        value, error = await asyncio.shield(task)
        if error is None:
            result: T = value
            return result
        try:
            raise error
        finally:
            del error, task  # else they and this frame would keep each other, and the request


def _attempt(call: Callable[[], T]) -> tuple[T | None, WherryError | None]:
    """Return what a call returns, or its error."""
    try:
        return call(), None
    except WherryError as error:
        return None, error.with_traceback(None)
