"""What a forked child drops of its parent's: sockets, file locks, locks of threads.

A child gets a copy of the parent's memory and shares its open files, but none of its other
threads. A socket that both use gives each the other's answers; a file lock lives until both have
closed it; a lock that another thread held at that moment is never released in the child.
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

_PATIENCE = 5.0  # seconds that a fork waits for imports
_PAUSE = 0.001  # seconds between two looks


class Lock(Protocol):
    """A lock of `threading`."""

    def acquire(self) -> bool:
        """Wait for it."""

    def release(self) -> None:
        """Give it back."""


_held: list[Lock] = []
_forking = threading.local()  # `locks`: what the forking thread holds over its fork
_watched: dict[int, tuple[weakref.ref[Any], Callable[[Any], None]]] = {}


def watch(thing: T, drop: Callable[[T], None]) -> None:
    """Call ``drop(thing)`` in each child that is forked while ``thing`` is in use.

    Nothing else runs in the child before it.
    """
    key = id(thing)
    # Setting and removing an item are single steps: no lock could be left held by a fork.
    _watched[key] = weakref.ref(thing, lambda _: _watched.pop(key, None)), drop


def hold(lock: Lock) -> None:
    """Hold a lock of the process over each fork, so that no other thread has it in the child.

    It is reentrant, since a destructor may run at any moment. A thread that holds it must not
    wait for what hooks of `register` hold.
    """
    _held.append(lock)


def register(
    before: Callable[[], None],
    after_in_parent: Callable[[], None],
    after_in_child: Callable[[], None],
) -> None:
    """Add hooks, of which ``before`` runs while no lock of `hold` is taken yet.

    It may wait for other threads, which may need these locks to go on.
    """
    # Hooks before a fork run in reverse order: those of this module run last.
    os.register_at_fork(
        before=before, after_in_parent=after_in_parent, after_in_child=after_in_child
    )


def _others_import() -> bool:
    """Tell whether another thread is importing a module.

    Python has no public way to tell; without these names nothing is waited for.
    """
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    owners = {getattr(found(), "owner", None) for found in list(locks.values())}
    return bool(owners - {None, threading.get_ident()})


def _before_fork() -> None:
    """Take the locks that are held over forks, and wait for imports.

    Many imports happen at the first call and so in threads.

    Python keeps a lock for each module that is being imported, and a child would wait for ever
    for a module that a thread of its parent has begun to import.
    """
    _forking.locks = list(_held)  # a thread may add one before the fork is over
    for lock in _forking.locks:
        lock.acquire()
    ends = time.monotonic() + _PATIENCE
    while _others_import() and time.monotonic() < ends:
        time.sleep(_PAUSE)


def _after_fork() -> None:
    for lock in reversed(_forking.locks):
        lock.release()


def _after_fork_in_child() -> None:
    # The latest first: what holds a thing is older than the thing.
    for found, drop in reversed(list(_watched.values())):
        thing = found()
        if thing is not None:
            drop(thing)
    _after_fork()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
)
