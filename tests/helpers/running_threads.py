"""Threads that a test leaves behind; threads of earlier tests may end at any time."""

from __future__ import annotations

import threading


def running() -> set[threading.Thread]:
    """Return the running threads."""
    return set(threading.enumerate())


def begun_since(before: set[threading.Thread]) -> set[threading.Thread]:
    """Return the running threads that were not among `before`."""
    return running() - before
