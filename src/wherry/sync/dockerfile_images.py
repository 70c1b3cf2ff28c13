"""Images that a Dockerfile names (docs.docker.com, "Dockerfile reference")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import InvalidReference
from wherry.model.reference import Reference
from wherry.sync.found_image import FoundImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_ESCAPE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*\w+\s*=")
_HEREDOC = re.compile(r"(?<!\S)\d*<<(-?)([\"']?)(\w+)\2(?![^\s;|>&)])")
_MAY_HAVE_HEREDOC = re.compile(r"\s*(?:RUN|COPY|ADD)\s", re.IGNORECASE)
_FROM = re.compile(r"\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*", re.IGNORECASE)
_ARG = re.compile(r"\s*ARG\s+(.*)", re.IGNORECASE | re.DOTALL)
_DEFAULT = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_COPY = re.compile(r"\s*COPY\s+(?:--\S+\s+)*?--from=(\S+)", re.IGNORECASE)
_RUN = re.compile(r"\s*RUN\s", re.IGNORECASE)
_MOUNT = re.compile(r"--mount=\S+")
_MOUNT_FROM = re.compile(r"[=,]from=([^\s,]+)")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}$]*))?\})")


class _Line(NamedTuple):
    """An instruction in one line, and the position of each of its characters in the text."""

    text: str
    positions: list[int]
    number: int


def find_dockerfile_images(
    text: str, file: Path, warn: Callable[[str, str], None]
) -> list[FoundImage]:
    """Return the images of ``FROM``, ``COPY --from`` and ``RUN --mount=from``, in order.

    Stages of the file and ``scratch`` are no images. Variables have the defaults of ``ARG``
    before the first ``FROM``; a name with another variable is left out with a warning.

    Args:
        text: The content of the file.
        file: Its path, for errors.
        warn: Called for each name that is left out, with its place and the reason.

    Raises:
        WherryError: A name does not parse; the error has the line.
    """
    search = _Search(text, file, warn)
    for line in _instructions(text):
        search.look_through(line)
    return search.found


class _Search:
    """The images of a file."""

    def __init__(self, text: str, file: Path, warn: Callable[[str, str], None]) -> None:
        self._text = text
        self._file = file
        self._warn = warn
        self._defaults: dict[str, str] = {}
        self._stages: set[str] = set()
        self._in_stage = False
        self.found: list[FoundImage] = []

    def look_through(self, line: _Line) -> None:
        """Search one instruction."""
        if (match := _FROM.match(line.text)) is not None:
            self._in_stage = True
            self._add("FROM", line, match)
            if match.group(2):
                self._stages.add(match.group(2).lower())
        elif not self._in_stage and (match := _ARG.match(line.text)) is not None:
            for default in _DEFAULT.finditer(match.group(1)):
                if default.group(2) is not None:
                    self._defaults[default.group(1)] = default.group(2).strip("\"'")
        elif (match := _COPY.match(line.text)) is not None:
            self._add("COPY --from", line, match)
        elif _RUN.match(line.text):
            for mount in _MOUNT.finditer(line.text):
                if (match := _MOUNT_FROM.search(line.text, *mount.span())) is not None:
                    self._add("RUN --mount", line, match)

    def _add(self, place: str, line: _Line, match: re.Match[str]) -> None:
        raw = match.group(1)
        name = _VARIABLE.sub(self._value, raw)
        where = f"{self._file}:{line.number}"
        if name.lower() in self._stages or name == "scratch" or name.isdecimal():
            return
        if "$" in name or not name:
            self._warn(where, f"{place} has variables without a default; left out")
            return
        try:
            reference = Reference.parse(name)
        except InvalidReference as error:
            raise error.within(where, place) from None
        start = line.positions[match.start(1)]
        is_spliceable = name == raw and self._text.startswith(raw, start)
        self.found.append(FoundImage(place, line.number, reference, name, start, is_spliceable))

    def _value(self, variable: re.Match[str]) -> str:
        name = variable.group(1) or variable.group(2)
        value = self._defaults.get(name) or variable.group(3)
        return variable.group() if value is None else value


def _instructions(text: str) -> Iterator[_Line]:
    """Yield the instructions, without comments, line ends that are escaped, and heredocs."""
    parts: list[tuple[int, str]] = []  # of the instruction so far, with their positions
    first, escape = 0, _escape(text)
    ends: list[tuple[str, bool]] = []  # the words that end heredocs, and whether tabs may precede
    at = 0
    for number, raw in enumerate(text.splitlines(keepends=True), 1):
        start, at = at, at + len(raw)
        if ends:
            word, may_indent = ends[0]
            line = raw.rstrip("\r\n")
            if (line.lstrip("\t") if may_indent else line) == word:
                ends.pop(0)
            continue
        body = raw.rstrip()
        code = body.lstrip("\ufeff")
        if not code or code.lstrip().startswith("#"):
            continue
        first = first if parts else number
        parts.append((start + len(body) - len(code), code.removesuffix(escape)))
        if not code.endswith(escape):
            found = _join(parts, first)
            parts = []
            ends = _heredocs(found.text)
            yield found
    if parts:
        yield _join(parts, first)


def _escape(text: str) -> str:
    """Return the character that escapes line ends; a directive at the top may set it."""
    for line in text.lstrip("\ufeff").splitlines():
        if _DIRECTIVE.match(line.strip()) is None:
            break
        if (match := _ESCAPE.fullmatch(line.strip())) is not None:
            return match.group(1)
    return "\\"


def _join(parts: list[tuple[int, str]], number: int) -> _Line:
    positions = [start + at for start, part in parts for at in range(len(part))]
    return _Line("".join(part for _, part in parts), positions, number)


def _heredocs(instruction: str) -> list[tuple[str, bool]]:
    if _MAY_HAVE_HEREDOC.match(instruction) is None:
        return []
    return [(word, bool(dash)) for dash, _, word in _HEREDOC.findall(instruction)]
