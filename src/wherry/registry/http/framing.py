"""Responses that are complete and well framed, or else errors (RFC 9112)."""

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

MAX_HEAD = 256 * 1024  # bytes of a head, including all interim responses
MAX_INTERIM = 16  # interim responses before the final one
MAX_LINES = 64 * 1024  # bytes of chunk extensions and trailers beyond what content allows
_LINES_PER_BYTE = 4
_INTERIM = {*range(100, 200)} - {101}  # statuses that a final response follows (RFC 9110, 15.2)
_BODILESS = {204, 304}  # statuses without a body, whatever the headers say (RFC 9112, 6.3)
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}[ \t]*(?:;|\r?\n)")
_LENGTH = re.compile("[0-9]{1,18}")


class UnacceptableResponse(http.client.HTTPException):
    """A response exceeds a limit that no legitimate one reaches, or has an unsupported coding."""


class _HeadFile:
    """A file for reading a head: bounded, and ``last`` is the last line read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = MAX_HEAD
        self.last = b""

    def readline(self, limit: int) -> bytes:
        self.last = self._file.readline(limit)
        self._left -= len(self.last)
        if self._left < 0 or len(self.last) >= limit:
            raise UnacceptableResponse(f"the head of its answer is over {MAX_HEAD >> 10} KiB")
        return self.last

    def close(self) -> None:
        self._file.close()


class _ChunkedFile:
    """A file for reading a chunked body: sizes, extensions and trailers are bounded.

    Each byte of content allows `_LINES_PER_BYTE` more bytes of such lines.
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
            raise UnacceptableResponse(
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
    """A response whose head and body have to be complete and on time (RFC 9112, 8).

    `http.client` is more lenient:

    - It accepts a head that the end of the connection cuts off, so that half a ``Location``
      would be believed. Its `read1` accepts a truncated body in the same way.
    - Of the interim responses it skips only 100.
    - Of several different lengths it believes the first.
    - It reads interim responses, chunk extensions and trailers without a limit.
    """

    headers: Any  # None until the head has been read
    _method: str | None

    def __init__(
        self,
        sock: Any,
        debuglevel: int = 0,
        method: str | None = None,
        *,
        timeouts: Timeouts,
        early: bytearray | None = None,
    ) -> None:
        super().__init__(sock, debuglevel, method)
        self._timeouts = timeouts
        self._source = DeadlineFile(sock, self.fp.detach(), head_deadline(timeouts), early)
        self.fp: Any = io.BufferedReader(self._source)

    def begin(self) -> None:
        """Read the head of the final response.

        Raises:
            http.client.HTTPException: The head is invalid or incomplete.
        """
        file = self.fp
        head = self.fp = _HeadFile(file)
        try:
            self._read_head(head)
            interim = 0
            while self.status in _INTERIM:
                interim += 1
                if interim > MAX_INTERIM:
                    raise UnacceptableResponse(
                        f"over {MAX_INTERIM} interim answers come before its own"
                    )
                self.headers = None
                self._read_head(head)
        finally:
            if self.fp is not None:  # None after an invalid status line
                self.fp = file
        if self.status in _BODILESS:
            self.chunked = False
        elif self._method not in {"HEAD", "CONNECT"}:
            self._check_coding()
            if self.chunked:
                self.fp = _ChunkedFile(file)
            else:
                self._set_length()
        self._source.deadline = blob_deadline(self._timeouts)

    def expect_document(self) -> None:
        """Require the body to arrive as fast as a document has to."""
        self._source.deadline = document_deadline(self._timeouts)

    def _check_coding(self) -> None:
        """Refuse all transfer codings but one "chunked" (RFC 9112, 6.1 and 6.3).

        `http.client` reads other bodies to the end of the connection, which may never come.
        """
        found = self.headers.get_all("transfer-encoding")
        if found and (len(found) > 1 or not self.chunked):
            raise UnacceptableResponse("its answer has a transfer coding that is not supported")

    def _set_length(self) -> None:
        """Set the body's length if all lengths agree (RFC 9110, 8.6).

        `http.client` uses `int`, which accepts signs, underscores and other digits.
        """
        found = self.headers.get_all("content-length")
        if not found:
            return
        length, *others = {value.strip(" \t") for value in ",".join(found).split(",")}
        if others or not _LENGTH.fullmatch(length):
            raise http.client.HTTPException("it has no length, or several")
        self.length = int(length)

    def _read_head(self, head: _HeadFile) -> None:
        try:
            super().begin()
        except http.client.HTTPException as error:
            if type(error) is http.client.HTTPException:  # the library's limit on fields
                raise UnacceptableResponse("the head of its answer has over 100 fields") from None
            raise
        if head.last not in {b"\r\n", b"\n"}:
            raise http.client.RemoteDisconnected("the connection ended within the head")

    def _read_next_chunk_size(self) -> int:
        """Read a chunk's size; raise `ValueError` unless it is as RFC 9112, 7.1 requires."""
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if not _CHUNK_SIZE.match(self.fp.last):
            raise ValueError("a chunk's size is not hexadecimal")
        return size

    def read1(self, n: int = -1) -> bytes:
        """Return the available bytes, or none at the end.

        Raises:
            http.client.IncompleteRead: The connection ended before the body did.
        """
        data = super().read1(n)
        if not data and n and self.length:
            raise http.client.IncompleteRead(b"", self.length)
        return data
