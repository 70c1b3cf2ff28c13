"""The server process: Granian in an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import threading
from typing import TYPE_CHECKING, NamedTuple

from anyio import to_thread
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from wherry.serve.listener import ListenAddress, reserved

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from wherry.content.cancel import CancelToken
    from wherry.serve.registry import Registry
    from wherry.serve.tls import TlsFiles

HEAD_SECONDS = 30.0  # until the whole head of a request has arrived, from the request before
_BACKLOG = 1024  # connections that wait to be accepted
MAX_CONNECTIONS = 4096
_OTHER_FILES = 100
# For each direction of a connection, and the longest head of a request. Granian's default of
# 408 KiB would be much for many slow clients; with 64 KiB, uploads take up to twice as long.
MAX_HEAD = 256 * 1024
_CLEAN_SECONDS = 3600.0
_POLL_SECONDS = 0.005
_STOP_SECONDS = 0.6  # for requests that run when the server stops
_CUT_SECONDS = 0.15  # for connections that were cut after that


class Binding(NamedTuple):
    """Where and how a server listens.

    Attributes:
        address: The address.
        tls: The files of the certificate; without them the server speaks plain http.
        head_seconds: How long a connection may be idle, or take to send the head of a request.
    """

    address: ListenAddress
    tls: TlsFiles | None = None
    head_seconds: float = HEAD_SECONDS

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"{'http' if self.tls is None else 'https'}://{self.address}"


def run(
    registry: Registry, binding: Binding, on_ready: Callable[[str], None], token: CancelToken
) -> None:
    """Serve a registry until the token is cancelled.

    Args:
        registry: What is served.
        binding: Where to listen; port 0 takes a free port.
        on_ready: Called with the URL once connections are accepted.
        token: Ends the server.

    Raises:
        WherryError: The address cannot be listened on, or a file of the certificate cannot be
            used.
    """
    if binding.tls is not None:
        binding.tls.check()
    asyncio.run(_serve(registry, binding, on_ready, token))


async def _serve(
    registry: Registry, binding: Binding, on_ready: Callable[[str], None], token: CancelToken
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end() -> None:
        registry.cancel()
        loop.call_soon_threadsafe(ended.set)

    with contextlib.ExitStack() as until_ready, token.wake_on_cancel(end):
        address = until_ready.enter_context(reserved(binding.address))
        bound = binding._replace(address=address)
        server = _granian(registry.make_app(address), bound)
        before = _threads()
        serving = loop.create_task(server.serve())
        try:
            await _until_accepting(address, serving)
            until_ready.close()
            on_ready(bound.url)
            cleaning, ending = loop.create_task(_clean(registry)), loop.create_task(ended.wait())
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (cleaning, ending):
                task.cancel()
        finally:
            server.stop()  # type: ignore[no-untyped-call]  # Granian's
            await _until_ended(serving, before, address.port)


async def _clean(registry: Registry) -> None:
    """Clean up now and then."""
    while True:
        await to_thread.run_sync(registry.clean_up)
        await asyncio.sleep(_CLEAN_SECONDS)


def _granian(app: ASGIApp, binding: Binding) -> Server:
    certificate, key = binding.tls or (None, None)
    return Server(
        app,
        address=binding.address.ip,
        port=binding.address.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_most_connections(),
        http1_settings=HTTP1Settings(
            header_read_timeout=int(binding.head_seconds * 1000), max_buffer_size=MAX_HEAD
        ),
        log_enabled=False,
        ssl_cert=certificate,
        ssl_key=key,
        ssl_protocol_min=SSLProtocols.tls12,
    )


def _most_connections() -> int:
    """Return how many connections may be open; each may open a file as well."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_BACKLOG // 8, min(MAX_CONNECTIONS, files // 2 - _OTHER_FILES))


async def _until_accepting(address: ListenAddress, serving: asyncio.Task[None]) -> None:
    """Wait until the server accepts connections; raises its error if it ends instead."""
    while not serving.done():
        with contextlib.suppress(OSError):
            socket.create_connection(address, timeout=1).close()
            return
        await asyncio.sleep(_POLL_SECONDS)
    await serving


def _threads() -> set[str]:
    """Return the ids of the threads of this process that Python did not start."""
    own = {str(thread.native_id) for thread in threading.enumerate()}
    return {name for name in os.listdir("/proc/self/task") if name not in own}  # noqa: PTH208 - names alone


async def _until_ended(serving: asyncio.Task[None], before: set[str], port: int) -> None:
    """Give running requests some time, then cut their connections."""
    await asyncio.wait({serving}, timeout=_STOP_SECONDS)
    if not serving.done():
        _cut_connections(port)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _CUT_SECONDS
    # Granian's threads run a little longer. They must not meet the end of the interpreter.
    while _threads() - before and loop.time() < deadline:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(_POLL_SECONDS)
    if serving.done():
        await serving  # raises its error


def _cut_connections(port: int) -> None:
    """Shut down all connections to a port of this process; Granian has no call for that."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names alone
        with contextlib.suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):  # noqa: PTH115
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                place = connection.getsockname()
                if isinstance(place, tuple) and place[1] == port:
                    connection.shutdown(socket.SHUT_RDWR)
