"""Reading the entries of a layer from its tar.

`tarfile` makes an object of some fifty fields for each header, which takes longer than writing
the file. Rules: POSIX.1-2017, pax, "pax Interchange Format" and "ustar Interchange Format";
GNU tar manual, "Basic Tar Format". Where they leave a choice, it is that of Go's archive/tar,
with which engines read layers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError, UnsafeArchive, Unsupported
from wherry.unpack.entry import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    NO_XATTRS,
    SYMLINK,
    Attributes,
    Entry,
    shown,
)
from wherry.unpack.sparse_map import is_sparse_pax, read_old_map, read_pax_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.unpack.layer_reader import LayerReader

BLOCK = 512
MAX_EXTENDED = 2**20  # bytes of the extended headers of one member
_NOTHING = bytes(BLOCK)
_KINDS = {
    b"\0": FILE,
    b"0": FILE,
    b"7": FILE,  # contiguous
    b"S": FILE,  # sparse, in the old format of GNU tar
    b"1": HARDLINK,
    b"2": SYMLINK,
    b"3": CHARACTER,
    b"4": BLOCK_DEVICE,
    b"5": DIRECTORY,
    b"6": FIFO,
}
_LONG = {b"L": b"path", b"K": b"linkpath"}  # extended headers of GNU tar
_PAX, _PAX_GLOBAL, _PAX_SOLARIS, _VOLUME = b"x", b"g", b"X", b"V"
_XATTR = b"SCHILY.xattr."
_REPEATED = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")  # version 0.0 of sparse files
_SECONDS = re.compile(rb"(-?)([0-9]{1,18})(?:\.([0-9]*))?")
_NANO = 10**9
_MAX_INT64 = 2**63 - 1
_MAX_ID = 2**32 - 2  # of an owner; the next number means no change (chown(2))
_MAX_MAJOR, _MAX_MINOR = 2**12 - 1, 2**20 - 1  # of a device (Linux)


def read_entries(layer: LayerReader) -> Iterator[Entry]:
    """Yield the entries of a tar in their order.

    When an entry is yielded, ``layer`` is at the first byte of its content. What the caller does
    not read of it is skipped. After the last entry, the layer is read to its end.

    Raises:
        IntegrityError: The tar is damaged or cut off.
        UnsafeArchive: A record contains what no file system has: a name with a NUL.
        Unsupported: A member is of a kind that no file system has.
    """
    extended: dict[bytes, bytes] = {}
    room = MAX_EXTENDED
    while (block := layer.read(BLOCK)) and block != _NOTHING:
        kind = _checked(block, layer)[156:157]
        if kind in _LONG or kind in {_PAX, _PAX_SOLARIS, _PAX_GLOBAL, _VOLUME}:
            size = _number(block[124:136], layer)
            room -= size
            if room < 0:
                raise _damaged(f"extended headers of more than {MAX_EXTENDED:,} bytes", layer)
            content = layer.take(size)
            layer.take(-size % BLOCK)
            if kind in _LONG:
                extended[_LONG[kind]] = content.partition(b"\0")[0]
            elif kind in {_PAX, _PAX_SOLARIS}:  # global ones say nothing that engines heed
                extended.update(_merged(_records(content, layer)))
            continue
        entry, end = _entry(block, kind, extended, layer)
        content_end = layer.position + entry.stored
        yield entry
        layer.skip_to(max(content_end, end - BLOCK + 1))
        layer.read(max(0, end - layer.position))  # `umoci insert` does not pad its last file
        layer.member = b""
        extended, room = {}, MAX_EXTENDED
    layer.drain()


def _checked(block: bytes, layer: LayerReader) -> bytes:
    """Return a header; raises `IntegrityError` if its checksum is not right."""
    if len(block) < BLOCK:
        raise _damaged(f"it is cut off at byte {layer.position:,}", layer)
    stated = _number(block[148:156], layer)
    if stated == sum(block) - sum(block[148:156]) + 8 * ord(" "):
        return block
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:])  # noqa: PLR2004
    if stated != signed + 8 * ord(" "):  # of old tars, whose bytes were signed
        raise _damaged(f"no tar header at byte {layer.position - BLOCK:,}", layer)
    return block


def _entry(
    block: bytes, kind: bytes, extended: dict[bytes, bytes], layer: LayerReader
) -> tuple[Entry, int]:
    """Return an entry, and where its content ends in the layer."""
    name = extended.get(b"path") or _name(block)
    link = extended.get(b"linkpath") or block[157:257].partition(b"\0")[0]
    layer.member = name
    found = _KINDS.get(kind)
    if found is None:
        raise Unsupported(f"a member of the unknown type {shown(kind)!r}").within(shown(name))
    if kind == b"\0" and name.endswith(b"/"):
        found = DIRECTORY  # of tars before POSIX
    if b"\0" in name or b"\0" in link or b"\0" in extended.get(b"GNU.sparse.name", b""):
        raise UnsafeArchive("a name with a NUL", member=shown(name))
    attributes = _attributes(block, extended, layer)
    size = 0
    if found is FILE:  # nothing else has content, whatever it says
        size = _decimal(extended, b"size", layer) if extended.get(b"size") else _size(block, layer)
    end = layer.position + size + -size % BLOCK
    device = (0, 0)
    if found in {CHARACTER, BLOCK_DEVICE}:
        device = (
            _within(_number(block[329:337], layer), _MAX_MAJOR, "a major number", layer),
            _within(_number(block[337:345], layer), _MAX_MINOR, "a minor number", layer),
        )
    entry = Entry(name, found, attributes, size, size, link, device)
    if kind == b"S":
        real, extents = read_old_map(block, layer, size)
        end = layer.position + size + -size % BLOCK
    elif found is FILE and is_sparse_pax(extended):
        start = layer.position
        name, real, extents = read_pax_map(extended, name, layer, size)
        size -= layer.position - start
    else:
        return entry, end
    return entry._replace(name=name, size=real, stored=size, extents=extents), end


def _name(block: bytes) -> bytes:
    """Return the name in a header, with its prefix."""
    name = block[:100].partition(b"\0")[0]
    if block[257:263] != b"ustar\0":  # GNU tar has other fields there
        return name
    is_star = block[508:512] == b"tar\0"
    prefix = block[345 : 476 if is_star else 500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix else name


def _size(block: bytes, layer: LayerReader) -> int:
    return _within(_number(block[124:136], layer), _MAX_INT64, "a size", layer)


def _attributes(block: bytes, extended: dict[bytes, bytes], layer: LayerReader) -> Attributes:
    mode = _number(block[100:108], layer) & 0o7777
    uid = _number(block[108:116], layer)
    gid = _number(block[116:124], layer)
    seconds = _number(block[136:148], layer)
    if not -_MAX_INT64 <= seconds <= _MAX_INT64:
        raise _damaged(f"mtime is {seconds}", layer)
    time, xattrs = seconds * _NANO, NO_XATTRS
    if extended:  # an empty value leaves what the header has
        uid = _decimal(extended, b"uid", layer) if extended.get(b"uid") else uid
        gid = _decimal(extended, b"gid", layer) if extended.get(b"gid") else gid
        mtime = extended.get(b"mtime")
        time = _time(mtime, layer) if mtime else time
        xattrs = _xattrs(extended, layer)
    if not (0 <= uid <= _MAX_ID and 0 <= gid <= _MAX_ID):
        raise _damaged(f"the owner is {uid}:{gid}", layer)
    return Attributes(mode, uid, gid, time, xattrs)


def _xattrs(extended: dict[bytes, bytes], layer: LayerReader) -> dict[bytes, bytes]:
    found = {key[len(_XATTR) :]: value for key, value in extended.items() if key.startswith(_XATTR)}
    if any(b"\0" in key or not key for key in found):
        raise _damaged("the name of an extended attribute is empty or has a NUL", layer)
    return found


def _within(number: int, most: int, what: str, layer: LayerReader) -> int:
    if not 0 <= number <= most:
        raise _damaged(f"{what} of {number}", layer)
    return number


def _number(field: bytes, layer: LayerReader) -> int:
    """Decode a number of a header: octal digits, or binary as in GNU tar."""
    text = field.strip(b" \0")
    if text.isdigit():
        try:
            return int(text, 8)
        except ValueError:
            raise _damaged("a number in a header is not octal", layer) from None
    if not text:
        return 0
    first = field[0]
    if first & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        return value - (1 << bits) if first & 0x40 else value - (1 << (bits - 1))
    return _odd(text, layer)


def _odd(text: bytes, layer: LayerReader) -> int:
    """Decode octal digits with other bytes behind them."""
    digits = re.match(rb"[0-7]+(?=[ \0])", text)
    if digits is None:
        raise _damaged("a number in a header is not octal", layer)
    return int(digits[0], 8)


def _decimal(extended: dict[bytes, bytes], key: bytes, layer: LayerReader) -> int:
    text = extended[key]
    if not (text.isdigit() and len(text) < 20):  # noqa: PLR2004 - a number of 64 bits
        raise _damaged(f"{key.decode()} is {shown(text)!r}", layer)
    return int(text)


def _time(text: bytes, layer: LayerReader) -> int:
    """Decode seconds with a fraction into nanoseconds; further digits are dropped."""
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise _damaged(f"mtime is {shown(text)!r}", layer)
    nanoseconds = int(found[2]) * _NANO + int((found[3] or b"")[:9].ljust(9, b"0"))
    return -nanoseconds if found[1] else nanoseconds


def _records(data: bytes, layer: LayerReader) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of PAX records: ``LENGTH KEY=VALUE``, line feed."""
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        length = data[at : max(space, at)]
        end = at + int(length) if length.isdigit() else at
        equals = data.find(b"=", space, end)
        if not (at <= equals and end <= len(data) and data[end - 1] == ord("\n")):
            raise _damaged("an extended header that is not PAX", layer)
        yield data[space + 1 : equals], data[equals + 1 : end - 1]
        at = end


def _merged(records: Iterator[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the records by their keys; those of a map of holes, which repeat, as one map."""
    found: dict[bytes, bytes] = {}
    numbers: list[bytes] = []
    for key, value in records:
        if key in _REPEATED:
            numbers.append(value)
        else:
            found[key] = value
    if numbers:
        found[b"GNU.sparse.map"] = b",".join(numbers)
    return found


def _damaged(message: str, layer: LayerReader) -> IntegrityError:
    error = IntegrityError(
        f"the layer is damaged: {message}",
        expected="a tar archive",
        actual=f"{message}, before byte {layer.position}",
    )
    return error.within(shown(layer.member)) if layer.member else error
