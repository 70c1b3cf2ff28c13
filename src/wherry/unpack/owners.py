"""Whose the unpacked files are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Unsupported
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.unpack.entry import Attributes

_RECORD = b"user.rootlesscontainers"
_NO_CHANGE = 2**32 - 1
_UID, _GID = 0x08, 0x10  # fields 1 and 2 of the message, as varints


class IdRange(Record):
    """Numbers from ``inside`` on that stand for those from ``outside`` on."""

    inside: int
    outside: int
    count: int


class Owners(Record):
    """How owners are set.

    Attributes:
        sets: Whether files get their owners, which only root may give; otherwise they are the
            caller's.
        records: Whether owners are recorded in an extended attribute (rootlesscontaine.rs,
            "user.rootlesscontainers"); files of 0:0 need no record.
        uids: The users on this machine; empty if they are those in the image.
        gids: The groups likewise.
    """

    sets: bool = False
    records: bool = False
    uids: tuple[IdRange, ...] = ()
    gids: tuple[IdRange, ...] = ()

    def of(self, uid: int, gid: int) -> tuple[int, int] | None:
        """Return the owner to set; None to leave it.

        Raises:
            Unsupported: No range has the owner.
        """
        if not self.sets:
            return None
        return _mapped("user", uid, self.uids), _mapped("group", gid, self.gids)

    def xattrs(self, attributes: Attributes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the extended attributes to set."""
        yield from attributes.xattrs.items()
        if self.records and (attributes.uid or attributes.gid):
            yield _RECORD, encode_owner(attributes.uid, attributes.gid)


def _mapped(what: str, number: int, ranges: tuple[IdRange, ...]) -> int:
    if not ranges:
        return number
    for each in ranges:
        if each.inside <= number < each.inside + each.count:
            return each.outside + number - each.inside
    raise Unsupported(
        f"no range of the map has the {what} {number}",
        hint=f"add one with --{what[0]}id-map, such as 0:100000:65536",
    )


def encode_owner(uid: int, gid: int) -> bytes:
    """Return the message ``Resource`` of rootlesscontaine.rs.

    The number 0 is written as "no change", as umoci does.
    """
    return bytes((_UID,)) + _varint(uid or _NO_CHANGE) + bytes((_GID,)) + _varint(gid or _NO_CHANGE)


def _varint(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first (Protocol Buffers, Encoding)."""
    found = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
