"""The bytes of an image's layers that have arrived, and how fast."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wherry.cli.render import clock, sizes
from wherry.content.events import Event, Status
from wherry.model.quantity import size

if TYPE_CHECKING:
    from wherry.model.digest import Digest

_ENDED = {
    *(Status.EXISTS, Status.COMPLETE, Status.LOADED, Status.SAVED),
    *(Status.PUSHED, Status.COPIED, Status.MOUNTED, Status.SKIPPED),
}
_ARRIVING = {
    *(Status.DOWNLOADING, Status.VERIFYING, Status.WAITING),
    *(Status.LOADING, Status.SAVING),
    *(Status.PUSHING, Status.COPYING),
}
WINDOW = 5.0  # seconds over which a rate is averaged


class LayerState:
    """The last status of a layer, and how many of its bytes are there.

    ``begun`` is true after the first event with a byte count.
    """

    def __init__(self, status: Status) -> None:
        self.status = status
        self.current = 0
        self.total: int | None = None
        self.begun = False


class Tally:
    """The state of all layers of one image, and the rate at which they arrive."""

    def __init__(self) -> None:
        self.layers: dict[Digest, LayerState] = {}
        self._arrived = 0
        self._samples: list[tuple[float, int]] = []

    def update(self, event: Event) -> LayerState | None:
        """Record an event and return the state of its layer."""
        if event.status in {Status.RESOLVED, Status.PLANNED}:
            self.layers.clear()
            self._samples = [(time.monotonic(), self._arrived)]
        if event.digest is None or event.status is Status.DIGEST:
            return None
        state = self.layers.setdefault(event.digest, LayerState(event.status))
        if event.status in _ARRIVING:
            # Bytes of an earlier pull are there, but did not arrive now.
            self._arrived += max(0, event.current - state.current) if state.begun else 0
            state.begun = True
        state.status = event.status
        state.total = event.total
        if event.status is not Status.RETRYING:  # a retry keeps the bytes that have arrived
            state.current = event.current
        return state

    @property
    def current(self) -> int:
        """Bytes of all layers that are there; none of layers that are being compressed."""
        states = self.layers.values()
        return sum(state.current for state in states if state.status is not Status.PACKING)

    @property
    def total(self) -> int:
        """Size of all layers in bytes; an unknown size counts as the bytes so far."""
        return sum(state.total or state.current for state in self.layers.values())

    @property
    def ended(self) -> int:
        """Number of layers that are done."""
        return sum(state.status in _ENDED for state in self.layers.values())

    def rate(self) -> float:
        """Return the bytes per second over the last seconds; call this regularly."""
        now = time.monotonic()
        self._samples = [s for s in self._samples if now - s[0] <= WINDOW]
        self._samples.append((now, self._arrived))
        (then, before), (_, after) = self._samples[0], self._samples[-1]
        return (after - before) / (now - then) if now > then else 0.0

    def left(self) -> float | None:
        """Return the seconds until all layers are there; None while nothing arrives."""
        rate = self.rate()
        return (self.total - self.current) / rate if rate > 0 else None

    def summary(self) -> str:
        """Return ``2/5 layers, 87.3/146.0 MB, 38.0 MB/s, 0:02 left``."""
        parts = [f"{self.ended}/{len(self.layers)} layers", sizes(self.current, self.total)]
        left = self.left()
        if left is not None:
            parts += [f"{size(self.rate())}/s", f"{clock(left)} left"]
        return ", ".join(parts)
