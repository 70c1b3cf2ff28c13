"""Displays of progress on stderr: for a terminal, a log, or a program."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from wherry.cli import messages
from wherry.cli.event_lines import event_line
from wherry.cli.printable import drawing_stream
from wherry.cli.render import sizes
from wherry.cli.tally import Tally
from wherry.content.events import Event, Status

if TYPE_CHECKING:
    from typing import Protocol, TextIO

    from wherry.model.digest import Digest

    class ProgressDisplay(Protocol):
        """A display of progress events."""

        def __call__(self, event: Event) -> None:
            """Show an event. Calls come one at a time, from any thread."""
            ...

        def close(self) -> None:
            """End the display."""
            ...


HEARTBEAT = 10.0  # seconds between two lines of a log while layers arrive
SUMMARY = 1.0  # seconds between two summaries for programs
_LOCAL = {
    *(Status.LOADING, Status.LOADED, Status.SAVING, Status.SAVED),
    *(Status.COPYING, Status.COPIED),
}
_SENT = {Status.PREPARING, Status.PACKING, Status.PUSHING, Status.PUSHED}

_tally = Tally()


def kept_bytes() -> str:
    """Return how much of an interrupted pull or push the next one can use, or "".

    Of a push these are whole layers: some registries drop an upload that breaks.
    """
    states = _tally.layers.values()
    if any(state.status in {Status.PUSHING, Status.PUSHED} for state in states):
        sending = [state for state in states if state.status in _SENT]
        sent = sum(state.current for state in sending if state.status is Status.PUSHED)
        total = sum(state.total or 0 for state in sending)
        return f"{_of(sent, total)} are sent, the next push goes on from there" if sent else ""
    if not _tally.current or any(state.status in _LOCAL for state in states):
        return ""
    return f"{_of(_tally.current, _tally.total)} are kept, the next pull resumes from there"


def _of(current: int, total: int) -> str:
    return sizes(current, total).replace("/", " of ")


class WarningDisplay:
    """Show only warnings."""

    def __call__(self, event: Event) -> None:
        """Show an event."""
        _tally.update(event)
        if event.status is Status.WARNING:
            print(event_line(event), file=sys.stderr)  # noqa: T201 - displays print

    def close(self) -> None:
        """Do nothing, since nothing is drawn."""


class NoticeDisplay:
    """Show warnings, and the reasons for retries."""

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.status in {Status.WARNING, Status.RETRYING}:
            print(event_line(event), file=sys.stderr)  # noqa: T201 - as above


class LogDisplay:
    """Write a line for each layer as it ends, and a heartbeat every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._waiting: set[Digest | None] = set()
        self._closed = threading.Event()
        self._heart = threading.Thread(
            target=self._write_heartbeats, name="wherry-heartbeat", daemon=True
        )
        self._heart.start()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            _tally.update(event)
            text = event_line(event)
            if text is not None and event.status is Status.WARNING:
                text = text if messages.is_new(text) else None
            if event.status is Status.WAITING and event.digest not in self._waiting:
                self._waiting.add(event.digest)
                text = f"{event.digest.short if event.digest else ''}  Waiting"
            if text is not None:
                self._write(text)

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()
        self._last = time.monotonic()

    def _write_heartbeats(self) -> None:
        while not self._closed.wait(HEARTBEAT / 10):
            with self._lock:
                on_their_way = _tally.ended < len(_tally.layers)
                summary = _tally.summary()
                if on_their_way and time.monotonic() - self._last >= HEARTBEAT:
                    self._write(summary)

    def close(self) -> None:
        """Stop the heartbeat."""
        self._closed.set()


class JsonDisplay:
    """Write a JSON object per line (docs/progress.md); if ``quiet``, only warnings."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._reference = ""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._write_summaries, name="wherry-summary", daemon=True
        )
        if not quiet:
            self._thread.start()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            if self._closed.is_set():
                return  # a late event: the next name has begun, or the command has ended
            _tally.update(event)
            self._reference = event.reference
            if event.status is Status.WARNING or not self._quiet:
                status = event.status.name.lower()
                messages.write_object(status, event.reference, **self._event_fields(event))

    def _event_fields(self, event: Event) -> dict[str, object]:
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

    def _write_summaries(self) -> None:
        while not self._closed.wait(SUMMARY):
            with self._lock:
                if self._closed.is_set() or _tally.ended == len(_tally.layers):
                    continue
                rate, left = _tally.rate(), _tally.left()
                messages.write_object(
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
        """Stop the summaries and drop later events: the outcome is the last object."""
        with self._lock:
            self._closed.set()


def progress_display(form: str, *, quiet: bool) -> ProgressDisplay:
    """Return a display for ``form``: auto, plain, tty or json. Clears the tally.

    With ``quiet`` it shows only warnings, in the same form.
    """
    _tally.layers.clear()
    if form == "json":
        return JsonDisplay(quiet=quiet)
    if quiet:
        return WarningDisplay()
    if form == "tty" or (form == "auto" and sys.stderr.isatty()):
        from wherry.cli.terminal import TerminalDisplay

        return TerminalDisplay(drawing_stream(sys.stderr), _tally)
    return LogDisplay(sys.stderr)
