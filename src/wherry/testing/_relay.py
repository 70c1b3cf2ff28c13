"""One connection through a proxy: what comes in is sent on, paced, delayed, counted, cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 64 * 1024  # bytes that are read at once: a few milliseconds of a fast link
_STEP = 0.01  # seconds of sending that one piece is worth at most, on a slow link
_LEAST = 512  # bytes of a piece, however slow the link
_BURST = 0.02  # seconds of sending that a late timer may make up for
_AHEAD = 4 * 1024 * 1024  # bytes on their way at most, where no rate says how many
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: end by RST, drop what was not sent


@dataclass(frozen=True)
class Link:
    """What the way between clients and server is like.

    `rate` bounds what each connection carries to its client, `shared_rate` what all of them do
    together, both in bytes a second (None: unbounded); what clients send is not slowed down.
    `round_trip` is in seconds: half of it is added each way, and a new connection costs one more.
    `send_buffer` is SO_SNDBUF towards clients, in bytes: a small one keeps what is counted as
    sent close to what the client got (None: the system's, which may be megabytes).
    """

    rate: float | None = None
    shared_rate: float | None = None
    round_trip: float = 0.0
    send_buffer: int | None = None

    @property
    def piece(self) -> int:
        """The bytes that are sent at once."""
        rates = [rate for rate in (self.rate, self.shared_rate) if rate is not None]
        return min(_PIECE, max(_LEAST, int(min(rates) * _STEP))) if rates else _PIECE

    @property
    def pieces_ahead(self) -> int:
        """How many pieces may be on their way: what the link holds, and one more."""
        held = _AHEAD if self.rate is None else self.rate * self.round_trip / 2
        return 1 + (int(min(held, _AHEAD) / self.piece) if self.round_trip else 0)


@dataclass
class ProxyConnection:
    """One connection: bytes sent to the client, bytes received from it, was it cut, is it over."""

    sent: int = 0
    received: int = 0
    cut: bool = False
    closed: bool = False


class Pacer:
    """Tells when bytes may leave so that they come at a rate; a late timer is made up for."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._free = 0.0

    def due(self, size: int, now: float) -> float:
        """Return the time when `size` more bytes have left, and count them."""
        if self.rate is None:
            return now
        self._free = max(self._free, now - _BURST) + size / self.rate
        return self._free


class ConnectionRelay:
    """Carries one connection both ways until it ends or is cut."""

    def __init__(
        self,
        client: socket.socket,
        link: Link,
        shared: Pacer,
        flowing: asyncio.Event,
        cut_after: int | None,
        *,
        reset: bool,
    ) -> None:
        self.count = ProxyConnection()
        self._client = client
        self._link = link
        self._pacers = (Pacer(link.rate), shared)
        self._flowing = flowing
        self._left = cut_after
        self._reset = reset

    async def run(self, port: int) -> None:
        """Connect to the server and carry bytes; closes the client's socket at the end."""
        loop = asyncio.get_running_loop()
        server = socket.socket()
        for each in (self._client, server):
            each.setblocking(False)  # noqa: FBT003 - the way it is called
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._link.send_buffer is not None:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._link.send_buffer)
        try:
            await loop.sock_connect(server, ("127.0.0.1", port))
            await asyncio.sleep(self._link.round_trip)  # what shaking hands would have cost
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(self._client, server, self._note_received))
                both.create_task(self._carry(server, self._client, self._pace))
        except* (OSError, _ConnectionCut):
            pass  # that one side has gone is what proxies live with
        finally:
            server.close()
            if self._reset and self.count.cut:
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._client.close()
            self.count.closed = True

    async def _carry(
        self, source: socket.socket, sink: socket.socket, due: Callable[[int, float], float]
    ) -> None:
        """Carry one direction to its end; `due` tells when so many bytes may go on."""
        loop = asyncio.get_running_loop()
        way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(self._link.pieces_ahead)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._deliver(way, sink))
            data = b"first"
            while data:
                data = await loop.sock_recv(source, self._link.piece)
                await way.put((due(len(data), loop.time()) + self._link.round_trip / 2, data))

    async def _deliver(self, way: asyncio.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await way.get()
            if (pause := due - loop.time()) > 0:
                await asyncio.sleep(pause)
            await self._flowing.wait()
            if not data:
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
                return
            if sink is self._client:
                data = self._until_cut(data)
                # Counted first: a client that has the bytes finds them counted.
                self.count.sent += len(data)
            await loop.sock_sendall(sink, data)
            if self._left == 0:
                self.count.cut = True
                raise _ConnectionCut

    def _until_cut(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        data = data[: self._left]
        self._left -= len(data)
        return data

    def _note_received(self, size: int, now: float) -> float:
        self.count.received += size
        return now

    def _pace(self, size: int, now: float) -> float:
        return max(pacer.due(size, now) for pacer in self._pacers)


class _ConnectionCut(Exception):
    """The connection has carried all that it may."""
