"""Digests: ``sha256:…`` and ``sha512:…``, the names of content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dray.errors import InvalidDigest

if TYPE_CHECKING:
    import hashlib

    from typing_extensions import Buffer
else:
    Buffer = bytes

HEX_LENGTHS = {"sha256": 64, "sha512": 128}

_HEX = re.compile(r"[0-9a-f]+")
_SHOWN = 80  # characters of a bad digest that an error quotes


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A checked digest (OCI image spec, descriptor.md, "Digests")."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = HEX_LENGTHS.get(self.algorithm)
        if length is None:
            known = " or ".join(HEX_LENGTHS)
            raise InvalidDigest(
                f"unsupported digest algorithm {self.algorithm[:_SHOWN]!r}, expected {known}"
            )
        if len(self.hex) != length or not _HEX.fullmatch(self.hex):
            raise InvalidDigest(
                f"invalid {self.algorithm} digest {self.hex[:_SHOWN]!r}: "
                f"expected {length} lower-case hex digits"
            )

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
