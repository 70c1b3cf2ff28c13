"""Which entries of layers are unpacked, and under which names."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from wherry.model.record import Record
from wherry.unpack.entry import HARDLINK
from wherry.unpack.tree import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.unpack.entry import Entry

_WHITEOUT = b".wh."


class EntryFilter(Record):
    """Selects entries by patterns, and drops leading parts of their names.

    A pattern stands for the paths that it matches, and all that is below them. ``*`` matches any
    characters, slashes too. Whiteouts are always kept: they can only hide something.

    Attributes:
        included: What is unpacked; None for everything.
        excluded: What is left out nevertheless.
        strip: Parts to drop from the front of each name; shorter names are left out.
    """

    included: re.Pattern[bytes] | None = None
    excluded: re.Pattern[bytes] | None = None
    strip: int = 0

    @classmethod
    def build(
        cls, include: Sequence[str] = (), exclude: Sequence[str] = (), strip: int = 0
    ) -> EntryFilter:
        """Make a filter from patterns as they are written."""
        return cls(_compiled(include), _compiled(exclude), strip)

    def select(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """Yield the selected entries, with their new names."""
        if self == EntryFilter():
            yield from entries
            return
        for entry in entries:
            parts = split(entry.name, entry.name)
            if self._selects(parts) and (found := self._renamed(entry, parts)) is not None:
                yield found

    def _selects(self, parts: list[bytes]) -> bool:
        if parts and parts[-1].startswith(_WHITEOUT):
            return True
        path = b"/".join(parts)
        if self.excluded is not None and self.excluded.fullmatch(path):
            return False
        return self.included is None or self.included.fullmatch(path) is not None

    def _renamed(self, entry: Entry, parts: list[bytes]) -> Entry | None:
        if self.strip == 0:
            return entry
        if len(parts) <= self.strip:
            return None
        link = entry.link
        if entry.kind is HARDLINK:
            link = b"/".join(split(link, entry.name)[self.strip :])
        return entry._replace(name=b"/".join(parts[self.strip :]), link=link)


def _compiled(patterns: Sequence[str]) -> re.Pattern[bytes] | None:
    """Return an expression for the paths that patterns match, and all below them."""
    if not patterns:
        return None
    found = (fnmatch.translate(each.strip("/")).removesuffix(r"\Z") for each in patterns)
    # A name need not be text: it is matched byte by byte.
    text = "|".join(f"(?:{each}(?:/(?s:.*))?)" for each in found)
    return re.compile(text.encode("utf-8", "surrogateescape"))
