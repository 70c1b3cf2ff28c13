"""The bodies of requests, which are streams."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

_BUFFER = 256 * 1024  # bytes; each upload that stalls keeps as much in memory
_DRAIN_BYTES = 64 * 2**20
_DRAIN_SECONDS = 5.0


def length(request: Request) -> int | None:
    """Return the length of the body in bytes, or None if the client does not say."""
    found = request.headers.get("Content-Length")
    if found is not None and found.isdecimal():
        return int(found)
    return None if "Transfer-Encoding" in request.headers else 0


async def buffers(request: Request) -> AsyncIterator[list[bytes]]:
    """Yield the body of a request in lists of about 256 KiB.

    Raises:
        ClientDisconnect: The body is not complete; all that came has been yielded.
    """
    pieces: list[bytes] = []
    count = 0
    try:
        async for piece in request.stream():
            pieces.append(piece)
            count += len(piece)
            if count >= _BUFFER:
                yield pieces
                pieces, count = [], 0
    except ClientDisconnect:
        if count:
            yield pieces
        raise
    if count:
        yield pieces


async def drain(request: Request) -> None:
    """Read the rest of a body that the answer does not depend on.

    Otherwise the server closes the connection while the client is still sending, and the client
    reports a broken pipe instead of the answer. A body that is too long or too slow is left.
    """
    if length(request) == 0:
        return
    count = 0
    # RuntimeError: the body has been read already.
    with contextlib.suppress(ClientDisconnect, TimeoutError, RuntimeError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for piece in request.stream():
                count += len(piece)
                if count > _DRAIN_BYTES:
                    return
