"""Digests of content: ``sha256:…`` and ``sha512:…``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

import wherry
from wherry.errors import IntegrityError, InvalidDigest

if TYPE_CHECKING:
    from typing_extensions import Buffer
else:
    Buffer = bytes

HEX_LENGTHS = {"sha256": 64, "sha512": 128}

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_COLON = 6  # the position of the colon, for both algorithms
_SHOWN = 80  # characters of a bad digest that an error quotes


class Digest(str):
    """A checked digest (OCI image spec, descriptor.md, "Digests").

    A digest is its text: it compares and hashes as ``"sha256:…"`` and JSON takes it as a string.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check ``algorithm:hex``.

        Raises:
            InvalidDigest: the algorithm is neither sha256 nor sha512, or the hex digits are
                not lower-case or not of the right number.
            TypeError: ``text`` is not a string.
        """
        try:
            if _DIGEST.fullmatch(text) is None:
                raise _invalid(text)
        except TypeError:
            raise TypeError(f"text must be a str, not {type(text).__name__}") from None
        return super().__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse ``algorithm:hex``; raises `InvalidDigest`."""
        return cls(text)

    @classmethod
    def of(cls, data: Buffer, algorithm: str = "sha256") -> Digest:
        """Return the digest of ``data``."""
        import hashlib  # slow to import, and many commands hash nothing

        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """The name of the hash function: ``sha256`` or ``sha512``."""
        return self[:_COLON]

    @property
    def hex(self) -> str:
        """The hash in lower-case hex digits."""
        return self[_COLON + 1 :]

    @property
    def short(self) -> str:
        """The first 12 hex digits, as in short image ids."""
        return self.hex[:12]

    def hasher(self) -> wherry.types.Hash:
        """Return a new hash object for this algorithm."""
        import hashlib

        return hashlib.new(self.algorithm)

    def matches(self, data: Buffer) -> bool:
        """Tell whether ``data`` has this digest."""
        import hashlib

        return hashlib.new(self.algorithm, data).hexdigest() == self.hex

    def __repr__(self) -> str:
        return f"Digest({str(self)!r})"


def mismatch(
    expected: Digest, actual: str, *, content: str = "content", hint: str = ""
) -> IntegrityError:
    """Make the error for content with another digest, ``actual`` in hex."""
    found = f"{expected.algorithm}:{actual}"
    return IntegrityError(
        f"{content} does not match its digest (got {found})",
        expected=str(expected),
        actual=found,
        altered=True,
        hint=hint,
    )


def diff_id_mismatch(expected: Digest, actual: str) -> IntegrityError:
    """Make the error for a layer with another DiffID, ``actual`` in hex."""
    found = f"{expected.algorithm}:{actual}"
    return IntegrityError(
        f"the content does not match its DiffID {expected} (got {found})",
        expected=str(expected),
        actual=found,
    )


def _invalid(text: str) -> InvalidDigest:
    """Make the error for an invalid digest."""
    algorithm, colon, value = text.partition(":")
    if not colon:
        return InvalidDigest(f"invalid digest {text[:_SHOWN]!r}: expected algorithm:hex")
    length = HEX_LENGTHS.get(algorithm)
    if length is None:
        known = " or ".join(HEX_LENGTHS)
        return InvalidDigest(
            f"unsupported digest algorithm {algorithm[:_SHOWN]!r}, expected {known}"
        )
    return InvalidDigest(
        f"invalid {algorithm} digest {value[:_SHOWN]!r}: expected {length} lower-case hex digits"
    )
