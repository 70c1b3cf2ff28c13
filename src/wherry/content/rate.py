"""A rate limit that all connections of a client share."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken

STEP = 0.1  # seconds: one read takes the bytes of this time, so that all get their turn
_LEAST = 1024  # bytes of a step, however low the rate is


class RateLimit:
    """A token bucket of ``rate`` bytes a second. Thread-safe.

    It holds the bytes of a tenth of a second. A reader takes its bytes after it has read them,
    and waits until they are due. The bytes of the next reader are due after that.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._due = 0.0

    @property
    def step(self) -> int:
        """The number of bytes to read at a time."""
        return max(_LEAST, int(self._rate * STEP))

    def take(self, count: int, cancel: CancelToken) -> None:
        """Wait until ``count`` bytes are due; raises `Cancelled`."""
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now - STEP) + count / self._rate
            pause = self._due - now
        if pause > 0:
            cancel.sleep(pause)
