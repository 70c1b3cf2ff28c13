"""Progress on stderr, in three forms: for a terminal, for a log, for programs."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from wherry.cli import messages
from wherry.cli.printable import drawing, printable
from wherry.cli.render import clock, size, sizes
from wherry.content.events import Event, Status

if TYPE_CHECKING:
    from typing import Protocol, TextIO

    from wherry.model.digest import Digest

    class View(Protocol):
        """Something that shows events."""

        def __call__(self, event: Event) -> None:
            """Take an event; called one at a time, from any thread."""
            ...

        def close(self) -> None:
            """Leave the screen in order."""
            ...


HEARTBEAT = 10.0  # seconds between two lines of a log while layers are on their way
SUMMARY = 1.0  # seconds between two summaries for programs
_ENDED = {Status.EXISTS, Status.COMPLETE, Status.LOADED, Status.SAVED}
_LOCAL = {Status.LOADING, Status.LOADED, Status.SAVING, Status.SAVED}
_ARRIVING = {
    *(Status.DOWNLOADING, Status.VERIFYING, Status.WAITING),
    *(Status.LOADING, Status.SAVING),
}
WINDOW = 5.0  # seconds over which a rate is averaged


class LayerState:
    """What is known of a layer: its last status, how many bytes are there, since it began."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.current = 0
        self.total: int | None = None
        self.begun = False


class Tally:
    """All layers of one image, and how fast they arrive."""

    def __init__(self) -> None:
        self.layers: dict[Digest, LayerState] = {}
        self._arrived = 0
        self._samples: list[tuple[float, int]] = []

    def update(self, event: Event) -> LayerState | None:
        """Take an event in; return the layer that it is about."""
        if event.status is Status.RESOLVED:
            self.layers.clear()
            self._samples = [(time.monotonic(), self._arrived)]
        if event.digest is None or event.status is Status.DIGEST:
            return None
        state = self.layers.setdefault(event.digest, LayerState(event.status))
        if event.status in _ARRIVING:
            # What an earlier pull has left is there, but did not arrive.
            self._arrived += max(0, event.current - state.current) if state.begun else 0
            state.begun = True
        state.status = event.status
        state.total = event.total
        if event.status is not Status.RETRYING:  # which keeps what has arrived
            state.current = event.current
        return state

    @property
    def current(self) -> int:
        """Bytes that are there."""
        return sum(state.current for state in self.layers.values())

    @property
    def total(self) -> int:
        """Bytes of all layers, as far as their sizes are known."""
        return sum(state.total or state.current for state in self.layers.values())

    @property
    def ended(self) -> int:
        """How many layers are done."""
        return sum(state.status in _ENDED for state in self.layers.values())

    def rate(self) -> float:
        """Bytes a second over the last seconds; call it regularly."""
        now = time.monotonic()
        self._samples = [s for s in self._samples if now - s[0] <= WINDOW]
        self._samples.append((now, self._arrived))
        (then, before), (_, after) = self._samples[0], self._samples[-1]
        return (after - before) / (now - then) if now > then else 0.0

    def left(self) -> float | None:
        """Return the seconds that the rest will take; None while nothing moves."""
        rate = self.rate()
        return (self.total - self.current) / rate if rate > 0 else None

    def summary(self) -> str:
        """Return ``2/5 layers, 87.3/146.0 MB, 38.0 MB/s, 0:02 left``."""
        parts = [f"{self.ended}/{len(self.layers)} layers", sizes(self.current, self.total)]
        left = self.left()
        if left is not None:
            parts += [f"{size(self.rate())}/s", f"{clock(left)} left"]
        return ", ".join(parts)


_tally = Tally()


def kept() -> str:
    """Say what of an interrupted pull stays for the next one."""
    if not _tally.current or any(each.status in _LOCAL for each in _tally.layers.values()):
        return ""
    amount = sizes(_tally.current, _tally.total).replace("/", " of ")
    return f"{amount} are kept, the next pull goes on from there"


def line(event: Event) -> str | None:
    """Return what is worth a line of its own in a log."""
    text = _line(event)
    return None if text is None else printable(text)


def _line(event: Event) -> str | None:
    name = event.digest.short if event.digest is not None else ""
    match event.status:
        case Status.RESOLVED | Status.DONE:
            prefix = "Status: " if event.status is Status.DONE else ""
            return prefix + event.message
        case Status.DIGEST:
            return f"Digest: {event.digest}"
        case Status.WARNING:
            return f"Warning: {event.reference}: {event.message}"
        case Status.RETRYING:
            where = f"{name}  " if name else ""
            return f"{where}Retrying in {event.seconds:.1f} seconds ({event.message})"
        case Status.COMPLETE | Status.LOADED | Status.SAVED:
            return f"{name}  {event.status:<14}  {size(event.total or event.current)}"
        case Status.EXISTS:
            return f"{name}  Already exists"
        case _:
            return None


class Quiet:
    """Shows warnings alone."""

    def __call__(self, event: Event) -> None:
        """Take an event."""
        _tally.update(event)
        if event.status is Status.WARNING:
            print(line(event), file=sys.stderr)  # noqa: T201 - this is where printing happens

    def close(self) -> None:
        """Do nothing: nothing is drawn."""


class Notes:
    """Shows warnings, and why nothing moves."""

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if event.status in {Status.WARNING, Status.RETRYING}:
            print(line(event), file=sys.stderr)  # noqa: T201 - as above


class Plain:
    """A line for each layer as it ends, and a sign of life every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._waiting: set[Digest | None] = set()
        self._closed = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="wherry-heartbeat", daemon=True)
        self._heart.start()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            _tally.update(event)
            text = line(event)
            if event.status is Status.WAITING and event.digest not in self._waiting:
                self._waiting.add(event.digest)
                text = f"{event.digest.short if event.digest else ''}  Waiting"
            if text is not None:
                self._write(text)

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()
        self._last = time.monotonic()

    def _beat(self) -> None:
        while not self._closed.wait(HEARTBEAT / 10):
            with self._lock:
                on_their_way = _tally.ended < len(_tally.layers)
                summary = _tally.summary()
                if on_their_way and time.monotonic() - self._last >= HEARTBEAT:
                    self._write(summary)

    def close(self) -> None:
        """Stop the signs of life."""
        self._closed.set()


class Json:
    """One JSON object a line, as documented in docs/progress.md; warnings alone if ``quiet``."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._reference = ""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._sum_up, name="wherry-summary", daemon=True)
        if not quiet:
            self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            if self._closed.is_set():
                return  # an event that was late: the next name has begun, or the command has ended
            _tally.update(event)
            self._reference = event.reference
            if event.status is Status.WARNING or not self._quiet:
                status = event.status.name.lower()
                messages.write(status, event.reference, **self._described(event))

    def _described(self, event: Event) -> dict[str, object]:
        found: dict[str, object] = {}
        if event.digest is not None:
            found["digest"] = str(event.digest)
        if event.total is not None or event.current:
            found |= {"current": event.current, "total": event.total}
        if event.status is Status.RETRYING:
            found["seconds"] = round(event.seconds, 3)
        if event.message:
            found["message"] = event.message
        return found

    def _sum_up(self) -> None:
        while not self._closed.wait(SUMMARY):
            with self._lock:
                if self._closed.is_set() or _tally.ended == len(_tally.layers):
                    continue
                rate, left = _tally.rate(), _tally.left()
                messages.write(
                    "summary",
                    self._reference,
                    current=_tally.current,
                    total=_tally.total,
                    rate=round(rate),
                    seconds=None if left is None else round(left, 1),
                    layers=len(_tally.layers),
                    ended=_tally.ended,
                )

    def close(self) -> None:
        """Stop the summaries, and let nothing follow what is told of the end."""
        with self._lock:
            self._closed.set()


def view(form: str, *, quiet: bool) -> View:
    """Choose how to show progress: ``form`` is auto, plain, tty or json.

    If ``quiet`` only warnings are left, in that form. What an earlier one has told is forgotten.
    """
    _tally.layers.clear()
    if form == "json":
        return Json(quiet=quiet)
    if quiet:
        return Quiet()
    if form == "tty" or (form == "auto" and sys.stderr.isatty()):
        from wherry.cli.terminal import Terminal

        return Terminal(drawing(sys.stderr), _tally)
    return Plain(sys.stderr)
