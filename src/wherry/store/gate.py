"""Connections of SQLite, which are closed before a fork so that a child inherits none.

A child must neither use nor close a connection that its parent opened
(https://www.sqlite.org/howtocorrupt.html, section 2.6). Nor may it open the same file beside
such a connection: SQLite keeps one table of file locks for each process, and the child's copy
lists locks that only the parent holds. So a fork waits until no thread uses SQLite and closes
all connections. Parent and child open new ones when they need them.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from wherry.content import fork

if TYPE_CHECKING:
    import sqlite3

PATIENCE_SECONDS = 5.0  # how long a fork waits for other threads to leave SQLite


class ConnectionOwner(Protocol):
    """A database with open connections, as far as the gate needs it."""

    def file(self) -> tuple[int, int] | None:
        """Return device and inode of the file, or None if it does not exist."""

    def connections(self) -> list[sqlite3.Connection]:
        """Return the open connections."""

    def disconnect(self) -> None:
        """Close all connections; the next use opens a new one."""


class Use:
    """One use of a database by a thread."""

    def __init__(self, database: ConnectionOwner) -> None:
        self.database = database
        self.thread = threading.get_ident()


class Gate:
    """Admits threads to SQLite, and lets the process fork while no thread is inside.

    The lock is held from before a fork until after it, in parent and child. It is reentrant,
    because destructors may run in the hooks around a fork.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._forking: set[int] = set()  # identifiers of threads
        self._uses: set[Use] = set()
        self._databases: dict[int, weakref.ref[ConnectionOwner]] = {}
        self._carried: list[tuple[tuple[int, int] | None, list[sqlite3.Connection]]] = []
        self._carried_files: set[tuple[int, int]] = set()
        self._abandoned: list[sqlite3.Connection] = []

    def add(self, database: ConnectionOwner) -> None:
        """Register a database whose connections are to be closed before each fork."""
        key = id(database)
        self._databases[key] = weakref.ref(database, lambda _: self._databases.pop(key, None))

    def has(self, use: Use) -> bool:
        """Tell whether a use began in this process, not in its parent."""
        return use in self._uses

    def is_carried(self, file: tuple[int, int] | None) -> bool:
        """Tell whether the parent had a connection to a file when it forked this process."""
        return file in self._carried_files

    # Uses

    def enter(self, database: ConnectionOwner) -> Use:
        """Begin a use of a database; waits for forks that are in progress."""
        use = Use(database)
        with self._changed:
            self._admit(use)
        return use

    def leave(self, use: Use) -> None:
        """End a use."""
        with self._changed:
            self._uses.discard(use)
            if self._forking:
                self._changed.notify_all()

    def give_way(self, use: Use) -> None:
        """Let a fork happen between two transactions of a use.

        The fork closes the connection, so the caller has to ask for it again.
        """
        if self._forking:
            with self._changed:
                self._uses.discard(use)
                self._changed.notify_all()
                self._admit(use)

    def _admit(self, use: Use) -> None:
        # A fork that waits for this thread's other uses must not be waited for.
        self._changed.wait_for(
            lambda: (
                not self._forking
                or use.thread in self._forking
                or any(other.thread == use.thread for other in self._uses)
            )
        )
        self._uses.add(use)

    def close(self, connection: sqlite3.Connection) -> None:
        """Close a connection for a destructor, later if another thread has the lock."""
        self._abandoned.append(connection)
        if self._changed.acquire(blocking=False):
            try:
                if not self._forking:
                    self._close_abandoned()
            finally:
                self._changed.release()

    def _close_abandoned(self) -> None:
        while self._abandoned:
            self._abandoned.pop().close()

    # Forks

    def before_fork(self) -> None:
        """Wait for other threads and close all connections; runs in the forking thread."""
        me = threading.get_ident()
        self._changed.acquire()
        self._forking.add(me)
        try:
            self._changed.wait_for(
                lambda: all(use.thread == me for use in self._uses), PATIENCE_SECONDS
            )
        finally:
            self._close_abandoned()
            used = {id(use.database) for use in self._uses}
            for found in list(self._databases.values()):
                database = found()
                if database is None:
                    continue
                if id(database) not in used:
                    database.disconnect()
                else:
                    self._carried.append((database.file(), database.connections()))

    def after_fork_in_parent(self) -> None:
        """Let threads use databases again."""
        self._carried.clear()
        self._forking.discard(threading.get_ident())
        self._changed.notify_all()
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Give up the databases that were in use: their connections are never closed or used."""
        carried = [connection for _, some in self._carried for connection in some]
        for connection in (*self._abandoned, *carried):
            import ctypes

            # The reference keeps Python from closing the connection at exit.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
            connection.interrupt()  # ends a query that the forking thread was reading
        self._carried_files.update(file for file, _ in self._carried if file is not None)
        self._abandoned = []
        self._carried.clear()
        self._uses.clear()
        self._forking.clear()
        self._changed.release()


GATE = Gate()

fork.register(
    before=GATE.before_fork,
    after_in_parent=GATE.after_fork_in_parent,
    after_in_child=GATE.after_fork_in_child,
)


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
