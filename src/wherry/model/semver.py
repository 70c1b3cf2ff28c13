"""Versions in tags and ranges of versions (semver.org 2.0.0; ranges as in npm).

Tags may have a ``v`` in front and lack parts: ``v1.2`` is 1.2.0.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from wherry.errors import InvalidReference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NUMBER = r"(0|[1-9]\d{0,17})"
_VERSION = re.compile(
    rf"v?{_NUMBER}(?:\.{_NUMBER})?(?:\.{_NUMBER})?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:[+_]([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)
_PARTIAL = re.compile(r"v?(?:(\d{1,18})(?:\.(\d{1,18}))?)?(?:\.?[xX*]){0,2}", re.ASCII)
_OPERATOR = re.compile(r"\s*,?\s*(>=|<=|!=|>|<|=|\^|~>|~)?\s*([^\s,|<>=!^~]+)")
_FIRST = ("0",)  # the lowest pre-release
_HYPHEN = re.compile(r"\s*(\S+)\s+-\s+(\S+)\s*")


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version without build metadata; ``pre`` is its pre-release."""

    major: int
    minor: int = 0
    patch: int = 0
    pre: tuple[str, ...] = ()

    @classmethod
    def parse(cls, tag: str) -> Version | None:
        """Parse a tag; None if it is not a version."""
        match = _VERSION.fullmatch(tag)
        if match is None:
            return None
        major, minor, patch, pre, _ = match.groups()
        parts = tuple(pre.split(".")) if pre else ()
        return cls(int(major), int(minor or 0), int(patch or 0), parts)

    @property
    def release(self) -> tuple[int, int, int]:
        """Major, minor and patch."""
        return self.major, self.minor, self.patch

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[object, ...]:
        """Return the key of the order in semver.org, section 11."""
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre)
        return (*self.release, not self.pre, parts)


class Range:
    """A range of versions: ``>=1.2 <2``, ``^1.2``, ``~1.4``, ``1.x``, ``||``.

    A pre-release is in the range only if the range names one of the same release, as in npm.
    """

    def __init__(self, text: str) -> None:
        """Parse a range; raises `InvalidReference` with the position of the error."""
        self._text = text
        self._pre: set[tuple[int, int, int]] = set()
        self._ways = []
        at = 0
        for way in text.split("||"):
            self._ways.append(list(self._way(way, at)))
            at += len(way) + 2

    def __contains__(self, version: Version) -> bool:
        if version.pre and version.release not in self._pre:
            return False
        return any(all(test(version) for test in way) for way in self._ways)

    def _way(self, text: str, start: int) -> Iterator[Callable[[Version], bool]]:
        hyphen = _HYPHEN.fullmatch(text)
        if hyphen is not None:
            yield self._test(">=", hyphen.group(1), start + hyphen.start(1))
            yield self._test("<=", hyphen.group(2), start + hyphen.start(2))
            return
        at, end = 0, len(text.rstrip())
        if not end:
            self._fail(start)
        while at < end:
            match = _OPERATOR.match(text, at)
            if match is None:
                self._fail(start + at)
            yield self._test(match.group(1) or "", match.group(2), start + match.start(2))
            at = match.end()

    def _test(self, operator: str, text: str, at: int) -> Callable[[Version], bool]:
        """Return a function that tells whether a version fits an operand."""
        low, parts = self._operand(text, at)
        if low.pre:
            self._pre.add(low.release)
        if not parts:  # ``*``: everything
            return lambda _: operator not in {"<", ">", "!="}
        high = _after(low, parts)
        least, below = {
            ">=": (low, None),
            ">": (high, None),
            "<": (None, low),
            "<=": (None, high),
            "^": (low, _after(low, _first_set(low, parts))),
            "~": (low, _after(low, min(parts, 2))),
            "~>": (low, _after(low, min(parts, 2))),
        }.get(operator, (low, high))

        def test(version: Version) -> bool:
            inside = (least is None or least <= version) and (below is None or version < below)
            return inside is not (operator == "!=")

        return test

    def _operand(self, text: str, at: int) -> tuple[Version, int]:
        """Parse a version and return the number of its parts; missing parts match any."""
        match = _PARTIAL.fullmatch(text)
        if match is not None and text not in {"", "v"}:
            major, minor = match.groups()
            parts = 2 if minor else 1 if major else 0
            return Version(int(major or 0), int(minor or 0)), parts
        found = Version.parse(text)
        if found is None:
            self._fail(at)
        return found, 3

    def _fail(self, at: int) -> NoReturn:
        raise InvalidReference("invalid range of versions", text=self._text, position=at)


def _first_set(version: Version, parts: int) -> int:
    """Return the number of parts that ``^`` fixes: up to the first that is not 0."""
    given = version.release[:parts]
    return next((place for place, part in enumerate(given, 1) if part), parts)


def _after(version: Version, parts: int) -> Version:
    """Return the first version after all with the same ``parts``."""
    major, minor, patch = version.release
    if parts == 1:
        return Version(major + 1, pre=_FIRST)
    if parts == 2:  # noqa: PLR2004 - major and minor
        return Version(major, minor + 1, pre=_FIRST)
    if version.pre:
        return Version(major, minor, patch, version.pre + _FIRST)
    return Version(major, minor, patch + 1, _FIRST)
