"""Platforms, and which images run on them by the rules of containerd."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from wherry.errors import InvalidReference
from wherry.model.arguments import TEXT, Rule, checked

_PART = r"[A-Za-z0-9_.-]+"
# ``windows(10.0.17763+win32k)``: containerd, platforms v1, "Parse".
_SYSTEM = r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?"
_ESCAPE = r"%([0-9A-Fa-f]{2})"
_compiled = functools.cache(re.compile)  # on demand: most calls parse no platform
_ENCODED = str.maketrans({"%": "%25", "+": "%2B", "(": "%28", ")": "%29", "/": "%2F"})
HOST_SYSTEM = sys.platform.rstrip("0123456789")  # in Go's spelling: linux, darwin, freebsd

# Names of `uname -m`, compilers and people -> (the name in Go, the variant).
_ARCHITECTURES = {
    "i386": ("386", ""),
    "i686": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
}
_SYSTEMS = {"macos": "darwin"}
_RULES = {
    "text": TEXT,
    "default": Rule("a wherry.Platform", lambda value: isinstance(value, Platform)),
}
# Names that may be given alone (containerd, platforms, "isKnownOS" and "isKnownArch").
_KNOWN_SYSTEMS = frozenset(
    (
        *("aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js"),
        *("linux", "nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos"),
    )
)
_KNOWN_ARCHITECTURES = frozenset(
    (
        *("386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64"),
        *("mips", "mipsle", "mips64", "mips64le", "mips64p32", "mips64p32le"),
        *("ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64"),
        "wasm",
    )
)
MAX_DIGITS = 2  # of a variant's number; no machine has a larger one


class Platform(NamedTuple):
    """A platform: ``os/architecture[/variant]``.

    An image runs only on a platform that has all its ``os_features``.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    @checked(_RULES)
    def parse(cls, text: str, default: Platform | None = None) -> Platform:
        """Parse ``os[/arch[/variant]]``, or an architecture alone.

        Args:
            text: The platform. The OS may have a version and features, as in
                ``windows(10.0.17763+win32k)``. A single word must be a known OS or architecture.
            default: Completes a single word.

        Raises:
            InvalidReference: The text is not a platform, or a single word without ``default``.
        """
        if not text:
            raise InvalidReference("invalid platform: it is empty", text=text, position=0)
        system, *rest = _parts(text)
        if len(rest) > 2:  # noqa: PLR2004 - an architecture and a variant
            raise _invalid(text, len("/".join(text.split("/")[:3])))
        match = _compiled(_SYSTEM).fullmatch(system)
        assert match is not None  # noqa: S101 - `_parts` has checked
        name, version, features = (group or "" for group in match.groups())
        found = cls(name, rest[0], "".join(rest[1:])) if rest else _complete(text, name, default)
        named = tuple(_decode(feature) for feature in features.split("+")[1:])
        return found._replace(os_version=_decode(version), os_features=named).normalized()

    @classmethod
    @checked(_RULES)
    def parse_list(cls, text: str, default: Platform) -> tuple[Platform, ...]:
        """Parse one platform, or several separated by commas; raises as `parse` does."""
        found, start = [], 0
        for part in text.split(","):
            try:
                found.append(cls.parse(part, default))
            except InvalidReference as error:  # quote the whole list
                at = start + error.position
                raise InvalidReference(error.message, text=text, position=at) from None
            start += len(part) + 1
        return tuple(found)

    def normalized(self) -> Platform:
        """Return the canonical spelling: ``aarch64`` and ``arm64/v8`` become ``arm64``."""
        system, architecture, variant = _normalized(self.os, self.architecture, self.variant)
        features = tuple(sorted(set(self.os_features)))
        return Platform(system, architecture, variant, self.os_version, features)

    def vector(self) -> Iterator[Platform]:
        """Yield the platforms whose images run on this one, the best first."""
        mine = self.normalized()
        yield mine
        for architecture, variant in _below(mine.architecture, mine.variant):
            yield mine._replace(architecture=architecture, variant=variant).normalized()

    def rank(self, candidate: Platform) -> int | None:
        """Return how well an image for ``candidate`` fits; 0 is best, None does not run."""
        return self.ranking()(candidate)

    def ranking(self) -> Callable[[Platform], int | None]:
        """Return `rank` as a function that is fast for many candidates."""
        places: dict[tuple[str, str, str], int] = {}
        for place, mine in enumerate(self.vector()):
            system = mine.os or HOST_SYSTEM
            places.setdefault((system, mine.architecture, mine.variant), place)

        def rank(candidate: Platform) -> int | None:
            system = candidate.os or HOST_SYSTEM  # as in containerd
            names = _normalized(system, candidate.architecture, candidate.variant)
            place = places.get(names)
            return place if place is not None and self._same_system(candidate) else None

        return rank

    def _same_system(self, other: Platform) -> bool:
        """Compare OS versions if both have one; check that all features are present."""
        if self.os_version and other.os_version:
            mine, theirs = self.os_version.split("."), other.os_version.split(".")
            if mine[:3] != theirs[:3]:
                return False
        # Windows other than Nano Server has it (OCI image spec, image-index.md, os.features).
        usual = {"win32k"} if self.os == "windows" and not self.os_features else set[str]()
        return set(other.os_features) <= {*self.os_features, *usual}

    @property
    def specifier(self) -> str:
        """The platform in the syntax of `parse`, with version and features of the OS."""
        options = self.os_version.translate(_ENCODED)
        options += "".join(f"+{feature.translate(_ENCODED)}" for feature in self.os_features)
        system = f"{self.os}({options})" if self.os and options else self.os
        return str(self._replace(os=system))

    def __str__(self) -> str:
        parts = (self.os, self.architecture, self.variant)
        return "/".join(part for part in parts if part) or "unknown"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


@functools.lru_cache(maxsize=256)
def _normalized(system: str, architecture: str, variant: str) -> tuple[str, str, str]:
    """Return the canonical OS, architecture and variant."""
    system, architecture, variant = system.lower(), architecture.lower(), variant.lower()
    if architecture in _ARCHITECTURES:
        architecture, implied = _ARCHITECTURES[architecture]
        variant = "" if architecture == "386" else implied or variant
    if variant.isdigit() and architecture in {"arm", "arm64"}:
        variant = f"v{variant}"
    match architecture, variant:
        case ("arm64", "v8" | "v8.0") | ("amd64", "v1"):
            variant = ""
        case "arm64", "v9.0":
            variant = "v9"
        case "arm", "":
            variant = "v7"
        case _:
            pass
    return _SYSTEMS.get(system, system), architecture, variant


def _decode(option: str) -> str:
    """Decode the percent-encoding in the version or a feature of an OS."""
    raw: str = _compiled(_ESCAPE).sub(lambda match: chr(int(match.group(1), 16)), option)
    return raw if raw.isascii() else raw.encode("latin-1").decode("utf-8", "replace")


def _parts(text: str) -> list[str]:
    """Split a platform at its slashes and check the characters of each part."""
    parts = text.split("/")
    start = 0
    for place, part in enumerate(parts):
        pattern = _compiled(_PART if place else _SYSTEM)
        if not pattern.fullmatch(part):
            match = pattern.match(part)
            raise _invalid(text, start + (match.end() if match else 0))
        start += len(part) + 1
    return parts


def _complete(text: str, word: str, default: Platform | None) -> Platform:
    """Return the platform for a single word: a known OS or architecture."""
    system, architecture, _ = _normalized(word, word, "")
    is_system = system in _KNOWN_SYSTEMS
    if not is_system and (architecture not in _KNOWN_ARCHITECTURES or word != text):
        message = f"invalid platform: {word[:40]!r} is not a known OS or architecture"
        raise InvalidReference(message, text=text, position=0)
    if default is None:
        message = "invalid platform: expected both os/architecture"
        raise InvalidReference(message, text=text, position=len(text))
    if is_system:
        return Platform(word, default.architecture, default.variant)
    return Platform(default.os, word)


def _below(architecture: str, variant: str) -> Iterator[tuple[str, str]]:
    """Yield the other architectures that one can run (containerd, platforms, "Only")."""
    match architecture:
        case "amd64":
            for level in range(_number(variant) - 1, 0, -1):
                yield "amd64", f"v{level}"
            yield "386", ""
        case "arm":
            for level in range(_number(variant) - 1, 4, -1):
                yield "arm", f"v{level}"
        case "arm64":
            yield from _below_arm64(variant or "v8")
        case _:
            return


def _below_arm64(variant: str) -> Iterator[tuple[str, str]]:
    """Yield lower versions, where v9.x runs v8.{x+5}, and then the 32-bit ones."""
    major_text, _, minor_text = variant.partition(".")
    major, minor = _number(major_text), _number(minor_text)
    if major == 9:  # noqa: PLR2004 - ARMv9
        for lower in range(minor - 1, -1, -1):
            yield "arm64", f"v9.{lower}"
        minor += 6
    if major in {8, 9}:
        for lower in range(minor - 1, -1, -1):
            yield "arm64", f"v8.{lower}"
    yield "arm", "v8"
    yield from _below("arm", "v8")


def _number(variant: str) -> int:
    digits = variant.removeprefix("v")
    return int(digits) if digits.isdecimal() and len(digits) <= MAX_DIGITS else 0


def _invalid(text: str, position: int) -> InvalidReference:
    expected = "one platform" if "," in text else "os[/architecture[/variant]]"
    message = f"invalid platform: expected {expected}"
    return InvalidReference(message, text=text, position=position)
