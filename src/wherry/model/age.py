"""How long ago a time was, as text."""

from __future__ import annotations

import datetime
import functools

from wherry.model.quantity import count

_HOUR = 3600
_ONE_HOUR = datetime.timedelta(hours=1)
_AGES = (
    (365 * 86400, "year"),
    (30 * 86400, "month"),
    (7 * 86400, "week"),
    (86400, "day"),
    (_HOUR, "hour"),
    (60, "minute"),
)
_EPOCH_YEAR = 1970  # reproducible builds set all times to this year or earlier


def age(created: str, now: datetime.datetime) -> str:
    """Return how long ago an RFC 3339 time was: ``3 weeks ago``."""
    try:
        moment = datetime.datetime.fromisoformat(created)
    except ValueError:
        return "-"
    if moment.year <= _EPOCH_YEAR:
        return "-"
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    passed = now - moment
    hours = passed // _ONE_HOUR
    return _ago(hours * _HOUR if hours else passed.seconds)


@functools.lru_cache(10_000)
def _ago(seconds: int) -> str:
    for length, name in _AGES:
        if seconds >= length:
            return f"{count(seconds // length, name)} ago"
    return "just now"
