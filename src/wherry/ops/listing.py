"""Filter the images of a store, by name."""

from __future__ import annotations

import datetime
import itertools
import re
from typing import TYPE_CHECKING, Any

from wherry.errors import WherryError
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import familiar_name, split_name
from wherry.store.listing import ImageRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from wherry.model.address import ImageName
    from wherry.store import LocalStore

    Line: TypeAlias = tuple[str, str, str, int]

_SHOWN = ("name", "id", "created", "size")


class Filters(Record):
    """Which images to list; an image has to pass all filters.

    ``patterns`` match names: ``*``, ``?`` and ``[…]`` match within a component of the path,
    ``**`` matches across components. One matching pattern is enough. ``labels`` are names with
    values, or with None for any value. ``before`` and ``since`` are creation times, exclusive.
    """

    patterns: Sequence[str] = ()
    dangling: bool | None = None
    labels: Sequence[tuple[str, str | None]] = ()
    before: str = ""
    since: str = ""

    @classmethod
    def build(
        cls,
        store: LocalStore,
        patterns: Sequence[str] = (),
        *,
        dangling: bool | None = None,
        labels: Mapping[str, str | None] | None = None,
        before: ImageName | None = None,
        since: ImageName | None = None,
    ) -> Filters:
        """Make the filters that the arguments of a call ask for.

        ``before`` and ``since`` name images of the store, as `find_image` takes them.

        Raises:
            NotFound: The store has no such image.
        """
        from wherry.ops.find_image import find_known_image

        return cls(
            patterns=patterns,
            dangling=dangling,
            labels=tuple((labels or {}).items()),
            before="" if before is None else find_known_image(store, before).record.created,
            since="" if since is None else find_known_image(store, since).record.created,
        )


def list_rows(store: LocalStore, filters: Filters) -> Iterator[ImageRow]:
    """Yield names with their images, then the images without names.

    A name by digest is listed only if its repository has no tag for the same image.
    """
    found: Iterator[ImageRow] = map(ImageRow._make, _rows(store, filters, ImageRow._fields))
    for test in _tests(store, filters):
        found = filter(test, found)
    return found


def list_lines(store: LocalStore, filters: Filters) -> Iterator[Line]:
    """Yield the name, id, creation time and size of each row of `list_rows`."""
    if filters.replace(dangling=None) == Filters():
        return _rows(store, filters, _SHOWN)
    return ((row.name, row.id, row.created, row.size) for row in list_rows(store, filters))


def _rows(store: LocalStore, filters: Filters, columns: Sequence[str]) -> Iterator[Any]:
    tagged = None if filters.dangling is None else not filters.dangling
    unnamed = not tagged and not filters.patterns
    rows = store.list_images(columns, tagged=tagged, unnamed=unnamed)
    return itertools.chain.from_iterable(rows)


def _tests(store: LocalStore, filters: Filters) -> Iterator[Callable[[ImageRow], bool]]:
    """Yield the tests that each row has to pass, the cheapest first."""
    if filters.patterns:
        is_wanted = name_filter(filters.patterns)
        yield lambda row: is_wanted(row.name)
    if filters.before:
        latest = _moment(filters.before)
        yield lambda row: _moment(row.created) < latest
    if filters.since:
        earliest = _moment(filters.since)
        yield lambda row: _moment(row.created) > earliest
    if filters.labels:
        yield lambda row: _has_labels(store, row.id, filters.labels)


def name_filter(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a test of full names: whether any pattern matches, or there is none."""
    expressions = [_expression(pattern) for pattern in patterns]
    return lambda name: not expressions or any(_matches(each, name) for each in expressions)


def _matches(expression: re.Pattern[str], name: str) -> bool:
    """Compare a pattern with all spellings of a name."""
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
    """Parse a creation time; a text that is not a time counts as the oldest."""
    try:
        found = datetime.datetime.fromisoformat(created)
    except ValueError:
        return datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _has_labels(store: LocalStore, image_id: str, wanted: Sequence[tuple[str, str | None]]) -> bool:
    from wherry.model.config import parse_config

    try:
        labels = parse_config(store.read(Digest.parse(image_id))).labels
    except WherryError:  # the image was collected meanwhile, or its config is damaged
        return False
    return all(
        name in labels if value is None else labels.get(name) == value for name, value in wanted
    )
