"""The server process: Granian in an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from wherry.serve.listener import ListenAddress, reserved

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from wherry.content.cancel import CancelToken

_HEADER_MILLISECONDS = 10_000  # for the whole head of a request
_BUFFER = 64 * 1024  # bytes that wait for a slow client; Granian's default is 408 KiB
_BACKLOG = 1024  # connections that wait to be accepted
_POLL_SECONDS = 0.005
_START_SECONDS = 10.0
_STOP_SECONDS = 0.7  # for requests that run when the server stops


def run(
    make_app: Callable[[ListenAddress], ASGIApp],
    listen: ListenAddress,
    on_ready: Callable[[ListenAddress], None],
    token: CancelToken,
) -> None:
    """Serve an application until the token is cancelled.

    Args:
        make_app: Called with the address and the real port.
        listen: The address; port 0 takes a free one.
        on_ready: Called once connections are accepted.
        token: Ends the server.

    Raises:
        WherryError: The address cannot be listened on.
    """
    asyncio.run(_serve(make_app, listen, on_ready, token))


async def _serve(
    make_app: Callable[[ListenAddress], ASGIApp],
    listen: ListenAddress,
    on_ready: Callable[[ListenAddress], None],
    token: CancelToken,
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end() -> None:
        loop.call_soon_threadsafe(ended.set)

    with contextlib.ExitStack() as until_ready:
        address = until_ready.enter_context(reserved(listen))
        server = _granian(make_app(address), address)
        before = _threads()
        with token.wake_on_cancel(end):
            serving = loop.create_task(server.serve())
            await _until_accepting(address, serving)
            until_ready.close()
            threads = _threads() - before
            on_ready(address)
            waiting = loop.create_task(ended.wait())
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            server.stop()  # type: ignore[no-untyped-call]  # Granian's
            await serving
    await _until_gone(threads)


def _granian(app: ASGIApp, address: ListenAddress) -> Server:
    return Server(
        app,
        address=address.ip,
        port=address.port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=_BACKLOG,
        http1_settings=HTTP1Settings(
            header_read_timeout=_HEADER_MILLISECONDS, max_buffer_size=_BUFFER
        ),
        log_enabled=False,
    )


async def _until_accepting(address: ListenAddress, serving: asyncio.Task[None]) -> None:
    """Wait until the server accepts connections."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _START_SECONDS
    while not serving.done() and loop.time() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(address, timeout=1).close()
            return
        await asyncio.sleep(_POLL_SECONDS)


def _threads() -> set[str]:
    """Return the ids of the threads of this process that Python did not start."""
    own = {str(thread.native_id) for thread in threading.enumerate()}
    return {name for name in os.listdir("/proc/self/task") if name not in own}  # noqa: PTH208 - names alone


async def _until_gone(threads: set[str]) -> None:
    """Wait for running requests: Granian's threads end after the last one."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _STOP_SECONDS
    while threads & _threads() and loop.time() < deadline:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(_POLL_SECONDS)
