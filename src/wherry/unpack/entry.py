"""An entry of a layer: what one member of its tar says about one file."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

# The kinds of entries.
FILE, DIRECTORY, SYMLINK, HARDLINK = "file", "directory", "symlink", "hardlink"
CHARACTER, BLOCK_DEVICE, FIFO = "character device", "block device", "fifo"
DEVICES = frozenset((CHARACTER, BLOCK_DEVICE))
KINDS = {kind: kind for kind in (FILE, DIRECTORY, SYMLINK, HARDLINK, *DEVICES, FIFO)}

_USUAL = 256  # bytes of attributes and links
NO_XATTRS: Mapping[bytes, bytes] = MappingProxyType({})


class Extent(NamedTuple):
    """A range of a sparse file that is stored; the bytes between two extents are a hole."""

    offset: int
    size: int


class Attributes(NamedTuple):
    """What a file system keeps beside the content of a file.

    Attributes:
        mode: The permission bits, with setuid, setgid and sticky: 12 bits.
        uid: The owner's number.
        gid: The group's number.
        mtime: The time of the last change, in nanoseconds since 1970.
        xattrs: The extended attributes.
    """

    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: Mapping[bytes, bytes] = NO_XATTRS


class Entry(NamedTuple):
    """A member of a layer's tar.

    Attributes:
        name: The name as it is written, without the PAX and GNU ways to write long ones.
        kind: One of the kinds of this module.
        attributes: Mode, owner, time and extended attributes.
        size: The bytes of a file, with its holes.
        stored: The bytes of the content in the tar; less than ``size`` for a sparse file.
        link: The target of a link, as it is written.
        device: The numbers of a device, major and minor.
        extents: The stored ranges of a sparse file, in order; None for other files.
    """

    name: bytes
    kind: str
    attributes: Attributes
    size: int = 0
    stored: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    extents: tuple[Extent, ...] | None = None


def held(entry: Entry) -> int:
    """Return about how many bytes of memory an entry takes beyond what is usual."""
    attributes = sum(len(key) + len(value) for key, value in entry.attributes.xattrs.items())
    extents = 0 if entry.extents is None else len(entry.extents)
    return max(0, attributes + len(entry.link) + 128 * extents - _USUAL)


def shown(name: bytes) -> str:
    """Return a name for messages: on one line, of limited length."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
