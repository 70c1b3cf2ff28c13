"""Listing: which images of a store to show, and by which names."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

from dray.errors import DrayError
from dray.model.digest import Digest
from dray.model.record import Record
from dray.model.reference import familiar_name, split_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dray.store import LocalStore
    from dray.store.images import L, Line, Listed


class Filters(Record):
    """What is to be listed; all that is given must hold.

    ``patterns`` are for names, with ``*``, ``?`` and ``[…]`` within a path's part and ``**``
    across them; one that matches is enough. ``labels`` are names with values, or with None
    for any value. ``before`` and ``since`` are times of creation, themselves excluded.
    """

    patterns: Sequence[str] = ()
    dangling: bool | None = None
    labels: Sequence[tuple[str, str | None]] = ()
    before: str = ""
    since: str = ""


def listing(store: LocalStore, filters: Filters, kind: type[L]) -> Iterator[L]:
    """Yield names with their images, and after them the images that have none.

    ``kind`` is how much to tell of each, `dray.store.images.Line` or `Listed` (slower).
    A name by digest is shown only where its repository has no tag for the same image.
    """
    tagged = None if filters.dangling is None else not filters.dangling
    unnamed = not tagged and not filters.patterns
    found: Iterable[L] = store.list_images(kind, tagged=tagged, unnamed=unnamed)
    for test in _tests(store, filters):
        found = filter(test, found)
    return iter(found)


def _tests(store: LocalStore, filters: Filters) -> Iterator[Callable[[Line | Listed], bool]]:
    """Yield what each line has to pass, what costs least first."""
    if filters.patterns:
        expressions = [_expression(pattern) for pattern in filters.patterns]
        yield lambda row: any(_matches(expression, row.name) for expression in expressions)
    if filters.before:
        latest = _moment(filters.before)
        yield lambda row: _moment(row.created) < latest
    if filters.since:
        earliest = _moment(filters.since)
        yield lambda row: _moment(row.created) > earliest
    if filters.labels:
        yield lambda row: _has_labels(store, row.id, filters.labels)


def _matches(expression: re.Pattern[str], name: str) -> bool:
    """Compare a pattern with all ways to write a name."""
    repository, tag = split_name(name)
    familiar = familiar_name(repository)
    names = {repository, familiar}
    if tag is not None:
        names |= {f"{repository}:{tag}", f"{familiar}:{tag}"}
    return any(expression.fullmatch(name) for name in names)


_WILD = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?|\[[^]]+\])", pattern)
    found = [
        _WILD.get(part) or (part.replace("[!", "[^") if part[:1] == "[" else re.escape(part))
        for part in parts
    ]
    try:
        return re.compile("".join(found))
    except re.error:
        return re.compile(re.escape(pattern))


def _moment(created: str) -> datetime.datetime:
    """Return a time that can be compared; what says none counts as the oldest."""
    try:
        found = datetime.datetime.fromisoformat(created)
    except ValueError:
        return datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _has_labels(store: LocalStore, image_id: str, wanted: Sequence[tuple[str, str | None]]) -> bool:
    from dray.model.config import parse_config

    try:
        labels = parse_config(store.read(Digest.parse(image_id))).labels
    except DrayError:  # collected since, or damaged: not what was looked for
        return False
    return all(
        name in labels if value is None else labels.get(name) == value for name, value in wanted
    )
