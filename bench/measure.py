"""Measure commands: wall time, CPU time including children, peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CommandError", "Figures", "Sample", "run"]

_LAUNCH = Path(__file__).with_name("launch.py")


class CommandError(Exception):
    """A command failed; the text is the end of its output."""


@dataclass(frozen=True)
class Sample:
    """One run: wall time and CPU time in seconds, peak memory in bytes."""

    wall: float
    cpu: float
    peak: int
    requests: int = 0


@dataclass(frozen=True)
class Figures:
    """Several runs of one command: median times, and the largest peak."""

    wall: float
    cpu: float
    peak: int
    highest_peak: int
    requests: int
    spread: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Figures:
        """Summarize samples; `spread` is the slowest run divided by the fastest."""
        walls = [sample.wall for sample in samples]
        return cls(
            wall=statistics.median(walls),
            cpu=statistics.median(sample.cpu for sample in samples),
            peak=statistics.median_low([sample.peak for sample in samples]),
            highest_peak=max(sample.peak for sample in samples),
            requests=max(sample.requests for sample in samples),
            spread=max(walls) / min(walls),
        )


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str],
    terminal: bool = False,
) -> Sample:
    """Run a command and return its sample; its output goes to `log`.

    `peak` is the largest resident size of the command or of any child it waited for.  Raises
    CommandError if the command fails.
    """
    how = "terminal" if terminal else "pipe"
    launcher = [sys.executable, "-I", "-S", str(_LAUNCH), how, str(log)]
    answer = subprocess.run(
        [*launcher, *map(str, command)], env=dict(env), stdout=subprocess.PIPE, check=True
    )
    cost = json.loads(answer.stdout)
    if cost["exit"] != 0:
        output = log.read_text(errors="replace").strip() or "(no output)"
        raise CommandError(f"exit status {cost['exit']}: {output[-500:]}")
    return Sample(cost["wall"], cost["cpu"], cost["peak"])
