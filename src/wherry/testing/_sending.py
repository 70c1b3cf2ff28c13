"""Sends replies over a connection, with their faults."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

    from wherry.testing._messages import Reply, RequestRecord

_CHUNK = 256 * 1024
_TICK = 0.02  # seconds between two pieces of a trickle


def send_reply(
    handler: BaseHTTPRequestHandler, reply: Reply, record: RequestRecord, closing: threading.Event
) -> None:
    """Send a reply, and record how many bytes were sent."""
    if (reply.delay and closing.wait(reply.delay)) or reply.hang_up:
        hang_up(handler, reset=reply.reset)
        return
    record.status = reply.status
    bodyless = record.method == "HEAD" or reply.status in {204, 304}
    _send_head(handler, reply, bodyless=bodyless)
    if reply.head_cut_after is not None:
        hang_up(handler, reset=reply.reset)
        return
    if bodyless:
        return
    for piece in _paced(reply, closing):
        data = b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if reply.chunked else piece
        # Counted first, so that a client never has bytes that are not counted.
        record.bytes_sent += len(piece)
        try:
            handler.connection.sendall(data)
        except OSError:
            record.bytes_sent -= len(piece)
            handler.close_connection = True
            raise
    if closing.is_set() or reply.cut_after is not None:
        hang_up(handler, reset=reply.reset)
    elif reply.chunked:
        handler.connection.sendall(b"0\r\n\r\n")


def hang_up(handler: BaseHTTPRequestHandler, *, reset: bool = False) -> None:
    """Close the connection of a handler, without TLS's closing message."""
    handler.close_connection = True
    shut(handler.connection, reset=reset)


def shut(connection: socket.socket, *, reset: bool = False) -> None:
    """Shut down a connection in both directions, which wakes a thread that is blocked in it.

    With ``reset`` it ends by RST, and unsent bytes are lost.
    """
    with contextlib.suppress(OSError):
        if reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            # Closed at once: a later close would send FIN first.
            os.close(connection.detach())
        else:
            # The method of a TLS socket would first drop state that another thread uses.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _send_head(handler: BaseHTTPRequestHandler, reply: Reply, *, bodyless: bool) -> None:
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    if reply.chunked:
        handler.send_header("Transfer-Encoding", "chunked")
    elif not reply.no_length and reply.status != 204:
        length = reply.size if reply.length is None else reply.length
        handler.send_header("Content-Length", str(length))
    has_no_end = (reply.no_length or reply.length is not None) and not reply.chunked
    if reply.early or (has_no_end and not bodyless):
        # The end of the connection is the only sign of where such a body ends.
        handler.send_header("Connection", "close")
    handler.end_headers()


def _paced(reply: Reply, closing: threading.Event) -> Iterator[bytes | memoryview]:
    """Yield the body in pieces, and wait where the reply asks for it."""
    end = reply.size if reply.cut_after is None else min(reply.size, reply.cut_after)
    stop_at = reply.stall_after
    step = _CHUNK if reply.rate is None else max(1, int(reply.rate * _TICK))
    due = time.monotonic()
    sent = 0
    for position, piece in _pieces(reply, end, step):
        sent = position + len(piece)
        if stop_at is not None and position <= stop_at < sent:
            if stop_at > position:
                yield piece[: stop_at - position]
            if closing.wait(reply.stall_seconds):
                return
            piece = piece[stop_at - position :]  # noqa: PLW2901 - the rest of it
            stop_at = None
        if closing.is_set():
            return
        yield piece
        if reply.rate is not None:
            due += len(piece) / reply.rate
            closing.wait(max(0.0, due - time.monotonic()))
    if stop_at is not None and stop_at == sent:
        closing.wait(reply.stall_seconds)


def _pieces(reply: Reply, end: int, step: int) -> Iterator[tuple[int, bytes | memoryview]]:
    """Yield the first ``end`` body bytes in pieces with their positions.

    The byte at ``flip_at`` is inverted.
    """
    for position, piece in _read(reply, end, step):
        at = -1 if reply.flip_at is None else reply.flip_at - position
        if 0 <= at < len(piece):
            changed = bytearray(piece)
            changed[at] ^= 0xFF
            yield position, bytes(changed)
        else:
            yield position, piece


def _read(reply: Reply, end: int, step: int) -> Iterator[tuple[int, bytes | memoryview]]:
    if isinstance(reply.body, Path):
        with reply.body.open("rb") as file:
            file.seek(reply.start)
            for position in range(0, end, step):
                yield position, file.read(min(step, end - position))
    else:
        view = memoryview(reply.body)[reply.start : reply.start + end]
        for position in range(0, end, step):
            yield position, view[position : position + step]
