"""The files and links of a tar by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.tar import MAX_HOPS, normal
from wherry.errors import NotFound, UnsafeArchive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wherry.archive.tar import Member


class Members:
    """Collects the files and links of a tar.

    A name may appear twice with the same content, because programs that append to a tar leave
    the older member in it. With different content, programs would disagree about the file.
    """

    def __init__(self) -> None:
        self.found: dict[str, Member] = {}
        self._again: list[Member] = []

    def add(self, member: Member) -> None:
        """Add a file or link; directories and devices are ignored."""
        if member.offset is None and member.link is None:
            return
        first = self.found.setdefault(member.name, member)
        if first is not member and member.link != member.name:
            self._again.append(member)

    def check(self, path: str, digest: Callable[[Member], object]) -> None:
        """Raise `UnsafeArchive` for a name that appears with different content.

        ``digest`` returns the digest of a file's content, or None if it is unknown.
        """
        digests: dict[int | None, object] = {}

        def content(member: Member) -> object:
            target = member if member.link is None else find(path, self.found, member.link)
            if target.offset not in digests:
                digests[target.offset] = digest(target)
            return digests[target.offset]

        for member in self._again:
            first = self.found[member.name]
            if first.link is not None and first.link == member.link:
                continue
            if first.link is None and member.link is None and first.size != member.size:
                raise _twice(member)
            known = content(first)
            if known is None or known != content(member):
                raise _twice(member)


def _twice(member: Member) -> UnsafeArchive:
    return UnsafeArchive("appears twice in the archive, with different content", member=member.name)


def find(path: str, found: Mapping[str, Member], name: str) -> Member:
    """Find a file by name, through links; raises `NotFound`, `UnsafeArchive`."""
    at = normal(name)
    for _ in range(MAX_HOPS):
        member = found.get(at)
        if member is None:
            through = "" if at == name else f" ({name} is a link to it)"
            raise NotFound(f"there is no {at} in it{through}").within(path)
        if member.link is None:
            return member
        at = member.link
    raise UnsafeArchive("links that lead to links without end", member=name)
