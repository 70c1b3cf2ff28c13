"""Counts of the battery, and the table that shows them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 10  # problems shown for each kind
_WIDTHS = (44, 6, 6, 9, 12, 12, 9)
_HEAD = ("fault", "tried", "faults", "survived", "needed kB", "again kB", "seconds")


@dataclass
class Row:
    """Counts for one kind of fault: runs, faults, survived runs, bytes needed and moved."""

    name: str
    tried: int = 0
    faults: int = 0
    survived: int = 0
    needed: int = 0
    fetched: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, run: Run) -> None:
        """Count a run; callable from any thread."""
        with self._lock:
            self.tried += 1
            self.faults += run.faults
            self.survived += not run.problems
            self.needed += run.needed
            self.fetched += run.fetched
            self.slowest = max(self.slowest, run.slowest)
            self.seconds += time.monotonic() - run.started
            self.problems += [f"{self.name}, seed {run.seed}: {text}" for text in run.problems]

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row."""
        refetched = max(0, self.fetched - self.needed)
        return (
            self.name,
            *(f"{number}" for number in (self.tried, self.faults, self.survived)),
            *(f"{size / 1000:,.0f}" for size in (self.needed, refetched)),
            f"{self.seconds:.1f}",
        )


@dataclass
class Run:
    """One run, which its `seed` reproduces.

    `slowest` is the longest time in seconds between a cancel and the end.
    """

    seed: int
    faults: int = 0
    needed: int = 0
    fetched: int = 0
    answers: int = 0
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def answered(self, _: object) -> None:
        """Count a response."""
        self.answers += 1

    def expect(self, holds: bool, problem: str) -> None:
        """Record a problem unless a condition holds."""
        if not holds:
            self.problems.append(problem)


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows with their sums, and below them the problems."""
    total = Row("all")
    for row in rows:
        for name in ("tried", "faults", "survived", "needed", "fetched", "seconds"):
            setattr(total, name, getattr(total, name) + getattr(row, name))
    for cells in (_HEAD, *(row.cells() for row in rows), total.cells()):
        first, *others = (
            cell.ljust(width) if at == 0 else cell.rjust(width + 1)
            for at, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
        )
        print(first, *others, sep="")
    if slowest := max(row.slowest for row in rows):
        print(f"slowest end after a cancel: {slowest:.2f} seconds")
    for row in rows:
        for problem in row.problems[:_SHOWN]:
            print(f"FAILED {problem}")
        if len(row.problems) > _SHOWN:
            print(f"FAILED {row.name}: {len(row.problems) - _SHOWN} more")
