"""Pauses that registries ask for, kept by all uploads to the same host."""

from __future__ import annotations

import collections
import threading
import time
from typing import TYPE_CHECKING

from wherry.content.retry import retry_after
from wherry.errors import RateLimited, RegistryError

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.errors import WherryError

_UNAVAILABLE = 503  # some proxies limit the rate of requests with it


_SPACING = 0.05  # seconds between requests that each refusal of a host adds
_LONGEST_SPACING = 0.2  # seconds
_BURST = 0.2  # seconds in which refusals count as one: several requests were on their way
_MEMORY = 10.0  # seconds without a refusal after which requests are not spaced any more


class _Host:
    """What is known of one host; times are those of `time.monotonic`."""

    def __init__(self) -> None:
        self.due = 0.0  # when the next request may be sent
        self.refused = float("-inf")  # when the host last refused one
        self.spacing = 0.0


class HostPauses:
    """The time until which no upload to a host may send anything. Thread-safe.

    After a refusal without ``Retry-After``, requests go one after the other: if all threads went
    on at once, the host would refuse most of them again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = collections.defaultdict(_Host)

    def hold(self, host: str, seconds: float) -> None:
        """Hold back all uploads to a host (``Retry-After``: RFC 9110, 10.2.3)."""
        with self._lock:
            known = self._hosts[host]
            known.due = max(time.monotonic() + seconds, known.due)

    def note(self, host: str, seconds: float, error: WherryError) -> None:
        """Hold back all uploads after an error that concerns the host, not one request.

        Limits count the requests of all threads. So if each thread paused for itself, the
        others would use up what the limit allows meanwhile.
        """
        is_busy = isinstance(error, RegistryError) and error.status == _UNAVAILABLE
        if retry_after(error) is not None:
            self.hold(host, seconds)
        elif is_busy or isinstance(error, RateLimited):
            self.hold(host, seconds)
            self._space(host)

    def _space(self, host: str) -> None:
        """Space the requests to a host that does not say how long to wait."""
        now = time.monotonic()
        with self._lock:
            known = self._hosts[host]
            if now - known.refused > _MEMORY:
                known.spacing = _SPACING
            elif now - known.refused > _BURST:
                known.spacing = min(known.spacing + _SPACING, _LONGEST_SPACING)
            known.refused = now

    def wait(self, host: str, cancel: CancelToken) -> None:
        """Wait until an upload to a host may send its next request.

        Raises:
            Cancelled: ``cancel`` was cancelled.
        """
        while (left := self._claim(host)) > 0:
            cancel.sleep(left)

    def _claim(self, host: str) -> float:
        """Take the turn of the next request, or return the seconds to wait for it."""
        now = time.monotonic()
        with self._lock:
            known = self._hosts[host]
            if known.due > now:
                return known.due - now
            if now - known.refused <= _MEMORY:
                known.due = now + known.spacing
            return 0.0
