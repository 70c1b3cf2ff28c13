"""One request in progress, and the socket that a cancellation shuts down."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from wherry.registry.http.connect_errors import PrivatePeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken

# Only the shutdown of a duplicate wakes a thread that is blocked in a socket, from the first
# moment of the connection on (docs/architecture.md, "Threads and cancelling").


class Operation:
    """A request in progress: how to cancel it, and which peers it may be sent to."""

    def __init__(self, cancel: CancelToken, *, public_only: bool = False) -> None:
        self.cancel = cancel
        self._public_only = public_only
        self._watched: socket.socket | None = None
        self._forget: Callable[[], None] | None = None

    def watch(self, duplicate: socket.socket) -> None:
        """Shut ``duplicate`` down when the operation is cancelled."""
        if duplicate is not self._watched:
            self.finish()
            self._watched = duplicate
            self._forget = self.cancel.on_cancel(lambda: _shut_down(duplicate))

    def check_peer(self, address: str) -> None:
        """Raise `PrivatePeer` if the request must not be sent to ``address``."""
        if self._public_only:
            from wherry.registry.http.private_address import is_private

            if is_private(address):
                raise PrivatePeer(address)

    def finish(self) -> None:
        """Stop watching the socket."""
        if self._forget is not None:
            self._forget()
            self._forget = self._watched = None


def _shut_down(duplicate: socket.socket) -> None:
    # A socket that is not connected yet, or already closed, blocks no thread.
    with contextlib.suppress(OSError):
        duplicate.shutdown(socket.SHUT_RDWR)
