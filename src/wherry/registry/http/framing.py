"""Where an answer begins and ends, as strictly as the library is not (RFC 9112)."""

from __future__ import annotations

import http.client
import io
import re
from typing import TYPE_CHECKING, Any

from wherry.registry.http.deadlines import (
    DeadlineFile,
    blob_deadline,
    document_deadline,
    head_deadline,
)

if TYPE_CHECKING:
    from wherry.registry.http.deadlines import Timeouts

MAX_HEAD = 256 * 1024  # bytes of a head, with all interim answers before it
MAX_INTERIM = 16  # answers before the one that counts
MAX_LINES = 64 * 1024  # bytes of chunk extensions and trailers that no content makes up for
_LINES_PER_BYTE = 4
_BEFORE = {*range(100, 200)} - {101}  # of answers that another follows (RFC 9110, 15.2)
_BODILESS = {204, 304}  # of answers without a body, whatever their headers say (RFC 9112, 6.3)
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}[ \t]*(?:;|\r?\n)")
_LENGTH = re.compile("[0-9]{1,18}")


class LimitExceeded(http.client.HTTPException):
    """An answer has more of something than any honest one."""


class _Head:
    """The file of an answer while its head is read: bounded, and its last line remembered."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = MAX_HEAD
        self.last = b""

    def readline(self, limit: int) -> bytes:
        self.last = self._file.readline(limit)
        self._left -= len(self.last)
        if self._left < 0 or len(self.last) >= limit:
            raise LimitExceeded(f"the head of its answer is over {MAX_HEAD >> 10} KiB")
        return self.last

    def close(self) -> None:
        self._file.close()


class _Chunks:
    """The file of a chunked body: lines of sizes, extensions and trailers are bounded.

    Each byte of content allows for `_LINES_PER_BYTE` more bytes of lines.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = MAX_LINES
        self.last = b""
        self.flush = file.flush
        self.close = file.close

    def readline(self, limit: int) -> bytes:
        line: bytes = self._file.readline(limit)
        self.last = line
        self._left -= len(line)
        if self._left < 0:
            raise LimitExceeded(
                f"its answer has over {MAX_LINES >> 10} KiB of chunk extensions and trailers"
            )
        return line

    def read(self, size: int) -> bytes:
        return self._count(self._file.read(size))

    def read1(self, size: int) -> bytes:
        return self._count(self._file.read1(size))

    def _count(self, data: bytes) -> bytes:
        self._left = min(self._left + _LINES_PER_BYTE * len(data), MAX_LINES)
        return data


class StrictResponse(http.client.HTTPResponse):
    """An answer whose head and body have to be whole (RFC 9112, section 8), and in time.

    The library takes the end of a connection for the end of the head: half an address in
    ``Location``, or no ``Content-Range`` at all, would be believed. So does its `read1` with
    a body. Of the answers that come before the one that counts it knows 100 alone, and of
    several lengths it believes the first. It reads interim answers, extensions of chunks and
    trailers without end.
    """

    headers: Any  # None until there are some
    _method: str | None

    def __init__(
        self, sock: Any, debuglevel: int = 0, method: str | None = None, *, timeouts: Timeouts
    ) -> None:
        super().__init__(sock, debuglevel, method)
        self._timeouts = timeouts
        self._source = DeadlineFile(sock, self.fp.detach(), head_deadline(timeouts))
        self.fp: Any = io.BufferedReader(self._source)

    def begin(self) -> None:
        """Read the head; raises `http.client.HTTPException` if it is none, or not whole."""
        file = self.fp
        head = self.fp = _Head(file)
        try:
            self._read_head(head)
            interim = 0
            while self.status in _BEFORE:
                interim += 1
                if interim > MAX_INTERIM:
                    raise LimitExceeded(f"over {MAX_INTERIM} interim answers come before its own")
                self.headers = None
                self._read_head(head)
        finally:
            if self.fp is not None:  # None: there was no answer at all
                self.fp = file
        if self.status in _BODILESS:
            self.chunked = False
        elif self.chunked:
            self.fp = _Chunks(file)
        elif self._method not in {"HEAD", "CONNECT"}:
            self._measure()
        self._source.pace = blob_deadline(self._timeouts)

    def expect_document(self) -> None:
        """Have the body arrive at the pace of what is read into memory."""
        self._source.pace = document_deadline(self._timeouts)

    def _measure(self) -> None:
        """Find out how long the body is by lengths that are one (RFC 9110, 8.6).

        The library reads them by `int`, which takes signs, underscores and other digits.
        """
        found = self.headers.get_all("content-length")
        if not found:
            return
        length, *others = {value.strip(" \t") for value in ",".join(found).split(",")}
        if others or not _LENGTH.fullmatch(length):
            raise http.client.HTTPException("it has no length, or several")
        self.length = int(length)

    def _read_head(self, head: _Head) -> None:
        try:
            super().begin()
        except http.client.HTTPException as error:
            if type(error) is http.client.HTTPException:  # as the library bounds fields
                raise LimitExceeded("the head of its answer has over 100 fields") from None
            raise
        if head.last not in {b"\r\n", b"\n"}:
            raise http.client.RemoteDisconnected("the connection ended within the head")

    def _read_next_chunk_size(self) -> int:
        """Read a chunk's size; raises `ValueError` for others than RFC 9112, 7.1 has."""
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if not _CHUNK_SIZE.match(self.fp.last):
            raise ValueError("a chunk's size is not hexadecimal")
        return size

    def read1(self, n: int = -1) -> bytes:
        """Return what is there, nothing at the end; raises `IncompleteRead` if it is too early."""
        data = super().read1(n)
        if not data and n and self.length:
            raise http.client.IncompleteRead(b"", self.length)
        return data
