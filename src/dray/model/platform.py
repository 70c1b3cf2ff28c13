"""Platforms, and which image suits which one, by containerd's rules."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dray.errors import InvalidReference
from dray.model.arguments import TEXT, Rule, checked

_PART = re.compile(r"[A-Za-z0-9_.-]+")

# What `uname -m`, compilers and people call an architecture -> (its name in Go, variant).
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
    "default": Rule("a dray.Platform", lambda value: isinstance(value, Platform)),
}
MAX_DIGITS = 2  # of a variant's number: what is larger names no machine


class Platform(NamedTuple):
    """``os/architecture[/variant]``; ``os_version`` and ``os_features`` serve Windows."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    @checked(_RULES)
    def parse(cls, text: str, default: Platform | None = None) -> Platform:
        """Read ``os[/arch[/variant]]`` or an architecture alone; ``default`` fills gaps.

        Raises `InvalidReference`, also for one word alone where there is no ``default``.
        """
        if not text:
            raise InvalidReference("invalid platform: it is empty", text=text, position=0)
        parts = text.split("/")
        start = 0
        for part in parts:
            if not _PART.fullmatch(part):
                match = _PART.match(part)
                raise _invalid(text, start + (match.end() if match else 0))
            start += len(part) + 1
        if default is None:
            if len(parts) == 1:
                message = "invalid platform: expected both os/architecture"
                raise InvalidReference(message, text=text, position=len(text))
            default = cls("", "")  # no gap is left to fill
        match parts:
            case [name] if _is_architecture(name):
                return cls(default.os, name).normalized()
            case [system]:
                return cls(system, default.architecture, default.variant).normalized()
            case [system, architecture]:
                return cls(system, architecture).normalized()
            case [system, architecture, variant]:
                return cls(system, architecture, variant).normalized()
            case _:
                raise _invalid(text, len("/".join(parts[:3])))

    @classmethod
    @checked(_RULES)
    def parse_list(cls, text: str, default: Platform) -> tuple[Platform, ...]:
        """Read one platform, or several with commas between; see `parse`."""
        found, start = [], 0
        for part in text.split(","):
            try:
                found.append(cls.parse(part, default))
            except InvalidReference as error:  # it is the whole list that people have written
                at = start + error.position
                raise InvalidReference(error.message, text=text, position=at) from None
            start += len(part) + 1
        return tuple(found)

    def normalized(self) -> Platform:
        """Return the canonical spelling: ``aarch64`` is arm64, arm64/v8 arm64, arm arm/v7."""
        system, architecture, variant = _normalized(self.os, self.architecture, self.variant)
        return self._replace(os=system, architecture=architecture, variant=variant)

    def vector(self) -> Iterator[Platform]:
        """Yield the platforms whose images run here, best first, beginning with this one."""
        mine = self.normalized()
        yield mine
        for architecture, variant in _below(mine.architecture, mine.variant):
            yield mine._replace(architecture=architecture, variant=variant).normalized()

    def rank(self, candidate: Platform) -> int | None:
        """Return how well ``candidate`` suits this platform: 0 is best, None does not run."""
        return self.ranking()(candidate)

    def ranking(self) -> Callable[[Platform], int | None]:
        """Return `rank` as a function that is quick on many candidates."""
        places: dict[tuple[str, str, str], int] = {}
        for place, mine in enumerate(self.vector()):
            places.setdefault((mine.os, mine.architecture, mine.variant), place)

        def rank(candidate: Platform) -> int | None:
            names = _normalized(candidate.os, candidate.architecture, candidate.variant)
            place = places.get(names)
            return place if place is not None and self._same_system(candidate) else None

        return rank

    def _same_system(self, other: Platform) -> bool:
        """Compare what only Windows images carry, where both sides name it."""
        if self.os_version and other.os_version:
            mine, theirs = self.os_version.split("."), other.os_version.split(".")
            if mine[:3] != theirs[:3]:
                return False
        return not self.os_features or set(other.os_features) <= set(self.os_features)

    def __str__(self) -> str:
        parts = (self.os, self.architecture, self.variant)
        return "/".join(part for part in parts if part) or "unknown"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


@functools.lru_cache(maxsize=256)
def _normalized(system: str, architecture: str, variant: str) -> tuple[str, str, str]:
    """Return the canonical spelling of a platform's three names."""
    system, architecture, variant = system.lower(), architecture.lower(), variant.lower()
    if architecture in _ARCHITECTURES:
        architecture, implied = _ARCHITECTURES[architecture]
        variant = implied or variant
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


def _is_architecture(name: str) -> bool:
    known = {"386", "amd64", "arm", "arm64", "ppc64le", "s390x", "riscv64", "loong64", "mips64le"}
    return name.lower() in known or name.lower() in _ARCHITECTURES


def _below(architecture: str, variant: str) -> Iterator[tuple[str, str]]:
    """Yield what an architecture runs besides itself (containerd, platforms, "Only")."""
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
    """Yield lower minor versions; v9.x also runs v8.{x+5}; then the 32-bit ones."""
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
    return InvalidReference(
        "invalid platform: expected os[/architecture[/variant]]", text=text, position=position
    )
