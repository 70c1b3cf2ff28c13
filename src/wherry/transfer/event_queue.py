"""A queue that passes events to a listener in a thread, so that it delays nothing."""

from __future__ import annotations

import collections
import contextlib
import threading
from typing import TYPE_CHECKING

from wherry.content import fork
from wherry.content.events import Event, Status, ignore
from wherry.content.log import Callback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest

GRACE = 0.2  # seconds for a listener to get the last events after a cancellation
_LOOK = 0.05  # seconds between checks for a cancellation
_PAUSE = 0.02  # seconds between wakeups of the thread; each one slows the other threads
_MOVING = {
    *(Status.DOWNLOADING, Status.WAITING),
    *(Status.PACKING, Status.PUSHING, Status.COPYING),
}


class EventQueue:
    """Queues events; the listener gets them in order, one at a time.

    While the listener is busy, a later byte count of a layer replaces an earlier one. So the queue
    has no more events than the layers have steps.
    """

    def __init__(self, listener: Callable[[Event], None]) -> None:
        self._listener = Callback("on_event", listener)
        self._changed = threading.Condition()
        self._waiting: collections.OrderedDict[object, Event] = collections.OrderedDict()
        self._last: dict[Digest | None, object] = {}
        self._closed = False
        self._idle = False
        self._thread: threading.Thread | None = None
        fork.watch(self, EventQueue._after_fork)

    def _after_fork(self) -> None:
        """Close the queue in a child; the listener of the parent gets the events."""
        self._changed = threading.Condition()
        self._waiting.clear()
        self._closed = True

    def __call__(self, event: Event) -> None:
        """Queue an event."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wherry-events", daemon=True)
                self._thread.start()
            key = self._last.get(event.digest)
            before = self._waiting.get(key)
            if before is None or before.status != event.status or event.status not in _MOVING:
                key = object()
            self._waiting[key] = event
            self._last[event.digest] = key
            if self._idle:
                self._idle = False
                self._changed.notify()

    def _run(self) -> None:
        while self._next():
            while self._waiting:
                with self._changed:
                    _, event = self._waiting.popitem(last=False)
                try:
                    self._listener(event)
                except BaseException as error:  # noqa: BLE001 - SystemExit would end the thread
                    self._listener.note(error)

    def _next(self) -> bool:
        """Wait for events; first pause, so that one wakeup handles several events."""
        with self._changed:
            if not self._closed:
                self._changed.wait(_PAUSE)
            while not self._waiting and not self._closed:
                self._idle = True
                self._changed.wait()
            return bool(self._waiting)

    def close(self, cancel: CancelToken, failure: object = None) -> None:
        """Wait until the listener has got all events; after a cancellation, only `GRACE`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is None:
            return
        stopped = failure is not None and not isinstance(failure, Exception)
        while not stopped and self._thread.is_alive() and not cancel.cancelled:
            self._thread.join(_LOOK)
        self._thread.join(GRACE)


@contextlib.contextmanager
def queued(
    listener: Callable[[Event], None], cancel: CancelToken
) -> Iterator[Callable[[Event], None]]:
    """Yield a listener that delays nothing; the block ends after its last event.

    An `EventQueue` is yielded as it is, and its owner waits for its events.
    """
    if listener is ignore or isinstance(listener, EventQueue):
        yield listener
        return
    queue = EventQueue(listener)
    failure: BaseException | None = None
    try:
        yield queue
    except BaseException as error:
        failure = error
        raise
    finally:
        queue.close(cancel, failure)
