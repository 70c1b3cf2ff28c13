"""An answer with a blob that is still arriving."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from wherry.serve.blob_response import until_gone

if TYPE_CHECKING:
    import io
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from wherry.model.digest import Digest
    from wherry.serve.proxy.download import Download

HELD = 64 * 1024  # bytes that a client gets only after the digest was verified
_CHUNK = 128 * 1024  # bytes that are read at a time; hundreds of clients may follow


class WrongContent(ConnectionAbortedError):
    """A response cannot be completed: its connection has to be closed before its end."""


class FollowingResponse(Response):
    """A blob, or a part of it, that is sent while it arrives.

    Each response hashes what it reads, because a download may begin anew, perhaps in another
    process. Its last bytes are held back until the digest matches. Otherwise the connection is
    closed before the end that ``Content-Length`` or the last chunk marks, so no client takes the
    content for complete.

    Args:
        download: The download.
        file: What has arrived; closed at the end.
        part: The bytes to send; None for all.
        headers: Headers that do not depend on the size.
    """

    def __init__(
        self,
        download: Download,
        file: io.FileIO,
        part: range | None,
        headers: Mapping[str, str],
    ) -> None:
        self._download = download
        self._file = file
        self._reader = FollowingReader(file, download.digest, download.total, part)
        found = dict(headers)
        total = download.total
        if part is not None:
            found["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{total}"
        if total is not None:
            found["Content-Length"] = str(total if part is None else len(part))
        super().__init__(None, 200 if part is None else 206, found)
        if total is None:
            del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        del scope
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(until_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            is_wrong = sending.done() and not sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.wait({sending, leaving})
            self._file.close()
        if is_wrong:
            raise WrongContent(f"{self._download.digest} cannot be sent to its end")

    async def _send(self, send: Send) -> bool:
        """Send what arrives; tell whether it was right, and all of it was sent."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        download, reader = self._download, self._reader
        while True:
            version, is_done = download.version, download.is_done
            count, data = await run_in_threadpool(reader.read)
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            if reader.is_at_end:
                break
            if not count:
                if is_done:
                    break
                await download.changed_since(version)
        if reader.is_whole:
            await send({"type": "http.response.body", "body": reader.held, "more_body": False})
            return True
        await download.ended()  # so that the client's next attempt does not follow it too
        return False


class FollowingReader:
    """Reads a growing file from its start, hashes it, and holds back the last bytes.

    Args:
        file: The file.
        digest: The digest of the whole content.
        total: Its size in bytes, if it is known.
        part: The bytes that are wanted; None for all.
    """

    def __init__(
        self, file: io.FileIO, digest: Digest, total: int | None, part: range | None
    ) -> None:
        self._file = file
        self._digest = digest
        self._total = total
        self._part = part
        self._hasher = digest.hasher()
        self._at = 0
        self.held = b""

    def read(self) -> tuple[int, bytes]:
        """Read what has arrived; return its size, and the bytes that may be sent now."""
        most = _CHUNK if self._total is None else min(_CHUNK, self._total + 1 - self._at)
        data = os.pread(self._file.fileno(), most, self._at)
        self._hasher.update(data)
        wanted = data
        if self._part is not None:
            first = max(0, self._part.start - self._at)
            wanted = data[first : max(first, self._part.stop - self._at)]
        self._at += len(data)
        pending = self.held + wanted
        cut = max(0, len(pending) - HELD)
        self.held = pending[cut:]
        return len(data), pending[:cut]

    @property
    def is_at_end(self) -> bool:
        """Whether as many bytes as stated were read; the download may still store them."""
        return self._at == self._total

    @property
    def is_whole(self) -> bool:
        """Whether what was read has the stated size and the digest."""
        return self._total in {None, self._at} and self._hasher.hexdigest() == self._digest.hex
