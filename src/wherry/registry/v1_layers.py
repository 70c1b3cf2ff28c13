"""Layers of version 1 images: opened, resumed, and compared with the stated size.

A version 1 id is not a digest, so no digest tells whether two responses have the same content.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherry.content.protocols import Opened, RangeRefused
from wherry.errors import IntegrityError, NetworkError
from wherry.model.record import Record
from wherry.registry.blob_response import BlobSizes

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Stream
    from wherry.errors import Places
    from wherry.registry.v1_api import V1Api


class _Served(Record):
    """What a server has said about a layer that it served.

    Attributes:
        host: The server.
        total: The size of the layer; None if it did not say.
        ranges: Whether it serves ranges.
        etag: The strong ``ETag``; empty without one.
        framed: Whether a truncated body differs from a complete one.
    """

    host: str
    total: int | None
    ranges: bool
    etag: str
    framed: bool


class V1Layers:
    """Opens the layers of one repository. Thread-safe.

    Attributes:
        sizes: The bytes of layers by image id, as stated by ``X-Docker-Size``.
    """

    def __init__(self, label: str) -> None:
        self.sizes: dict[str, int] = {}
        self._label = label
        self._served: dict[str, _Served] = {}
        self._lock = threading.Lock()

    def open(self, api: V1Api, image_id: str, offset: int, cancel: CancelToken) -> Opened:
        """Open a layer at ``offset`` if the same server said that it serves ranges, else at 0.

        Raises:
            IntegrityError: The layer has another size than stated, or than before.
        """
        with self._lock:
            before = self._served.get(image_id)
        is_resumable = before is not None and before.ranges and before.host == api.endpoint.host
        for start in (offset, 0) if is_resumable else (0,):
            sizes = BlobSizes(served=before.total if start and before is not None else None)
            etag = before.etag if start and before is not None else ""
            try:
                found = api.get_layer(image_id, start, sizes, etag, cancel)
            except RangeRefused:
                continue
            opened = found.opened
            served = _Served(
                api.endpoint.host, opened.total, found.ranges, found.etag, found.framed
            )
            return self._checked(image_id, opened, served, before if offset else None)
        raise NetworkError(
            "it sends parts of layers that were not requested", host=api.endpoint.name
        ).within(self._label, f"layer of {image_id}")

    def _checked(
        self, image_id: str, opened: Opened, served: _Served, before: _Served | None
    ) -> Opened:
        where = (self._label, f"layer of {image_id}")
        stated = self.sizes.get(image_id)
        problem: IntegrityError | None = None
        if stated is not None and served.total not in {None, stated}:
            problem = _size_error(stated, f"{served.total:,}", where)
        elif before is not None and opened.start == 0 and _is_other(served, before):
            problem = _changed_error(before, served, where)
        if problem is not None:
            opened.stream.close()
            raise problem
        with self._lock:
            if opened.start == 0:
                self._served[image_id] = served
        if stated is None:
            return opened
        stream = _SizedStream(opened.stream, opened.start, stated, where, is_framed=served.framed)
        return Opened(stream, opened.start, stated)


class _SizedStream:
    """A stream that has to end at a stated size.

    Raises `IntegrityError` as soon as it is longer, or at its end if it is shorter. A shorter
    body without framing is a `NetworkError`, since the connection may have been cut.
    """

    def __init__(
        self, stream: Stream, position: int, size: int, where: Places, *, is_framed: bool
    ) -> None:
        self._stream = stream
        self._position = position
        self._size = size
        self._where = where
        self._is_framed = is_framed

    def read1(self, size: int, /) -> bytes:
        """Return the available bytes, none at the end."""
        data = self._stream.read1(size)
        self._position += len(data)
        if self._position > self._size:
            raise _size_error(self._size, f"over {self._size:,}", self._where)
        if not data and size and self._position < self._size:
            if not self._is_framed:
                message = f"the layer ended after {self._position:,} of {self._size:,} bytes"
                raise NetworkError(message, host=self._where[0]).within(*self._where)
            raise _size_error(self._size, f"{self._position:,}", self._where)
        return data

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


def _is_other(served: _Served, before: _Served) -> bool:
    """Return whether a server now says that a layer has another content than before."""
    if None not in {served.total, before.total} and served.total != before.total:
        return True
    is_same_host = before.host == served.host
    return is_same_host and "" not in {served.etag, before.etag} and served.etag != before.etag


def _size_error(stated: int, actual: str, where: Places) -> IntegrityError:
    return IntegrityError(
        f"it has {actual} bytes, and {stated:,} by X-Docker-Size",
        expected=str(stated),
        actual=actual,
    ).within(*where)


def _changed_error(before: _Served, served: _Served, where: Places) -> IntegrityError:
    return IntegrityError(
        "it changed while it was downloaded",
        expected=before.etag or f"{before.total} bytes",
        actual=served.etag or f"{served.total} bytes",
        hint="run the command again",
    ).within(*where)
