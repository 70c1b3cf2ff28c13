"""Print figures side by side, their ratios, and which targets are met."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from build import Built
    from measure import Figures

__all__ = [
    "Results",
    "Verdict",
    "print_image",
    "print_rows",
    "print_targets",
    "print_verdicts",
    "wall_ratios",
]

_MB = 10**6
_ARCHIVE, _PODMAN = "skopeo docker-archive:", "podman pull"
_UNVERIFIED, _LAYOUT = "wherry --no-verify-layers", "skopeo oci:"

# (image, ours, theirs, largest ratio of wall time)
_RATIOS = (
    ("five", "wherry", _ARCHIVE, 0.33),
    ("five", "wherry", _PODMAN, 0.25),
    ("five", _UNVERIFIED, _LAYOUT, 0.9),
    ("many", "wherry", _ARCHIVE, 0.45),
    ("many", "wherry", _PODMAN, 0.25),
    ("many", _UNVERIFIED, _LAYOUT, 1.2),
    ("many", "wherry on a terminal", "wherry", 1.2),
    ("small", "wherry", _ARCHIVE, 0.45),
    ("small", _UNVERIFIED, _LAYOUT, 1.1),
    ("big", "wherry", _ARCHIVE, 0.25),
    ("big", _UNVERIFIED, _LAYOUT, 0.5),
)
_PEAK = 80 * _MB
_GROWTH = 1.05  # in the peak from five layers to one large one; only noise between runs
_START = 6.0
_UP_TO_DATE_REQUESTS = 1


@dataclass
class Results:
    """All figures; a contender without figures has a text with the reason."""

    pulls: dict[str, dict[str, Figures | str]] = field(default_factory=dict)
    up_to_date: dict[str, Figures | str] = field(default_factory=dict)
    start: dict[str, Figures] = field(default_factory=dict)

    def figures(self, image: str, contender: str) -> Figures | None:
        """Return the figures of a contender for an image, if there are any."""
        found = self.pulls.get(image, {}).get(contender)
        return None if isinstance(found, str) else found


class Verdict(NamedTuple):
    """A figure and its upper limit."""

    what: str
    value: float
    limit: float
    unit: str = ""

    def __str__(self) -> str:
        met = "ok" if self.value <= self.limit else "MISSED"
        limit = f"<= {self.limit:g}{self.unit}"
        return f"  {self.what:<62} {self.value:>7.2f}{self.unit:<3} {limit:<10} {met}"


def print_image(name: str, built: Built, rows: dict[str, Figures | str]) -> None:
    """Print the contenders for one image, with their times relative to wherry."""
    print(f"\n{name}: {built}")
    head = ("wall s", "CPU s", "peak MB", "requests", "x wherry", "slowest/fastest")
    print(f"  {'':<26}" + "".join(f"{title:>10}" for title in head[:-1]) + f"{head[-1]:>17}")
    ours = rows.get("wherry")
    for contender, row in rows.items():
        if isinstance(row, str):
            print(f"  {contender:<26}  {row}")
            continue
        times = "" if ours is None or isinstance(ours, str) else f"{row.wall / ours.wall:.2f}"
        print(
            f"  {contender:<26}{row.wall:>10.3f}{row.cpu:>10.3f}{row.peak / _MB:>10.1f}"
            f"{row.requests:>10}{times:>10}{row.spread:>17.2f}",
            flush=True,
        )


def print_rows(rows: Mapping[str, Figures | str]) -> None:
    """Print the figures of commands; a text is the reason why there are none."""
    width = max(map(len, rows)) + 1
    head = ("wall s", "CPU s", "peak MB", "slowest/fastest")
    print(f"  {'':<{width}}" + "".join(f"{title:>10}" for title in head[:-1]) + f"{head[-1]:>17}")
    for name, row in rows.items():
        if isinstance(row, str):
            print(f"  {name:<{width}}  {row}")
        else:
            figures = f"{row.wall:>10.3f}{row.cpu:>10.3f}{row.peak / _MB:>10.1f}"
            print(f"  {name:<{width}}{figures}{row.spread:>17.2f}", flush=True)


def wall_ratios(
    rows: Mapping[str, Figures | str], limits: Sequence[tuple[str, str, float]]
) -> Iterator[Verdict]:
    """Yield the ratios of wall times of two commands each, with the largest that is allowed."""
    for ours, theirs, limit in limits:
        left, right = rows.get(ours), rows.get(theirs)
        if not isinstance(left, str | None) and not isinstance(right, str | None):
            yield Verdict(f"{ours} / {theirs}", left.wall / right.wall, limit)


def print_targets(results: Results) -> None:
    """Print each target for which there are figures."""
    print("\ntargets (ratios of median wall times unless another unit is given)")
    verdicts = [*_ratios(results), *_peaks(results), *_requests(results), *_starts(results)]
    print_verdicts(verdicts)


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print figures with their limits, and how many meet them."""
    for verdict in verdicts:
        print(verdict)
    missed = sum(verdict.value > verdict.limit for verdict in verdicts)
    print(f"  {len(verdicts) - missed} of {len(verdicts)} met")


def _ratios(results: Results) -> Iterator[Verdict]:
    for image, ours, theirs, limit in _RATIOS:
        left, right = results.figures(image, ours), results.figures(image, theirs)
        if left is not None and right is not None:
            yield Verdict(f"{image}: {ours} / {theirs}", left.wall / right.wall, limit)


def _peaks(results: Results) -> Iterator[Verdict]:
    for image, rows in results.pulls.items():
        highest = [
            row.highest_peak
            for name, row in rows.items()
            if name.startswith("wherry") and not isinstance(row, str)
        ]
        if highest:
            yield Verdict(
                f"{image}: largest peak of wherry", max(highest) / _MB, _PEAK / _MB, " MB"
            )
    five, big = results.figures("five", "wherry"), results.figures("big", "wherry")
    if five is not None and big is not None:
        yield Verdict("big: peak of wherry / its peak with five", big.peak / five.peak, _GROWTH)


def _requests(results: Results) -> Iterator[Verdict]:
    for image, row in results.up_to_date.items():
        if isinstance(row, str):
            print(f"  {image}: second pull {row}")
        else:
            what = f"{image}: requests when up to date ({row.wall:.3f} s)"
            yield Verdict(what, row.requests, _UP_TO_DATE_REQUESTS)


def _starts(results: Results) -> Iterator[Verdict]:
    if results.start:
        ours, bare = results.start["wherry --version"], results.start["python -c pass"]
        what = f"wherry --version ({ours.wall:.3f} s) / python -c pass ({bare.wall:.3f} s)"
        yield Verdict(what, ours.wall / bare.wall, _START)
