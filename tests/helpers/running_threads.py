"""Which threads a test leaves behind; those of earlier tests may end at any moment."""

from __future__ import annotations

import threading


def running() -> set[threading.Thread]:
    """Return the threads that run now."""
    return set(threading.enumerate())


def begun_since(before: set[threading.Thread]) -> set[threading.Thread]:
    """Return the running threads that were not among `before`."""
    return running() - before
