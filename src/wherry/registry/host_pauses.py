"""Pauses that registries ask for, kept by all uploads to the same host."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from wherry.content.retry import retry_after
from wherry.errors import RateLimited, RegistryError

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.errors import WherryError

_UNAVAILABLE = 503  # some proxies limit the rate of requests with it


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

    def note(self, host: str, seconds: float, error: WherryError) -> None:
        """Hold back all uploads after an error that concerns the host, not one request.

        Limits count the requests of all threads. So if each thread paused for itself, the
        others would use up what the limit allows meanwhile.
        """
        is_busy = isinstance(error, RegistryError) and error.status == _UNAVAILABLE
        if is_busy or isinstance(error, RateLimited) or retry_after(error) is not None:
            self.hold(host, seconds)

    def wait(self, host: str, cancel: CancelToken) -> None:
        """Wait until uploads to a host may go on.

        Raises:
            Cancelled: ``cancel`` was cancelled.
        """
        while (left := self._until.get(host, 0.0) - time.monotonic()) > 0:
            cancel.sleep(left)
