"""A TCP proxy that simulates a slow, distant or broken link in front of a server.

The proxy does not interpret the bytes, so TLS and all protocols work::

    with Distribution(root) as registry, TcpProxy(registry.port, link=Link(rate=20e6)) as proxy:
        client.pull(f"{proxy.host}/app:1")
        print(proxy.sent)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from typing import TYPE_CHECKING, Self

from wherry.testing._relay import ConnectionRelay, Link, Pacer, ProxyConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

__all__ = ["Link", "ProxyConnection", "TcpProxy", "random_cuts"]

_LIFETIME = 1800.0  # seconds after which the proxy ends in any case
_ANSWER = 5.0  # seconds that the loop's thread may take for an action


def random_cuts(seed: int, least: int, most: int) -> Iterator[int]:
    """Yield random numbers of bytes without end, for the ``cuts`` of a `TcpProxy`.

    Args:
        seed: The same seed gives the same numbers.
        least: The smallest number.
        most: The largest number.
    """
    chance = random.Random(seed)  # noqa: S311 - cuts that have to repeat, not secrets
    while True:
        yield chance.randint(least, most)


class TcpProxy:
    """Forwards a free port of 127.0.0.1 to another port there; use it as a context manager.

    ``link``, ``cuts``, ``upload_cuts`` and ``reset`` may be assigned at any time; new connections
    use them.

    Args:
        port: The port of the server.
        link: The properties of the link; by default it is as fast as the machine.
        cuts: For each connection in turn, the number of bytes to the client after which it is
            cut, or None. When they are used up, no connection is cut.
        upload_cuts: The same for the bytes from the client.
        reset: Whether connections are cut by RST instead of FIN. A client that receives RST may
            lose bytes that it has not read.
        lifetime: Seconds after which the proxy ends in any case.

    Attributes:
        connections: The connections in the order of their arrival.
    """

    def __init__(
        self,
        port: int,
        *,
        link: Link | None = None,
        cuts: Iterable[int | None] = (),
        upload_cuts: Iterable[int | None] = (),
        reset: bool = False,
        lifetime: float = _LIFETIME,
    ) -> None:
        self.target = port
        self.link = link or Link()
        self.cuts: Iterable[int | None] = cuts
        self.upload_cuts: Iterable[int | None] = upload_cuts
        self.reset = reset
        self.connections: list[ProxyConnection] = []
        self._lifetime = lifetime
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)  # noqa: FBT003 - the way it is called
        self._port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._main: asyncio.Task[None] | None = None
        self._relays: dict[asyncio.Task[None], ConnectionRelay] = {}
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._shared = Pacer(None)

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._port

    @property
    def host(self) -> str:
        """Address and port, as they appear in a reference: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.port}"

    @property
    def sent(self) -> int:
        """Bytes handed to the operating system for clients, including response headers."""
        return sum(connection.sent for connection in self.connections)

    @property
    def received(self) -> int:
        """Bytes received from clients."""
        return sum(connection.received for connection in self.connections)

    def clear(self) -> None:
        """Remove the closed connections from ``connections``."""
        self._call(self._forget)

    def cut(self) -> None:
        """Cut all open connections; new ones are still accepted."""
        self._call(self._cut_all)

    def stall(self) -> None:
        """Hold all bytes in both directions until `resume`; connections stay open."""
        self._call(self._flowing.clear)

    def resume(self) -> None:
        """End a stall."""
        self._call(self._flowing.set)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port and every connection. Idempotent."""
        with contextlib.suppress(RuntimeError):  # the loop ended with its lifetime
            self._loop.call_soon_threadsafe(self._stop)
        if self._thread.ident is None:
            self._loop.close()
            self._listener.close()
        else:
            self._thread.join()

    def _call(self, action: Callable[[], object]) -> None:
        """Run an action in the loop's thread, and wait until it is done."""
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait(_ANSWER)

    # The methods below run in the thread of the loop.

    def _run(self) -> None:
        with contextlib.closing(self._loop), contextlib.suppress(asyncio.CancelledError):
            self._main = self._loop.create_task(self._accept())
            self._loop.call_later(self._lifetime, self._stop)
            self._loop.run_until_complete(self._main)

    def _stop(self) -> None:
        if self._main is not None:
            self._main.cancel()

    async def _accept(self) -> None:
        try:
            while True:
                client, _ = await self._loop.sock_accept(self._listener)
                self._take(client)
        finally:
            self._listener.close()
            self._cut_all()
            await asyncio.gather(*self._relays, return_exceptions=True)

    def _take(self, client: socket.socket) -> None:
        if self._shared.rate != self.link.shared_rate:
            self._shared = Pacer(self.link.shared_rate)
        self.cuts, self.upload_cuts = iter(self.cuts), iter(self.upload_cuts)
        relay = ConnectionRelay(
            client,
            self.link,
            self._shared,
            self._flowing,
            next(self.cuts, None),
            next(self.upload_cuts, None),
            reset=self.reset,
        )
        self.connections.append(relay.count)
        task = self._loop.create_task(relay.run(self.target))
        self._relays[task] = relay
        task.add_done_callback(self._relays.pop)

    def _cut_all(self) -> None:
        for task, relay in self._relays.items():
            relay.count.cut = True
            task.cancel()

    def _forget(self) -> None:
        self.connections[:] = [each for each in self.connections if not each.closed]
