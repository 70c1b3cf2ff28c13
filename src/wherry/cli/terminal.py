"""Progress on a terminal: finished layers scroll up, the others are redrawn below."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TextIO

from wherry.cli.event_lines import event_line
from wherry.cli.render import clock, sizes
from wherry.content.events import Event, Status
from wherry.model.quantity import size

if TYPE_CHECKING:
    from wherry.cli.tally import LayerState, Tally
    from wherry.model.digest import Digest

DELAY = 0.5  # seconds before the first drawing; shorter transfers are not drawn
INTERVAL = 0.2  # seconds between two drawings
WIDTH = 20  # characters of a progress bar
_MOVING = {
    *(Status.WAITING, Status.DOWNLOADING, Status.LOADING, Status.SAVING),
    *(Status.PACKING, Status.PUSHING, Status.COPYING),
}
_ACTIVE = _MOVING | {Status.VERIFYING, Status.DOWNLOADED, Status.RETRYING}


class TerminalDisplay:
    """Lines that stay, and below them rows that are redrawn.

    The rows are plain text. The progress bars of `rich` would redraw for each row that is added.
    The drawing thread imports `rich` when there is something to draw.
    """

    def __init__(self, stream: TextIO, tally: Tally) -> None:
        self._stream = stream
        self._tally = tally
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._live: Any = None
        self._rates: dict[Digest, tuple[int, float]] = {}
        self._thread = threading.Thread(target=self._draw, name="wherry-progress", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            self._tally.update(event)
            if event.status is Status.DONE:  # results follow on stdout, so drawing must stop
                self._tally.layers.clear()
                self._rates.clear()
            text = event_line(event)
            if text is None:
                return
            self._refresh()
            if self._live is None:
                self._stream.write(text + "\n")
                self._stream.flush()
            else:
                self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Erase the rows; the lines above them stay."""
        self._closed.set()
        self._thread.join(timeout=1)
        with self._lock:
            self._stop()

    def _draw(self) -> None:
        if self._closed.wait(DELAY):
            return
        import rich.live  # noqa: F401 - slow, so import it before taking the lock

        while not self._closed.wait(INTERVAL):
            with self._lock:
                self._measure()
                if self._live is None and self._tally.layers:
                    self._start()
                self._refresh()

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(file=self._stream, force_terminal=True),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def _refresh(self) -> None:
        """Draw the current rows; stop drawing if there are none."""
        if self._live is None:
            return
        rows = self._rows()
        if not rows:
            self._stop()
            return
        from rich.text import Text

        self._live.update(Text("\n".join(rows), no_wrap=True, overflow="crop"), refresh=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.update("", refresh=True)
            self._live.stop()
            self._live = None

    def _rows(self) -> list[str]:
        rows = [
            self._row(digest, state)
            for digest, state in self._tally.layers.items()
            if state.status in _ACTIVE
        ]
        over = self._tally.ended == len(self._tally.layers)
        return [] if over else [*rows, self._tally.summary()]

    def _row(self, digest: Digest, state: LayerState) -> str:
        total = state.total or 0
        share = min(state.current / total, 1.0) if total else 0.0
        halves = int(share * WIDTH * 2)
        bar = ("━" * (halves // 2) + "╸" * (halves % 2)).ljust(WIDTH)
        row = f"{digest.short}  {state.status:<18}  {bar}  {sizes(state.current, state.total)}"
        rate = self._rates.get(digest, (0, 0.0))[1]
        if state.status not in _MOVING or rate <= 0:
            return row
        left = f"  {clock((total - state.current) / rate)}" if total else ""
        return f"{row}  {size(rate)}/s{left}"

    def _measure(self) -> None:
        """Update the smoothed rate of each layer, in bytes per second."""
        for digest, state in self._tally.layers.items():
            before, rate = self._rates.get(digest, (state.current, 0.0))
            if state.current < before:  # it starts again, or is sent after it was compressed
                before, rate = state.current, 0.0
            now = (state.current - before) / INTERVAL
            rate = now if rate == 0.0 else 0.8 * rate + 0.2 * now
            self._rates[digest] = (state.current, rate)
