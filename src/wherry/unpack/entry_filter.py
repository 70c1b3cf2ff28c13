"""Which entries of layers are unpacked, and under which names."""

from __future__ import annotations

import fnmatch
import os
import re
from typing import TYPE_CHECKING

from wherry.errors import NotFound
from wherry.model.record import Record
from wherry.unpack.entry import HARDLINK
from wherry.unpack.tree import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.unpack.entry import Entry

_WHITEOUT, _OPAQUE = b".wh.", b".wh..wh..opq"


class EntryFilter(Record):
    """Selects entries by patterns, and drops leading parts of their names.

    A pattern stands for the paths that it matches, and all that is below them. ``*`` matches any
    characters, slashes too. Whiteouts are always kept: they can only hide something.

    Attributes:
        include: Patterns of what is unpacked; none for everything.
        exclude: Patterns of what is left out nevertheless.
        strip: Parts to drop from the front of each name; shorter names are left out.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    strip: int = 0

    @classmethod
    def build(
        cls, include: Sequence[str] = (), exclude: Sequence[str] = (), strip: int = 0
    ) -> EntryFilter:
        """Make a filter from patterns as they are written."""
        return cls(tuple(include), tuple(exclude), strip)


class Selection:
    """The entries of one image that a filter selects."""

    def __init__(self, wanted: EntryFilter) -> None:
        self._wanted = wanted
        self._excluded = _compiled(wanted.exclude) if wanted.exclude else None
        self._included = _compiled(wanted.include) if wanted.include else None
        self._patterns = {each: _compiled([each]) for each in wanted.include}
        self._missing = dict(self._patterns)  # of the layers before this one
        self._awaited = dict(self._patterns)  # in this layer

    def select(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """Yield the selected entries of the next layer, with their new names."""
        if self._wanted == EntryFilter():
            yield from entries
            return
        self._awaited = dict(self._patterns)
        for entry in entries:
            parts = split(entry.name, entry.name)
            if self._selects(parts) and (found := self._renamed(entry, parts)) is not None:
                yield found

    def check(self) -> None:
        """Raise `NotFound` if a pattern has matched nothing, or only what a whiteout hides."""
        if not self._missing:
            return
        pattern = next(iter(self._missing))
        last = pattern.rstrip("/").rpartition("/")[2]
        hint = "see the paths: wherry export IMAGE | tar -t"
        if last and not pattern.startswith("*"):
            hint = f"a pattern is for a whole path, and * matches slashes too: '*/{last}'"
        raise NotFound(f"no path matches the pattern {pattern!r}", hint=hint)

    def _selects(self, parts: list[bytes]) -> bool:
        if parts and parts[-1].startswith(_WHITEOUT):
            self._hide(parts)
            return True
        path = b"/".join(parts)
        if self._included is not None:
            if not self._included.fullmatch(path):
                return False
            self._note(path)
        return self._excluded is None or not self._excluded.fullmatch(path)

    def _note(self, path: bytes) -> None:
        """Note which patterns match a path; each one needs only one in a layer."""
        for pattern in [each for each, found in self._awaited.items() if found.fullmatch(path)]:
            del self._awaited[pattern]
            self._missing.pop(pattern, None)

    def _hide(self, parts: list[bytes]) -> None:
        """Take back what lower layers had for a path, if a whiteout hides all of it."""
        *above, last = parts
        is_opaque = last == _OPAQUE
        parts = above if is_opaque else [*above, last.removeprefix(_WHITEOUT)]
        hidden = b"".join(each + b"/" for each in parts)
        for pattern, found in self._awaited.items():
            path = os.fsencode(_plain(pattern)) + b"/"
            if path.startswith(hidden) and not (is_opaque and path == hidden):
                self._missing[pattern] = found

    def _renamed(self, entry: Entry, parts: list[bytes]) -> Entry | None:
        strip = self._wanted.strip
        if strip == 0:
            return entry
        if len(parts) <= strip:
            return None
        link = entry.link
        if entry.kind is HARDLINK:
            link = b"/".join(split(link, entry.name)[strip:])
        return entry._replace(name=b"/".join(parts[strip:]), link=link)


def _plain(pattern: str) -> str:
    """Return a pattern without what stands for the root."""
    found = pattern.strip("/")
    while found.startswith("./"):
        found = found[2:].lstrip("/")
    return "*" if pattern and found in {"", "."} else found


def _compiled(patterns: Sequence[str]) -> re.Pattern[bytes]:
    """Return an expression for the paths that patterns match, and all below them."""
    found = (fnmatch.translate(_plain(each)).removesuffix(r"\Z") for each in patterns)
    # A name need not be text: it is matched byte by byte.
    text = "|".join(f"(?:{each}(?:/(?s:.*))?)" for each in found)
    return re.compile(text.encode("utf-8", "surrogateescape"))
