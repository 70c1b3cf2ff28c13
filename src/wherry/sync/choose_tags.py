"""Choosing tags of a repository by the rules of an entry; no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherry.model.semver import Range, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wherry.sync.image_list import ImageEntry

    # Returns when the image of each tag was created, in seconds since 1970.
    CreationTimes = Callable[[Sequence[str]], Mapping[str, float]]


def choose_tags(
    entry: ImageEntry, listed: Iterable[str], creation_times: CreationTimes
) -> list[str]:
    """Return the tags that an entry means.

    The tags that the entry names come first, in its order, whether the registry lists them or
    not. The others follow in the order of the registry. With ``newest`` the newest tag comes
    first. By version, only tags that are versions count then.

    Args:
        entry: The entry of a repository.
        listed: The tags of the registry; nothing if the entry needs no list.
        creation_times: Called once, if the entry wants the newest by creation time.
    """
    found = list(filter(_filter(entry), dict.fromkeys((*entry.tags, *_wanted(entry, listed)))))
    if entry.newest is None:
        return found
    if entry.by == "created":
        times = creation_times(found)
        return sorted(found, key=lambda tag: times[tag], reverse=True)[: entry.newest]
    versions = {tag: version for tag in found if (version := Version.parse(tag)) is not None}
    ordered = sorted(versions, key=lambda tag: (versions[tag], tag), reverse=True)
    return ordered[: entry.newest]


def _wanted(entry: ImageEntry, listed: Iterable[str]) -> Iterable[str]:
    """Return the listed tags that the pattern or the range takes; all without either."""
    if entry.takes_every_tag:
        return listed
    pattern = re.compile(entry.match) if entry.match else None
    versions = Range(entry.semver) if entry.semver else None

    def takes(tag: str) -> bool:
        if pattern is not None and pattern.search(tag):
            return True
        version = None if versions is None else Version.parse(tag)
        return versions is not None and version is not None and version in versions

    return filter(takes, listed)


def _filter(entry: ImageEntry) -> Callable[[str], bool]:
    allow = [re.compile(each) for each in entry.allow]
    deny = [re.compile(each) for each in entry.deny]

    def passes(tag: str) -> bool:
        allowed = not allow or any(each.search(tag) for each in allow)
        return allowed and not any(each.search(tag) for each in deny)

    return passes
