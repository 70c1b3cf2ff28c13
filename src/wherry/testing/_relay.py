"""The relay of one connection through a TCP proxy, with limits, delays and cuts."""

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
_STEP = 0.01  # seconds; the most that one piece takes to send on a slow link
_LEAST = 512  # bytes; the smallest piece
_BURST = 0.02  # seconds of sending that a late timer may catch up on
_AHEAD = 4 * 1024 * 1024  # bytes in flight at most, if no rate bounds them
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST and drop unsent bytes


@dataclass(frozen=True)
class Link:
    """The properties of a simulated network link.

    Attributes:
        rate: Bytes a second that each connection carries to its client; None for no limit.
            Bytes from clients are not limited.
        shared_rate: Bytes a second that all connections carry to clients together; None for no
            limit.
        round_trip: Seconds. Half of it delays the bytes in each direction, and a new connection
            takes one more.
        send_buffer: SO_SNDBUF towards clients, in bytes. A small one keeps the count of sent
            bytes close to what the client received. None keeps the system's, which may be
            megabytes.
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
        """The number of pieces in flight at most: what the link holds, and one more."""
        held = _AHEAD if self.rate is None else self.rate * self.round_trip / 2
        return 1 + (int(min(held, _AHEAD) / self.piece) if self.round_trip else 0)


@dataclass
class ProxyConnection:
    """A connection through a proxy.

    Attributes:
        sent: Bytes sent to the client.
        received: Bytes received from the client.
        cut: Whether the proxy cut the connection.
        closed: Whether the connection has ended.
    """

    sent: int = 0
    received: int = 0
    cut: bool = False
    closed: bool = False


class Pacer:
    """Computes when bytes may leave so that they keep to a rate."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._free = 0.0

    def due(self, size: int, now: float) -> float:
        """Return the time when ``size`` more bytes may have left."""
        if self.rate is None:
            return now
        self._free = max(self._free, now - _BURST) + size / self.rate
        return self._free


class ConnectionRelay:
    """Relays one connection in both directions until it ends or is cut."""

    def __init__(
        self,
        client: socket.socket,
        link: Link,
        shared: Pacer,
        flowing: asyncio.Event,
        cut_after: int | None,
        upload_cut_after: int | None = None,
        *,
        reset: bool,
    ) -> None:
        self.count = ProxyConnection()
        self._client = client
        self._link = link
        self._pacers = (Pacer(link.rate), shared)
        self._flowing = flowing
        self._left = {False: cut_after, True: upload_cut_after}  # by: is it to the server
        self._reset = reset

    async def run(self, port: int) -> None:
        """Connect to the server and relay bytes; closes the client's socket at the end."""
        loop = asyncio.get_running_loop()
        server = socket.socket()
        for each in (self._client, server):
            each.setblocking(False)  # noqa: FBT003 - the way it is called
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._link.send_buffer is not None:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._link.send_buffer)
        try:
            await loop.sock_connect(server, ("127.0.0.1", port))
            await asyncio.sleep(self._link.round_trip)  # the time of a TCP handshake
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(self._client, server, self._note_received))
                both.create_task(self._carry(server, self._client, self._pace))
        except* (OSError, _ConnectionCut):
            pass  # either side may close at any time
        finally:
            server.close()
            if self._reset and self.count.cut:
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._client.close()
            self.count.closed = True

    async def _carry(
        self, source: socket.socket, sink: socket.socket, due: Callable[[int, float], float]
    ) -> None:
        """Relay one direction to its end; ``due`` returns when bytes may be sent on."""
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
            is_upload = sink is not self._client
            data = self._until_cut(data, is_upload=is_upload)
            if not is_upload:
                # Counted first, so that a client never has bytes that are not counted.
                self.count.sent += len(data)
            await loop.sock_sendall(sink, data)
            if self._left[is_upload] == 0:
                self.count.cut = True
                raise _ConnectionCut

    def _until_cut(self, data: bytes, *, is_upload: bool) -> bytes:
        left = self._left[is_upload]
        if left is None:
            return data
        data = data[:left]
        self._left[is_upload] = left - len(data)
        return data

    def _note_received(self, size: int, now: float) -> float:
        self.count.received += size
        return now

    def _pace(self, size: int, now: float) -> float:
        return max(pacer.due(size, now) for pacer in self._pacers)


class _ConnectionCut(Exception):
    """The connection has carried as many bytes as it may."""
