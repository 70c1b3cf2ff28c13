"""Reporting the progress of blobs as events."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from wherry.content.events import Event, Status
from wherry.content.log import Callback
from wherry.transfer.event_queue import EventQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wherry.content.protocols import Receipt
    from wherry.errors import WherryError
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest

INTERVAL = 0.1  # seconds between reports of one layer's bytes


class Emitter:
    """Calls a listener with one event at a time; its exceptions are logged.

    An `EventQueue` as the listener prevents that a slow function delays the operation.
    """

    def __init__(self, listener: Callable[[Event], None], reference: str) -> None:
        self._listener = (
            listener if isinstance(listener, EventQueue) else Callback("on_event", listener)
        )
        self._reference = reference
        self._lock = threading.Lock()

    def emit(
        self,
        status: Status,
        digest: Digest | None = None,
        *,
        current: int = 0,
        total: int | None = None,
        message: str = "",
        seconds: float = 0.0,
        plan: Mapping[str, Any] | None = None,
    ) -> None:
        """Send an event to the listener."""
        event = Event(status, self._reference, digest, current, total, message, seconds, plan)
        with self._lock:
            self._listener(event)

    def warn(self, message: str) -> None:
        """Report a problem that does not stop the operation."""
        self.emit(Status.WARNING, message=message)

    def note(self, message: str) -> None:
        """Report a detail that only a detailed log shows."""
        self.emit(Status.NOTE, message=message)

    def report_retry(self, pause: float, error: WherryError) -> None:
        """Report that a request is repeated after ``pause`` seconds."""
        self.emit(Status.RETRYING, seconds=pause, message=str(error))


class LayerProgress:
    """Reports the layers of an image; nothing for the config, whose ``layer`` is None."""

    _queued = Status.PULLING
    _moving = Status.DOWNLOADING
    _received = Status.VERIFYING
    _skipped = Status.EXISTS

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._reported: dict[Digest, float] = {}
        self._packed: dict[Digest, float] = {}
        self._unreported: dict[Digest, int] = {}
        self._waited: dict[Digest, tuple[int, float]] = {}

    def report_queued(self, layer: Descriptor) -> None:
        """Report a layer that will be copied."""
        self._emitter.emit(self._queued, layer.digest, total=layer.size)

    def bytes(self, layer: Descriptor | None, current: int) -> None:
        """Report moved bytes, at most once in `INTERVAL`; the last bytes always."""
        if layer is None:
            return
        now = time.monotonic()
        done = current == layer.size
        if not done and now - self._reported.get(layer.digest, 0.0) < INTERVAL:
            self._unreported[layer.digest] = current
            return
        self._reported[layer.digest] = now
        self._unreported.pop(layer.digest, None)
        status = self._received if done else self._moving
        self._emitter.emit(status, layer.digest, current=current, total=_total(layer, current))

    def report_pause(self, layer: Descriptor | None) -> None:
        """Report the last bytes that were not reported, before a pause."""
        current = None if layer is None else self._unreported.pop(layer.digest, None)
        if layer is not None and current is not None:
            self._emitter.emit(
                self._moving, layer.digest, current=current, total=_total(layer, current)
            )

    def report_retry(self, layer: Descriptor | None, pause: float, error: WherryError) -> None:
        """Report a pause before the next attempt."""
        self.report_pause(layer)
        if layer is None:
            self._emitter.report_retry(pause, error)
        else:
            self._emitter.emit(
                Status.RETRYING,
                layer.digest,
                total=layer.size,
                seconds=pause,
                message=str(error),
            )

    def warn(self, message: str) -> None:
        """Report a problem that does not stop the copy."""
        self._emitter.warn(message)

    def report_waiting(self, layer: Descriptor | None, current: int) -> None:
        """Report the progress of another process that fetches the same layer."""
        if layer is None:
            return
        now = time.monotonic()
        known, told = self._waited.get(layer.digest, (None, 0.0))
        if known is None or (current != known and now - told >= INTERVAL):
            self._waited[layer.digest] = current, now
            total = _total(layer, current)
            self._emitter.emit(Status.WAITING, layer.digest, current=current, total=total)

    def complete(self, layer: Descriptor, receipt: Receipt) -> None:
        """Report a layer that is stored."""
        size = receipt.descriptor.size or 0
        if receipt.existed:
            self._emitter.emit(Status.EXISTS, layer.digest, current=size, total=size)
            return
        self._emitter.emit(Status.DOWNLOADED, layer.digest, current=size, total=size)
        self._emitter.emit(Status.COMPLETE, layer.digest, current=size, total=size)

    def report_packing(self, layer: Descriptor, current: int) -> None:
        """Report bytes of the source that were packed anew, at most once in `INTERVAL`."""
        now = time.monotonic()
        if now - self._packed.get(layer.digest, 0.0) >= INTERVAL:
            self._packed[layer.digest] = now
            total = _total(layer, current)
            self._emitter.emit(Status.PACKING, layer.digest, current=current, total=total)

    def report_mounted(self, layer: Descriptor | None, repository: str) -> None:
        """Report a layer that the registry took from another repository."""
        if layer is not None:
            size = layer.size or 0
            self._emitter.emit(
                Status.MOUNTED, layer.digest, current=size, total=layer.size, message=repository
            )

    def report_skipped(self, layer: Descriptor | None) -> None:
        """Report a layer that the sink has."""
        if layer is not None:
            size = layer.size or 0
            self._emitter.emit(self._skipped, layer.digest, current=size, total=layer.size)


class StagingProgress(LayerProgress):
    """Reports layers that are kept only until the operation ends, in the words of archives."""

    _moving = Status.LOADING
    _received = Status.LOADING

    def complete(self, layer: Descriptor, receipt: Receipt) -> None:
        """Report a layer that has arrived."""
        size = receipt.descriptor.size or 0
        self._emitter.emit(Status.LOADED, layer.digest, current=size, total=size)


class SinkProgress(LayerProgress):
    """Reports the layers that a plan writes to a sink.

    Args:
        emitter: Gets the events.
        remote: Whether the sink is a registry, to which layers are pushed.
    """

    _queued = Status.PREPARING
    _skipped = Status.SKIPPED

    def __init__(self, emitter: Emitter, *, remote: bool) -> None:
        super().__init__(emitter)
        self._moving = self._received = Status.PUSHING if remote else Status.COPYING
        self._moved = Status.PUSHED if remote else Status.COPIED

    def report_plan(self, message: str, plan: Mapping[str, Any]) -> None:
        """Report what is going to be written, before the first layer."""
        self._emitter.emit(Status.PLANNED, message=message, plan=plan)

    def complete(self, layer: Descriptor, receipt: Receipt) -> None:
        """Report a layer that is written."""
        size = receipt.descriptor.size or 0
        status = Status.EXISTS if receipt.existed else self._moved
        self._emitter.emit(status, layer.digest, current=size, total=size)

    def report_done(self, root: Descriptor, names: Sequence[str], message: str) -> None:
        """Report that the names stand for ``root``."""
        for name in names or ("",):
            self._emitter.emit(Status.DIGEST, root.digest, total=root.size, message=name)
        self.report_end(message)

    def report_end(self, message: str) -> None:
        """Report what the operation has done."""
        self._emitter.emit(Status.DONE, message=message)


def _total(layer: Descriptor, current: int) -> int | None:
    """Return the size in the manifest, unless more bytes have arrived."""
    return None if layer.size is None or current > layer.size else layer.size
