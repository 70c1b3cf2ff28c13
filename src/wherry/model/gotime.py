"""Times as in Go's JSON: RFC 3339 with up to nine digits of a second."""

from __future__ import annotations

import datetime
import re

ZERO = "0001-01-01T00:00:00Z"

_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{1,2}):(\d{2}):(\d{2})(?:[.,](\d+))?(Z|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_DIGITS = 9  # of a second, in Go
_HOUR = 60  # minutes


def normalized(text: str) -> str | None:
    """Return a time as Go writes it after parsing ``text``; None if Go refuses it.

    Fractions lose trailing zeros, and an offset of 0 becomes ``Z``. Hours with one digit and
    offsets of more than a day are valid, as in the Go version of engine 20.10.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:  # Python has no year 0, whose days are those of year 4
        datetime.datetime(  # noqa: DTZ001 - only checked for validity
            int(year) or 4, int(month), int(day), int(hour), int(minute), int(second)
        )
    except ValueError:
        return None
    digits = (fraction or "")[:_DIGITS].rstrip("0")
    moment = f"{year}-{month}-{day}T{hour:0>2}:{minute}:{second}"
    return (f"{moment}.{digits}" if digits else moment) + _zone(zone)


def parse(text: str) -> datetime.datetime | None:
    """Return the time that Go parses from a text; None if Go or Python refuses it.

    Python keeps six digits of a second.
    """
    written = normalized(text)
    if written is None:
        return None
    try:
        return datetime.datetime.fromisoformat(written)
    except ValueError:  # the year 0, or an offset of more than a day
        return None


def _zone(zone: str) -> str:
    """Return an offset as Go writes it; minutes over 59 become hours."""
    if zone == "Z":
        return zone
    minutes = int(zone[1:3]) * _HOUR + int(zone[4:6])
    return f"{zone[0]}{minutes // _HOUR:02}:{minutes % _HOUR:02}" if minutes else "Z"
