"""How long a server may take for an answer: for its head, for a document, for a blob."""

from __future__ import annotations

import io
from time import monotonic
from typing import TYPE_CHECKING, Any

from wherry.model.record import Record

if TYPE_CHECKING:
    import socket

_DOCUMENT_RATE = 8 * 1024  # bytes a second; 4 MiB take under nine minutes
_BLOB_RATE = 1024


class Timeouts(Record):
    """Seconds to wait for a connection (TLS included), and for the next byte of an answer."""

    connect: float = 15.0
    read: float = 30.0

    @property
    def dial(self) -> float:
        """Seconds for all addresses of a host together, and for a proxy's negotiation."""
        return 4 * self.connect

    @property
    def head(self) -> float:
        """Seconds for the whole head of an answer, with the interim answers before it."""
        return 2 * self.read

    @property
    def body(self) -> float:
        """Seconds that a body may be late; see `Deadline`."""
        return 4 * self.read


class SlowResponse(TimeoutError):
    """Bytes arrive, but too few."""


class SlowBlob(SlowResponse):
    """The same of a blob, which another connection may bring on."""


class Deadline:
    """A bound on the time spent waiting for ``what``.

    There are ``seconds`` to begin with. Each ``rate`` bytes that arrive give one second back,
    up to ``seconds``. Time that the client spends otherwise does not count.
    """

    def __init__(
        self,
        what: str,
        seconds: float,
        rate: float | None = None,
        error: type[SlowResponse] = SlowResponse,
    ) -> None:
        self._what = what
        self._seconds = self._left = seconds
        self._gain = 0.0 if rate is None else 1 / rate
        self._rate = rate
        self._error = error

    def note(self, seconds: float, received: int) -> None:
        """Count a wait of ``seconds`` for ``received`` bytes; raises `SlowResponse`."""
        left = self._left - seconds + received * self._gain
        if left < 0 and received:
            raise self._error(self._problem())
        self._left = min(left, self._seconds)

    def _problem(self) -> str:
        least = "" if self._rate is None else f" at less than {self._rate:,} bytes a second"
        return f"{self._what} takes over {self._seconds:g} seconds{least}"


def head_deadline(timeouts: Timeouts) -> Deadline:
    """Return the pace of a head: its deadline holds however much of it arrives."""
    return Deadline("the head of its answer", timeouts.head)


def document_deadline(timeouts: Timeouts) -> Deadline:
    """Return the pace of what is read into memory as a whole."""
    return Deadline("its answer", timeouts.body, _DOCUMENT_RATE)


def blob_deadline(timeouts: Timeouts) -> Deadline:
    """Return the pace of a blob, which goes on over another connection where it is too slow."""
    return Deadline("the blob", timeouts.body, _BLOB_RATE, SlowBlob)


class DeadlineFile(io.RawIOBase):
    """What arrives on a socket, at the ``pace`` that is set.

    ``file`` is the socket's own raw file, which keeps the socket open until it is closed.
    """

    def __init__(self, sock: socket.socket, file: io.RawIOBase, pace: Deadline) -> None:
        self._receive = sock.recv_into
        self._file = file
        self.pace = pace

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there; raises `SlowResponse`."""
        started = monotonic()
        size = self._receive(buffer)
        self.pace.note(monotonic() - started, size)
        return size

    def close(self) -> None:
        """Close the socket's file."""
        if not self.closed:
            super().close()
            self._file.close()
