"""Wait for other threads, processes and servers."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until `condition()` is true; fail the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"the condition is still false after {seconds:g} seconds")
        time.sleep(0.005)


def wait_for_server(host: str, port: int) -> None:
    """Wait until a server accepts connections at `host` and `port`."""
    wait_for(lambda: _accepts(host, port))


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
