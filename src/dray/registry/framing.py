"""Where an answer begins and ends, as strictly as the library is not (RFC 9112)."""

from __future__ import annotations

import http.client
import re
from typing import Any

_BEFORE = {*range(100, 200)} - {101}  # of answers that another follows (RFC 9110, 15.2)
_BODILESS = {204, 304}  # of answers without a body, whatever their headers say (RFC 9112, 6.3)
_LENGTH = re.compile("[0-9]{1,18}")


class _Lines:
    """A file that remembers its last line."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def close(self) -> None:
        self._file.close()


class Answer(http.client.HTTPResponse):
    """An answer whose head and body have to be whole (RFC 9112, section 8).

    The library takes the end of a connection for the end of the head: half an address in
    ``Location``, or no ``Content-Range`` at all, would be believed. So does its `read1` with
    a body. Of the answers that come before the one that counts it knows 100 alone, and of
    several lengths it believes the first.
    """

    headers: Any  # None until there are some
    _method: str | None

    def begin(self) -> None:
        """Read the head; raises `http.client.HTTPException` if it is none, or not whole."""
        self._read_head()
        while self.status in _BEFORE:
            self.headers = None
            self._read_head()
        if self.status in _BODILESS:
            self.chunked = False
        elif not self.chunked and self._method not in {"HEAD", "CONNECT"}:
            self._measure()

    def _measure(self) -> None:
        """Find out how long the body is by lengths that are one (RFC 9110, 8.6)."""
        values = ",".join(self.headers.get_all("content-length", [])).split(",")
        if len(values) < 2:  # noqa: PLR2004 - then the library has found it out
            return
        length, *others = {value.strip() for value in values}
        if others or not _LENGTH.fullmatch(length):
            raise http.client.HTTPException("it has several lengths")
        self.length = int(length)

    def _read_head(self) -> None:
        file = self.fp
        lines: Any = _Lines(file)
        self.fp = lines
        try:
            super().begin()
        finally:
            if self.fp is not None:  # None: there was no answer at all
                self.fp = file
        if lines.last not in {b"\r\n", b"\n"}:
            raise http.client.RemoteDisconnected("the connection ended within the head")

    def read1(self, n: int = -1) -> bytes:
        """Return what is there, nothing at the end; raises `IncompleteRead` if it is too early."""
        data = super().read1(n)
        if not data and n and self.length:
            raise http.client.IncompleteRead(b"", self.length)
        return data
