"""How layers are packed on their way to a destination: ``gzip``, ``zstd:9``, ``none``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn, TypeAlias

from wherry.errors import InvalidReference, Unsupported
from wherry.model import mediatype

if TYPE_CHECKING:
    from collections.abc import Mapping

CompressionKind: TypeAlias = Literal["gzip", "zstd", "none", "keep"]

_KINDS: tuple[CompressionKind, ...] = ("gzip", "zstd", "none", "keep")
# The lowest and the highest level. Levels of zstd over 19 need windows over 8 MiB, which
# decoders may refuse (RFC 8878, 3.1.1.1.2).
_LEVELS: Mapping[str, tuple[int, int]] = {"gzip": (1, 9), "zstd": (1, 19)}
_DEFAULTS: Mapping[str, int] = {"gzip": 2, "zstd": 3}
_LEVEL = re.compile(r"[0-9]{1,3}")


class Compression(NamedTuple):
    """A compression of layers.

    Two compressions that are equal pack a layer into the same bytes. So ``str()`` always has the
    level, also where the text that was parsed has none.

    Attributes:
        kind: ``gzip`` or ``zstd``; ``none`` unpacks, and ``keep`` changes nothing.
        level: The level of gzip or zstd; None for the other kinds.
    """

    kind: CompressionKind
    level: int | None = None

    @classmethod
    def parse(cls, text: str) -> Compression:
        """Parse ``gzip[:LEVEL]``, ``zstd[:LEVEL]``, ``none`` or ``keep``.

        Raises:
            InvalidReference: The text is not a compression, or the level is out of range.
        """
        name, colon, level = text.partition(":")
        kind = next((each for each in _KINDS if each == name), None)
        if kind is None:
            expected = ", ".join(f"{each}[:LEVEL]" if each in _LEVELS else each for each in _KINDS)
            _fail(f"expected one of {expected}", text, 0)
        if kind not in _LEVELS:
            if colon:
                _fail(f"{kind} has no level", text, len(kind))
            return cls(kind)
        if not colon:
            return cls(kind, _DEFAULTS[kind])
        lowest, highest = _LEVELS[kind]
        if not _LEVEL.fullmatch(level) or not lowest <= int(level) <= highest:
            _fail(f"levels of {kind} are {lowest} to {highest}", text, len(kind) + 1)
        return cls(kind, int(level))

    def layer_type(self, *, docker: bool) -> str:
        """Return the media type of a layer that was packed in this way.

        Args:
            docker: Whether the layer is for a schema2 manifest, or else for an OCI one.

        Raises:
            Unsupported: Docker's manifests have no type for it.
            ValueError: The kind is ``keep``, so the type of the layer stays.
        """
        match self.kind:
            case "keep":
                raise ValueError("a layer that is kept has its own type")
            case "zstd" if docker:
                raise Unsupported(
                    "docker's manifests have no layers packed with zstd",
                    hint="`--format oci` converts the image, or use `--compression gzip`",
                )
            case "none":
                return mediatype.layer_type(None, docker=docker)
            case kind:
                return mediatype.layer_type(kind, docker=docker)

    def __str__(self) -> str:
        return self.kind if self.level is None else f"{self.kind}:{self.level}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


KEEP = Compression("keep")
GZIP = Compression("gzip", _DEFAULTS["gzip"])


def _fail(message: str, text: str, position: int) -> NoReturn:
    raise InvalidReference(f"invalid compression: {message}", text=text, position=position)
