"""Serve a store as a registry, in a thread of the tests."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

import wherry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECONDS = 10  # to start


@contextlib.contextmanager
def running_server(path: Path, **options: Any) -> Iterator[str]:
    """Serve the store at `path` on a free port with the arguments of `Client.serve`.

    Yields `http://127.0.0.1:PORT`.
    """
    told: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()
    cancel = wherry.CancelToken()

    def serve() -> None:
        with wherry.Client(store=path) as client:
            try:
                client.serve("127.0.0.1:0", on_ready=told.put, cancel=cancel, **options)
            except BaseException as error:  # noqa: BLE001 - raised in the test's thread
                told.put(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        found = told.get(timeout=_SECONDS)
        if isinstance(found, BaseException):
            raise found
        yield found
    finally:
        cancel.cancel()
        thread.join()
    with contextlib.suppress(queue.Empty):
        if isinstance(found := told.get_nowait(), BaseException):
            raise found
