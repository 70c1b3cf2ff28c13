"""Support for `os.fork`: a child drops sockets and locks of its parent.

A child has a copy of its parent's memory and shares its open files, but has none of its other
threads. On a shared socket, each process would read responses for the other. A file lock lasts
until both processes have closed the file. A lock that another thread held during the fork is
never released in the child.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PATIENCE = 5.0  # seconds that a fork waits for imports in other threads
_PAUSE = 0.001  # seconds between two checks


class Lock(Protocol):
    """The interface of locks of `threading`."""

    def acquire(self) -> bool:
        """Acquire the lock, and wait for it."""

    def release(self) -> None:
        """Release the lock."""


_held: list[Lock] = []
_forking = threading.local()  # `locks`: the locks that the thread holds during its fork
_watched: dict[int, tuple[weakref.ref[Any], Callable[[Any], None]]] = {}


def watch(thing: T, drop: Callable[[T], None]) -> None:
    """Call ``drop(thing)`` first in each child that is forked while ``thing`` exists."""
    key = id(thing)
    # Setting and removing an item are atomic, so this needs no lock.
    _watched[key] = weakref.ref(thing, lambda _: _watched.pop(key, None)), drop


def hold(lock: Lock) -> None:
    """Hold a lock during each fork, so that no other thread holds it in the child.

    The lock must be reentrant, since a destructor may run at any time. A thread that holds it
    must not wait for a hook of `register`.
    """
    _held.append(lock)


def register(
    before: Callable[[], None],
    after_in_parent: Callable[[], None],
    after_in_child: Callable[[], None],
) -> None:
    """Add hooks; ``before`` runs before the locks of `hold` are acquired.

    It may wait for other threads, which may need these locks.
    """
    # Hooks before a fork run in reverse order, so those of this module run last.
    os.register_at_fork(
        before=before, after_in_parent=after_in_parent, after_in_child=after_in_child
    )


def _others_import() -> bool:
    """Tell whether another thread is importing a module.

    Python has no public function for this. Without these private names the result is False.
    """
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    owners = {getattr(found(), "owner", None) for found in list(locks.values())}
    return bool(owners - {None, threading.get_ident()})


def _before_fork() -> None:
    """Acquire the locks of `hold`, and wait for imports in other threads.

    Python holds a lock for each module during its import. A child would wait for ever for a
    module that another thread of its parent was importing. Many imports here happen late, and
    so in threads.
    """
    _forking.locks = list(_held)  # another thread may add one during the fork
    for lock in _forking.locks:
        lock.acquire()
    ends = time.monotonic() + _PATIENCE
    while _others_import() and time.monotonic() < ends:
        time.sleep(_PAUSE)


def _after_fork() -> None:
    for lock in reversed(_forking.locks):
        lock.release()


def _after_fork_in_child() -> None:
    # The latest first: an owner is older than what it owns.
    for found, drop in reversed(list(_watched.values())):
        thing = found()
        if thing is not None:
            drop(thing)
    _after_fork()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
)
