"""Answers with a blob of the store: whole, or a part of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from wherry.serve.answers import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from wherry.model.digest import Digest
    from wherry.store import LocalStore

_CHUNK = 64 * 1024  # bytes that are read at a time; the server may queue 16 of them
_NO_WAIT = getattr(os, "RWF_NOWAIT", None)  # only Linux has it
_RANGE = re.compile(r"bytes=\s*([0-9]{0,30})-([0-9]{0,30})\s*")
_MAX_AGE = "max-age=31536000"  # a digest always has the same content


def blob_headers(digest: Digest) -> dict[str, str]:
    """Return the headers of every answer that has a blob."""
    return {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": str(digest),
        "ETag": f'"{digest}"',
        "Cache-Control": _MAX_AGE,
        "Accept-Ranges": "bytes",
    }


class BlobResponse(Response):
    """A stored blob, or a part of it.

    The server sends a whole file by its path, which is many times as fast as passing it on in
    chunks. If the file was just collected, it answers 404.
    """

    def __init__(self, path: Path, digest: Digest, size: int, part: range | None = None) -> None:
        self._path = path
        self._is_whole = part is None
        self._part = range(size) if part is None else part
        headers = blob_headers(digest)
        headers["Content-Length"] = str(len(self._part))
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
        super().__init__(None, 200 if part is None else 206, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        if scope["method"] == "HEAD" or not self._part:
            await send(start)
            await send({"type": "http.response.body", "body": b""})
        elif self._is_whole and "http.response.pathsend" in scope.get("extensions", {}):
            await send(start)
            await send({"type": "http.response.pathsend", "path": str(self._path)})
        else:
            try:
                file = await run_in_threadpool(os.open, self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                gone = ApiError("BLOB_UNKNOWN", "the blob was just removed").response()
                await gone(scope, receive, send)
                return
            await self._send_chunks(file, start, receive, send)

    async def _send_chunks(
        self, file: int, start: dict[str, object], receive: Receive, send: Send
    ) -> None:
        """Send the part from an open file, and close the file."""
        leaving = asyncio.ensure_future(until_gone(receive))
        try:
            await send(start)
            at, end = self._part.start, self._part.stop
            while at < end and not leaving.done():
                data = await _read(file, min(_CHUNK, end - at), at)
                if not data:
                    raise OSError(f"{self._path} ends at byte {at:,}")
                at += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": at < end})
                await asyncio.sleep(0)  # a send that need not wait lets no other task run
        finally:
            leaving.cancel()
            os.close(file)


async def until_gone(receive: Receive) -> None:
    """Wait until the client closes its connection: sending to it raises no error."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(file: int, count: int, at: int) -> bytes:
    """Read from a file: at once what is in memory, the rest in a thread."""
    if _NO_WAIT is not None:
        buffer = bytearray(count)
        with contextlib.suppress(OSError):  # not in memory, or the file system cannot tell
            found = os.preadv(file, [buffer], at, _NO_WAIT)
            if found:
                return bytes(memoryview(buffer)[:found])
    return await run_in_threadpool(os.pread, file, count, at)


def stored_blob(request: Request, store: LocalStore, digest: Digest, size: int) -> Response:
    """Return the answer to a GET or HEAD of a blob that the store has."""
    if f'"{digest}"' in request.headers.get("If-None-Match", ""):
        return Response(None, 304, blob_headers(digest))
    path = store.path / "blobs" / digest.algorithm / digest.hex
    part = parse_range(request.headers.get("Range"), size)
    return BlobResponse(path.absolute(), digest, size, part)


def parse_range(header: str | None, size: int) -> range | None:
    """Return the bytes that a ``Range`` asks for, or None for the whole content.

    Several ranges and other units are ignored, which RFC 9110 ("Range") allows.

    Raises:
        ApiError: None of the bytes exist, or the range is invalid (416).
    """
    if header is None or not header.startswith("bytes=") or "," in header or size == 0:
        return None
    found = _RANGE.fullmatch(header)
    if found is not None and any(found.groups()):
        first, last = found.groups()
        if not first:
            part = range(max(0, size - int(last)), size)
        else:
            part = range(int(first), min(size, int(last) + 1) if last else size)
        if part:
            return part
    raise ApiError(
        "SIZE_INVALID",
        f"this range is not in the blob, which has {size:,} bytes",
        status=416,
        headers={"Content-Range": f"bytes */{size}"},
    )
