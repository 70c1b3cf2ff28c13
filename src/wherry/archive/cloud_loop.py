"""An event loop for requests to object storage, each of which can be cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

from wherry.archive.cloud_errors import translate_error
from wherry.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherry.content.cancel import CancelToken


class RequestLoop:
    """A thread that runs requests. Thread-safe.

    Args:
        root: The URL of the bucket, for errors.
        cancel: Ends all requests.
    """

    def __init__(self, root: str, cancel: CancelToken) -> None:
        self._root = root
        self._cancel = cancel
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, name="wherry-cloud", daemon=True).start()

    def run(
        self, where: str, make: Callable[[], Awaitable[Any]], *, seconds: float | None = None
    ) -> Any:
        """Make a request and return its result.

        Args:
            where: The URL of the object, for errors.
            make: Starts the request; called in the thread of the loop.
            seconds: Wait so long, whether the operation is cancelled or not.

        Raises:
            Cancelled: The operation was cancelled, the loop is closed, or the time has passed.
            WherryError: As `translate_error` does.
        """
        if seconds is None:
            self._cancel.check()
        ended: queue.SimpleQueue[None] = queue.SimpleQueue()  # signal handlers may put
        with self._lock:  # what is submitted before the end is seen by `_cancel_others`
            if self._closed:
                raise Cancelled
            future = asyncio.run_coroutine_threadsafe(_run(make), self._loop)
        future.add_done_callback(lambda _: ended.put(None))
        with contextlib.ExitStack() as waiting:
            if seconds is None:
                waiting.enter_context(self._cancel.wake_on_cancel(lambda: ended.put(None)))
            try:
                with contextlib.suppress(queue.Empty):
                    ended.get(timeout=seconds)
            finally:
                future.cancel()  # without effect if it has ended
        if future.cancelled():
            raise Cancelled
        with translate_error(where, self._root):
            return future.result()

    def close(self) -> None:
        """End all requests and the thread. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_forever()
            self._loop.run_until_complete(_cancel_others())


async def _run(make: Callable[[], Awaitable[Any]]) -> Any:
    return await make()


async def _cancel_others() -> None:
    """Cancel all tasks of the loop, and wait until they have ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
