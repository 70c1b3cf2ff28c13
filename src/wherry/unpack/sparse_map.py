"""The maps of sparse files: which ranges a tar has stored.

Formats: the old one, and 0.0, 0.1 and 1.0 of PAX (GNU tar manual, "Storing Sparse Files").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import IntegrityError
from wherry.unpack.entry import Extent, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.unpack.layer_reader import LayerReader

MAX_EXTENTS = 200_000  # of one file
_BLOCK = 512
_MAX_DIGITS = 19  # of a number of 64 bits
_MAX_SIZE = 2**63 - 1  # of a file
_SPARSE = b"GNU.sparse."
# The old format: a map of extents, whether more blocks of it follow, and the size with holes.
_OLD_MAP, _OLD_MORE, _OLD_SIZE = 386, 482, slice(483, 495)
_MORE, _EXTENT, _FIELD = 504, 24, 12  # bytes of the map in a further block, an extent, a number


def is_sparse_pax(extended: dict[bytes, bytes]) -> bool:
    """Tell whether PAX records describe a sparse file."""
    return any(key.startswith(_SPARSE) for key in extended)


def read_old_map(block: bytes, layer: LayerReader, stored: int) -> tuple[int, tuple[Extent, ...]]:
    """Return the size and the extents of a sparse file in the old format.

    Args:
        block: The header of the file.
        layer: Is at the first further block of the map, or at the content.
        stored: The bytes of the content.
    """
    name = block[:100].partition(b"\0")[0]
    fields, more = [block[_OLD_MAP:_OLD_MORE]], block[_OLD_MORE]
    while more:
        following = layer.take(_BLOCK)
        fields.append(following[:_MORE])
        more = following[_MORE]
        if len(fields) * (_MORE // _EXTENT) > MAX_EXTENTS:
            raise _damaged(name)
    extents = []
    for field in fields:
        for at in range(0, len(field), _EXTENT):
            offset, size = field[at : at + _FIELD], field[at + _FIELD : at + _EXTENT]
            if field[at] != 0:
                extents.append(Extent(_octal(offset, name), _octal(size, name)))
    real = _octal(block[_OLD_SIZE], name)
    return real, _checked(extents, real, stored, name)


def read_pax_map(
    extended: dict[bytes, bytes], name: bytes, layer: LayerReader, stored: int
) -> tuple[bytes, int, tuple[Extent, ...]]:
    """Return the name, the size and the extents of a sparse file by its PAX records.

    In version 1.0 the map is at the start of the content, and ``layer`` is moved behind it.
    """
    name = extended.get(b"GNU.sparse.name") or name
    size = extended.get(b"GNU.sparse.realsize", extended.get(b"GNU.sparse.size", b""))
    real = _decimal(size, name)
    if extended.get(b"GNU.sparse.major") == b"1":
        start = layer.position
        numbers = _map_in_content(layer, stored, name)
        stored -= layer.position - start
    else:
        text = extended.get(b"GNU.sparse.map", b"")
        numbers = [_decimal(each, name) for each in text.split(b",")] if text else []
    if len(numbers) % 2:
        raise _damaged(name)
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return name, real, _checked([Extent(*pair) for pair in pairs], real, stored, name)


def _map_in_content(layer: LayerReader, stored: int, name: bytes) -> list[int]:
    """Read the map at the start of the content: lines of decimal numbers."""
    end = layer.position + stored
    lines: list[bytes] = []
    text, wanted = b"", 1
    while len(lines) < wanted:
        if layer.position + _BLOCK > end:
            raise _damaged(name)
        *more, text = (text + layer.take(_BLOCK)).split(b"\n")
        lines += more
        wanted = 1 + 2 * _decimal(lines[0], name) if lines else 1
        # Without a line break, joining would take quadratic time. NULs follow the last line.
        is_endless = len(lines) < wanted and len(text) > _MAX_DIGITS
        if is_endless or wanted > 2 * MAX_EXTENTS:
            raise _damaged(name)
    return [_decimal(line, name) for line in lines[1:wanted]]


def _checked(extents: Sequence[Extent], size: int, stored: int, name: bytes) -> tuple[Extent, ...]:
    """Refuse extents that overlap, or that exceed the file or the stored content."""
    if size > _MAX_SIZE:
        raise _damaged(name)
    at = 0
    for extent in extents:
        if extent.offset < at or extent.offset + extent.size > size:
            raise _damaged(name)
        at = extent.offset + extent.size
    if sum(extent.size for extent in extents) > stored:
        raise _damaged(name)
    return tuple(extents)


def _octal(field: bytes, name: bytes) -> int:
    if field[0] == 0x80:  # noqa: PLR2004 - binary, as in GNU tar
        return int.from_bytes(field[1:], "big")
    text = field.partition(b"\0")[0].strip()
    if not (text and set(text) <= set(b"01234567")):
        raise _damaged(name)
    return int(text, 8)


def _decimal(text: bytes, name: bytes) -> int:
    if not (text.isdigit() and len(text) <= _MAX_DIGITS):
        raise _damaged(name)
    return int(text)


def _damaged(name: bytes) -> IntegrityError:
    return IntegrityError(
        "the map of a sparse file is damaged",
        expected="a map of holes",
        actual="something else",
    ).within(shown(name))
