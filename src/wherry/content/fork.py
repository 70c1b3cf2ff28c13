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

    It is reentrant, since a destructor may run at any moment.
    """
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )


def _others_import() -> bool:
    """Tell whether another thread is importing a module.

    Python has no public way to tell; without these names nothing is waited for.
    """
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    owners = {getattr(found(), "owner", None) for found in list(locks.values())}
    return bool(owners - {None, threading.get_ident()})


def _before_fork() -> None:
    """Wait for imports, many of which happen at the first call and so in threads.

    Python keeps a lock for each module that is being imported, and a child would wait for ever
    for a module that a thread of its parent has begun to import.
    """
    ends = time.monotonic() + _PATIENCE
    while _others_import() and time.monotonic() < ends:
        time.sleep(_PAUSE)


def _after_fork() -> None:
    # The latest first: what holds a thing is older than the thing.
    for found, drop in reversed(list(_watched.values())):
        thing = found()
        if thing is not None:
            drop(thing)


# Hooks before a fork run in reverse order, so this one is the last of ours.
os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
