"""Numbers as text: sizes in bytes, and counts with their nouns."""

from __future__ import annotations

import bisect

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
STEP = 1000
# Upper bound, format and divisor of sizes. At a bound, rounding would add a digit.
_SIZES: list[tuple[float, str, int]] = [
    (999.5, "%.0f B", 1),
    *(
        (bound * STEP**power, f"{form} {unit}", STEP**power)
        for power, unit in enumerate(UNITS[1:], 1)
        for bound, form in ((9.995, "%.2f"), (99.95, "%.1f"), (999.5, "%.0f"))
    ),
]
_BOUNDS = [bound for bound, _, _ in _SIZES[:-1]]


def size(count: float) -> str:
    """Return a number of bytes with three significant digits: ``29.1 MB``."""
    _, form, divisor = _SIZES[bisect.bisect(_BOUNDS, count)]
    return form % (count / divisor)


def count(number: int, noun: str) -> str:
    """Return ``1 layer``, ``2 layers``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
