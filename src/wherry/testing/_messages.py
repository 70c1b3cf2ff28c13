"""Requests and replies of the servers of this package."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.testing._request_body import RequestBody

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_MAX_BODY = 8 * 1024 * 1024  # bytes of a request's body that are read into memory


@dataclass
class RequestRecord:
    """A request that a server received, and how much of the response was sent.

    Attributes:
        method: The method.
        path: The path with the query.
        headers: The headers by lower-case name.
        body: The body.
        status: The status of the response; 0 if none was sent.
        bytes_sent: Body bytes of the response that were handed to the operating system.
        connection: The number of the connection at the server, from 1.
        bytes_received: Body bytes of the request that the server read.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    status: int = 0
    bytes_sent: int = 0
    connection: int = 0
    bytes_received: int = 0


@dataclass
class IncomingRequest:
    """A request that a server is about to answer."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    stream: RequestBody

    @property
    def body(self) -> bytes:
        """The whole body, read into memory; a server that streams it reads `stream` instead."""
        return self.stream.read(_MAX_BODY)

    @property
    def target(self) -> str:
        """The path with the query, as in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def values(self, name: str) -> list[str]:
        """Return every value of a query parameter."""
        return parse_qs(self.query, keep_blank_values=True).get(name, [])

    def value(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        return next(iter(self.values(name)), None)


@dataclass
class Reply:
    """A response, and the faults of sending it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Path = b""
    start: int = 0
    stop: int | None = None

    # Faults; positions count bytes of this response's body or head, from 0.
    hang_up: bool = False
    delay: float = 0
    length: int | str | None = None
    no_length: bool = False
    chunked: bool = False
    cut_after: int | None = None
    head_cut_after: int | None = None
    reset: bool = False
    early: bool = False  # sent before the rest of the request's body has been read
    stall_after: int | None = None
    stall_seconds: float = 0
    flip_at: int | None = None
    rate: float | None = None

    @property
    def size(self) -> int:
        """The number of body bytes."""
        stop = self.stop
        if stop is None:
            stop = self.body.stat().st_size if isinstance(self.body, Path) else len(self.body)
        return stop - self.start

    def set(self, name: str, value: str) -> None:
        """Set a header; replaces one whose name differs in case."""
        self.drop(name)
        self.headers[name] = value

    def drop(self, name: str) -> None:
        """Remove a header, whatever the case of its name."""
        for key in [key for key in self.headers if key.lower() == name.lower()]:
            del self.headers[key]


def json_reply(status: int, value: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply with a JSON body."""
    body = json.dumps(value).encode()
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, body)


def error_reply(
    status: int,
    code: str,
    message: str = "",
    *,
    detail: object = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return an error as in the OCI distribution spec, "Error Codes"."""
    error = {"code": code, "message": message or code.lower().replace("_", " "), "detail": detail}
    return json_reply(status, {"errors": [error]}, headers)


def narrow(reply: Reply, request: IncomingRequest) -> Reply:
    """Return the part of a whole reply that ``Range`` asks for (RFC 9110, section 14)."""
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if wanted is None or request.method == "HEAD" or wanted[0] == "bytes=-":
        return reply
    total = reply.size
    if wanted[1]:
        reply.start = int(wanted[1])
        reply.stop = min(int(wanted[2]) + 1, total) if wanted[2] else total
    else:
        reply.start, reply.stop = max(0, total - int(wanted[2])), total
    if reply.start >= reply.stop:
        headers = {"Content-Range": f"bytes */{total}"}
        return error_reply(416, "RANGE_INVALID", headers=headers)
    reply.status = 206
    reply.set("Content-Range", f"bytes {reply.start}-{reply.stop - 1}/{total}")
    return reply
