"""SQLite and forks: no open connection with a database is carried into a child.

A child must neither use nor close a connection that its parent has opened
(https://www.sqlite.org/howtocorrupt.html, 2.6). It must not open the same file beside one
either: SQLite has one table of file locks for the process, and in the child that table lists
locks that only the parent has. So a fork waits until no thread is in SQLite, all connections
are closed before it, and parent and child open new ones when they need them.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import sqlite3

PATIENCE = 5.0  # seconds that a fork waits for other threads to leave SQLite


class ConnectionOwner(Protocol):
    """What the gate asks of a database."""

    def file(self) -> tuple[int, int] | None:
        """Return device and inode of the file; None where it is gone."""

    def connections(self) -> list[sqlite3.Connection]:
        """Return the connections that are open."""

    def disconnect(self) -> None:
        """Close all connections; threads open new ones."""


class Use:
    """One use of a database by a thread."""

    def __init__(self, database: ConnectionOwner) -> None:
        self.database = database
        self.thread = threading.get_ident()


class Gate:
    """Lets threads use SQLite, and lets the process fork while no thread does.

    The lock is held from before a fork until after it, in parent and child. It is reentrant:
    the hooks around a fork may run destructors.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._forking: set[int] = set()  # threads
        self._uses: set[Use] = set()
        self._databases: dict[int, weakref.ref[ConnectionOwner]] = {}
        self._carried: list[tuple[tuple[int, int] | None, list[sqlite3.Connection]]] = []
        self._carried_files: set[tuple[int, int]] = set()
        self._abandoned: list[sqlite3.Connection] = []

    def add(self, database: ConnectionOwner) -> None:
        """Close a database's connections before each fork from now on."""
        key = id(database)
        self._databases[key] = weakref.ref(database, lambda _: self._databases.pop(key, None))

    def has(self, use: Use) -> bool:
        """Tell whether a use is this process's, and not that of the parent."""
        return use in self._uses

    def is_carried(self, file: tuple[int, int] | None) -> bool:
        """Tell whether a parent had a file in use when it forked this process."""
        return file in self._carried_files

    # Uses

    def enter(self, database: ConnectionOwner) -> Use:
        """Begin a use of a database, after forks that are under way."""
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
        """Let a fork happen in a use that has no transaction; connections may be new ones."""
        if self._forking:
            with self._changed:
                self._uses.discard(use)
                self._changed.notify_all()
                self._admit(use)

    def _admit(self, use: Use) -> None:
        # A fork already waits for the other uses of the same thread.
        self._changed.wait_for(
            lambda: (
                not self._forking
                or use.thread in self._forking
                or any(other.thread == use.thread for other in self._uses)
            )
        )
        self._uses.add(use)

    def close(self, connection: sqlite3.Connection) -> None:
        """Close a connection from a destructor, which must not wait: perhaps later."""
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
        """Wait for other threads and close all connections; called by the thread that forks."""
        me = threading.get_ident()
        self._changed.acquire()
        self._forking.add(me)
        try:
            self._changed.wait_for(lambda: all(use.thread == me for use in self._uses), PATIENCE)
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
        """Give up, for good, the files that are in use: nothing is closed or used any more."""
        carried = [connection for _, some in self._carried for connection in some]
        for connection in (*self._abandoned, *carried):
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))  # else it is closed at exit
            connection.interrupt()  # whatever the forking thread reads
        self._carried_files.update(file for file, _ in self._carried if file is not None)
        self._abandoned = []
        self._carried.clear()
        self._uses.clear()
        self._forking.clear()
        self._changed.release()


GATE = Gate()

os.register_at_fork(
    before=GATE.before_fork,
    after_in_parent=GATE.after_fork_in_parent,
    after_in_child=GATE.after_fork_in_child,
)
