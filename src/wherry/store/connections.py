"""The open connections of a database, one for each thread."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from wherry.store.gate import GATE

if TYPE_CHECKING:
    import sqlite3


class ThreadConnections:
    """The connections of one database; each thread sees its own."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all connections without closing them, as a forked child must."""
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[_ThreadConnection] = weakref.WeakSet()

    def own(self) -> sqlite3.Connection | None:
        """Return the connection of the calling thread, if it has one."""
        owned: _ThreadConnection | None = getattr(self._local, "owned", None)
        return None if owned is None else owned.connection

    def add(self, connection: sqlite3.Connection) -> None:
        """Make a connection that of the calling thread; it is closed when the thread ends."""
        self._local.owned = owned = _ThreadConnection(connection)
        with self._lock:
            self._open.add(owned)

    def all(self) -> list[sqlite3.Connection]:
        """Return all open connections."""
        return [each.connection for each in list(self._open) if each.connection is not None]

    def close_all(self) -> None:
        """Close all connections; no thread may be using one."""
        for owned in list(self._open):
            owned.close()

    def clear(self) -> None:
        """Close and forget all connections."""
        with self._lock:
            self.close_all()
            self._open.clear()
        self._local = threading.local()


class _ThreadConnection:
    """A thread's connection, closed when the thread ends; None after it is closed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection: sqlite3.Connection | None = connection

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        if self.connection is not None:
            GATE.close(self.connection)
