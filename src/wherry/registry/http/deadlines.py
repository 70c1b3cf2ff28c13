"""Deadlines for the head of a response, for a document and for a blob."""

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
    """Seconds to wait for a connection with TLS, and for the next byte of a response."""

    connect: float = 15.0
    read: float = 30.0

    @property
    def dial(self) -> float:
        """Seconds for all addresses of a host together, and for a proxy's negotiation."""
        return 4 * self.connect

    @property
    def head(self) -> float:
        """Seconds for the whole head of a response, including interim responses."""
        return 2 * self.read

    @property
    def body(self) -> float:
        """Seconds that a body may be late; see `Deadline`."""
        return 4 * self.read


class SlowResponse(TimeoutError):
    """Bytes arrive, but too few."""


class SlowBlob(SlowResponse):
    """The bytes of a blob arrive too slowly; another connection may be faster."""


class Deadline:
    """A limit on the time spent waiting for ``what``.

    It starts at ``seconds``. Each ``rate`` bytes that arrive extend it by one second, up to
    ``seconds``. Only time spent waiting counts.
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
        """Count a wait of ``seconds`` that brought ``received`` bytes.

        Raises:
            SlowResponse: The deadline has passed.
        """
        left = self._left - seconds + received * self._gain
        if left < 0 and received:
            raise self._error(self._problem())
        self._left = min(left, self._seconds)

    def _problem(self) -> str:
        least = "" if self._rate is None else f" at less than {self._rate:,} bytes a second"
        return f"{self._what} takes over {self._seconds:g} seconds{least}"


def head_deadline(timeouts: Timeouts) -> Deadline:
    """Return the deadline of a head, which arriving bytes do not extend."""
    return Deadline("the head of its answer", timeouts.head)


def document_deadline(timeouts: Timeouts) -> Deadline:
    """Return the deadline of a body that is read into memory as a whole."""
    return Deadline("its answer", timeouts.body, _DOCUMENT_RATE)


def blob_deadline(timeouts: Timeouts) -> Deadline:
    """Return the deadline of a blob; a download that misses it resumes elsewhere."""
    return Deadline("the blob", timeouts.body, _BLOB_RATE, SlowBlob)


class DeadlineFile(io.RawIOBase):
    """Reads from a socket within ``deadline``.

    ``file`` is the socket's own raw file, which keeps the socket open until it is closed.
    ``early`` has bytes that were received before; they are read, and removed, first.
    """

    def __init__(
        self,
        sock: socket.socket,
        file: io.RawIOBase,
        deadline: Deadline,
        early: bytearray | None = None,
    ) -> None:
        self._receive = sock.recv_into
        self._early = early
        self._file = file
        self.deadline = deadline

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the available bytes into ``buffer``, at least one; return 0 at the end."""
        if self._early:
            size = min(len(buffer), len(self._early))
            buffer[:size] = self._early[:size]
            del self._early[:size]
            return size
        started = monotonic()
        size = self._receive(buffer)
        self.deadline.note(monotonic() - started, size)
        return size

    def close(self) -> None:
        """Close the socket's file."""
        if not self.closed:
            super().close()
            self._file.close()
