"""Digests: ``sha256:…`` and ``sha512:…``, the names of content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from dray.errors import InvalidDigest

if TYPE_CHECKING:
    import hashlib
    from typing import Self

    from typing_extensions import Buffer
else:
    Buffer = bytes

HEX_LENGTHS = {"sha256": 64, "sha512": 128}

_HEX = re.compile(r"[0-9a-f]+")
_SHOWN = 80  # characters of a bad digest that an error quotes


class _Fields(NamedTuple):
    algorithm: str
    hex: str


class Digest(_Fields):
    """A checked digest (OCI image spec, descriptor.md, "Digests")."""

    __slots__ = ()

    def __new__(cls, algorithm: str, hex: str) -> Self:  # noqa: A002 - the field's name
        """Check the two; raises ``InvalidDigest``."""
        length = HEX_LENGTHS.get(algorithm)
        if length is None:
            known = " or ".join(HEX_LENGTHS)
            raise InvalidDigest(
                f"unsupported digest algorithm {algorithm[:_SHOWN]!r}, expected {known}"
            )
        if len(hex) != length or not _HEX.fullmatch(hex):
            raise InvalidDigest(
                f"invalid {algorithm} digest {hex[:_SHOWN]!r}: "
                f"expected {length} lower-case hex digits"
            )
        return super().__new__(cls, algorithm, hex)

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``algorithm:hex``; raises ``InvalidDigest``."""
        algorithm, colon, value = text.partition(":")
        if not colon:
            raise InvalidDigest(f"invalid digest {text[:_SHOWN]!r}: expected algorithm:hex")
        return cls(algorithm, value)

    @classmethod
    def of(cls, data: Buffer, algorithm: str = "sha256") -> Digest:
        """Hash ``data``."""
        import hashlib  # a tenth of what starting a command takes, and many commands hash nothing

        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hex digits, as people know them from image ids."""
        return self.hex[:12]

    def hasher(self) -> hashlib._Hash:
        """Make a new hash object of this digest's algorithm."""
        import hashlib

        return hashlib.new(self.algorithm)

    def matches(self, data: Buffer) -> bool:
        """Tell whether ``data`` is what this digest names."""
        import hashlib

        return hashlib.new(self.algorithm, data).hexdigest() == self.hex

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
