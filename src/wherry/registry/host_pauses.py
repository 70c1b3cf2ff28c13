"""Pauses that registries ask for, kept by all uploads to the same host."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken


class HostPauses:
    """The time until which no upload to a host may send anything. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def hold(self, host: str, seconds: float) -> None:
        """Hold back all uploads to a host (``Retry-After``: RFC 9110, 10.2.3)."""
        until = time.monotonic() + seconds
        with self._lock:
            self._until[host] = max(until, self._until.get(host, until))

    def wait(self, host: str, cancel: CancelToken) -> None:
        """Wait until uploads to a host may go on.

        Raises:
            Cancelled: ``cancel`` was cancelled.
        """
        while (left := self._until.get(host, 0.0) - time.monotonic()) > 0:
            cancel.sleep(left)
