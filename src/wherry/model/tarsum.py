"""Checksums of version 1 layers: TarSum version 0 and the payload checksum.

Version 1 registries compare both with the uploaded layer. TarSum hashes each member of the tar
and then the sorted hashes, so it does not depend on the order of the members.

Sources: moby's "TarSum Checksum Specification" (``pkg/tarsum/tarsum_spec.md``); for the payload
checksum docker-registry 0.9, ``lib/checksums.py``.
"""

from __future__ import annotations

import functools
import hashlib
import posixpath
import tarfile
from typing import TYPE_CHECKING, NamedTuple, Protocol

import wherry
from wherry.errors import IntegrityError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 512
_MAX_EXTENDED = 2**20  # bytes of one extended header
_MAX_MEMBERS = 1_000_000
_READ = 256 * 1024
_MAGIC = b"ustar"
_SPARSE = b"GNU.sparse."
_LONG = {tarfile.GNUTYPE_LONGNAME: b"path", tarfile.GNUTYPE_LONGLINK: b"linkpath"}
_EXTENDED = {*_LONG, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}
_WITHOUT_CONTENT = {
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE),
    *(tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
}


class Readable(Protocol):
    """A stream that is read from front to back."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; b"" at the end."""
        ...


class _MemberSum(NamedTuple):
    """The hash of a member, in hex, and the member's normal name."""

    name: bytes
    sum: str


class TarSum:
    """Computes the TarSum of a tar that arrives in pieces.

    Headers count as they are in the tar: names keep their leading ``./`` and trailing ``/``.
    Extended attributes and fractions of seconds do not count.
    """

    def __init__(self) -> None:
        self._sums: list[_MemberSum] = []
        self._hash: wherry.types.Hash | None = None  # of the member whose content is being read
        self._name = b""
        self._block = bytearray()  # the incomplete header
        self._kind: bytes | None = None  # the type of the extended header that is being read
        self._extension = bytearray()  # its content
        self._extended: dict[bytes, bytes] = {}  # for the next member
        self._left = 0  # bytes of content to come
        self._padding = 0  # bytes to come after the content
        self._ended = False
        self._position = 0

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes of the uncompressed tar; those after its end are ignored.

        Raises:
            IntegrityError: The tar is damaged.
            Unsupported: The tar has sparse members.
        """
        view = memoryview(data)
        while view and not self._ended:
            if self._left:
                count = min(len(view), self._left)
                self._content(view[:count])
            elif self._padding:
                count = min(len(view), self._padding)
                self._padding -= count
            else:
                count = min(len(view), _BLOCK - len(self._block))
                self._block += view[:count]
            self._position += count
            view = view[count:]
            if len(self._block) == _BLOCK:
                block = bytes(self._block)
                self._block.clear()
                self._header(block)

    def checksum(self, v1_json: bytes = b"") -> str:
        """Return ``tarsum+sha256:<hex>`` of the tar so far.

        Args:
            v1_json: The version 1 JSON of the layer's image, which the checksum covers too.

        Raises:
            IntegrityError: The tar is cut off.
        """
        if self._block or self._left or self._kind is not None:
            raise _damaged(f"it is cut off at byte {self._position:,}")
        found = hashlib.sha256(v1_json)
        for each in _in_order(self._sums):
            found.update(each.sum.encode())
        return f"tarsum+sha256:{found.hexdigest()}"

    def _content(self, data: memoryview) -> None:
        """Add bytes of a member, or of an extended header."""
        self._left -= len(data)
        if self._kind is not None:
            self._extension += data
        elif self._hash is not None:
            self._hash.update(data)
        if not self._left:
            self._end_content()

    def _end_content(self) -> None:
        if self._kind is not None:
            content = bytes(self._extension)
            if self._kind in _LONG:
                self._extended[_LONG[self._kind]] = content.partition(b"\0")[0]
            else:
                self._extended |= _records(content)
            self._kind = None
            self._extension.clear()
        elif self._hash is not None:
            self._sums.append(_MemberSum(_normal(self._name), self._hash.hexdigest()))
            self._hash = None

    def _header(self, block: bytes) -> None:
        if not any(block):
            self._ended = True
            return
        at = self._position - _BLOCK
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _damaged(f"no tar header at byte {at:,} ({error})") from None
        kind = block[156:157]
        if kind in _EXTENDED:
            if not 0 <= info.size <= _MAX_EXTENDED:
                raise _damaged(f"an extended header of {info.size:,} bytes")
            self._kind, self._left = kind, info.size
        else:
            self._member(block, kind, info)
        self._padding = -self._left % _BLOCK
        if not self._left:
            self._end_content()

    def _member(self, block: bytes, kind: bytes, info: tarfile.TarInfo) -> None:
        """Start the hash of a member with its headers."""
        extended, self._extended = self._extended, {}
        if kind == tarfile.GNUTYPE_SPARSE or any(key.startswith(_SPARSE) for key in extended):
            raise Unsupported("a tar with sparse members has no TarSum")
        if len(self._sums) >= _MAX_MEMBERS:
            raise _damaged(f"it has more than {_MAX_MEMBERS:,} members")
        size = _integer(extended, b"size", info.size)
        if size < 0:
            raise _damaged(f"a size below 0 before byte {self._position:,}")
        self._left = 0 if kind in _WITHOUT_CONTENT else size
        self._hash = hashlib.sha256()
        for key, value in _fields(block, kind, info, extended, size):
            self._hash.update(key + value)
            if key == b"name":
                self._name = value


def tar_sum(stream: Readable, v1_json: bytes = b"") -> str:
    """Return the TarSum version 0 of an uncompressed tar, ``tarsum+sha256:<hex>``.

    Args:
        stream: The tar. It is read to its end.
        v1_json: The version 1 JSON of the layer's image, which the checksum covers too.

    Raises:
        IntegrityError: The tar is damaged or cut off.
        Unsupported: The tar has sparse members.
    """
    found = TarSum()
    while data := stream.read(_READ):
        found.update(data)
    return found.checksum(v1_json)


def payload_hasher(v1_json: bytes) -> wherry.types.Hash:
    """Return the hash that gives a layer's payload checksum after the layer is added.

    The checksum is ``sha256:<hex>`` over the version 1 JSON, a line feed, and the layer as it is
    sent, compressed or not.
    """
    return hashlib.sha256(v1_json + b"\n")


def _fields(
    block: bytes, kind: bytes, info: tarfile.TarInfo, extended: dict[bytes, bytes], size: int
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the header fields that version 0 covers, in their order."""
    has_names = block.startswith(_MAGIC, 257)
    is_device = has_names and kind in {tarfile.CHRTYPE, tarfile.BLKTYPE}
    yield b"name", extended.get(b"path", _name(block))
    yield b"mode", _text(info.mode)
    yield b"uid", _text(_integer(extended, b"uid", info.uid))
    yield b"gid", _text(_integer(extended, b"gid", info.gid))
    yield b"size", _text(size)
    yield b"mtime", _text(_integer(extended, b"mtime", int(info.mtime)))
    yield b"typeflag", kind
    yield b"linkname", extended.get(b"linkpath", _string(block[157:257]))
    yield b"uname", extended.get(b"uname", _string(block[265:297]) if has_names else b"")
    yield b"gname", extended.get(b"gname", _string(block[297:329]) if has_names else b"")
    # moby's reader ignores the numbers of members that are no devices.
    yield b"devmajor", _text(info.devmajor if is_device else 0)
    yield b"devminor", _text(info.devminor if is_device else 0)


def _name(block: bytes) -> bytes:
    """Return a member's name; `tarfile` removes the slash after a directory's name."""
    name = _string(block[:100])
    prefix = _string(block[345:500]) if block.startswith(_MAGIC + b"\0", 257) else b""
    return prefix + b"/" + name if prefix else name


def _string(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _text(number: int) -> bytes:
    return str(number).encode()


def _integer(extended: dict[bytes, bytes], key: bytes, value: int) -> int:
    """Return the whole number of a PAX record, or ``value`` without the record."""
    if key not in extended:
        return value
    text = extended[key].partition(b".")[0]
    if not (text.removeprefix(b"-").isdigit() and len(text) <= len(str(2**63))):
        raise _damaged(f"a {key.decode()} of {extended[key][:24]!r}")
    return int(text)


def _records(data: bytes) -> dict[bytes, bytes]:
    """Parse PAX records: ``LENGTH KEY=VALUE``, line feed."""
    found: dict[bytes, bytes] = {}
    while data and data[0]:
        length, space, _ = data[:20].partition(b" ")
        end = int(length) if space and length.isdigit() else 0
        key, equals, value = data[len(length) + 1 : max(end - 1, 0)].partition(b"=")
        if not equals or data[end - 1 : end] != b"\n":
            raise _damaged("an extended header that is not PAX")
        found[key] = value
        data = data[end:]
    return found


def _normal(name: bytes) -> bytes:
    return posixpath.normpath(b"/" + name)


def _in_order(sums: list[_MemberSum]) -> list[_MemberSum]:
    """Sort by hash, but keep the order of members with the same name (moby, ``bySum``)."""
    if len({each.name for each in sums}) == len(sums):
        return sorted(sums, key=lambda each: each.sum)

    def compare(one: tuple[int, _MemberSum], other: tuple[int, _MemberSum]) -> int:
        (place, left), (other_place, right) = one, other
        if left.name == right.name:
            return place - other_place
        return (left.sum > right.sum) - (left.sum < right.sum)

    return [each for _, each in sorted(enumerate(sums), key=functools.cmp_to_key(compare))]


def _damaged(message: str) -> IntegrityError:
    return IntegrityError(
        f"the layer is damaged: {message}", expected="a tar archive", actual=message
    )
