"""Values as Go prints them, and the functions of templates."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from wherry.model import gojson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

MAX_TEXT = 2**26  # characters in the output of a template, or in one value
_MAX_WIDTH = 1_000_000  # as in Go's fmt
_WIDTH_DIGITS = 7
_VERB = re.compile(r"%([-+0 #]*([0-9]*)(?:\.([0-9]+))?)([a-zA-Z%])")
_UNESCAPED = re.compile(r"\\(\\|u003c|u003e|u0026)")
_ZONE = re.compile(r"(.*?)(\.\d+)?(Z|[+-]\d\d:\d\d)")


class TemplateError(Exception):
    """An error in a template; ``at`` is the index of the character, if known."""

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message)
        self.at = at


class Struct:
    """A Go struct: ``fields`` by their names in Go, ``document`` for JSON output."""

    def __init__(self, fields: Mapping[str, Any], document: Any) -> None:
        self.fields = fields
        self.document = document


class _Missing:
    """The value of a missing key in a map; functions get nil instead."""


MISSING = _Missing()


class Time(str):
    """A time in RFC 3339 format, which Go prints in its own format."""

    __slots__ = ()


def text_of(value: Any) -> str:
    """Return a value as Go's ``fmt`` prints it with ``%v``."""
    match value:
        case None:
            return "<nil>"
        case _Missing():
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case Time():
            return _time(value)
        case Struct():
            return "{" + " ".join(text_of(item) for item in value.fields.values()) + "}"
        case dict():
            return "map[" + " ".join(f"{k}:{text_of(v)}" for k, v in sorted(value.items())) + "]"
        case list() | tuple():
            return "[" + " ".join(text_of(item) for item in value) + "]"
        case _:
            return str(value)


def _time(text: str) -> str:
    """Return a time as Go's ``time.Time.String`` does on a machine in UTC."""
    match = _ZONE.fullmatch(text)
    if match is None:
        return text
    moment, fraction, zone = match.groups()
    offset = "+0000" if zone == "Z" else zone.replace(":", "")
    name = "UTC" if zone == "Z" else offset
    return f"{moment.replace('T', ' ')}{fraction or ''} {offset} {name}"


def _document(value: Any) -> Any:
    """Return a value with types of JSON only, and with sorted maps."""
    match value:
        case Struct():
            return value.document
        case dict():
            return {key: _document(item) for key, item in sorted(value.items())}
        case list() | tuple():
            return [_document(item) for item in value]
        case _:
            return value


def _json(value: Any) -> str:
    written = gojson.encode(_document(value))
    # docker and podman, too, turn off the escapes for HTML of Go's encoding/json.
    plain = {"u003c": "<", "u003e": ">", "u0026": "&", "\\": "\\\\"}
    return _UNESCAPED.sub(lambda match: plain[match.group(1)], written)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        match value:
            case dict() if isinstance(key, str):
                value = value.get(key, "")
            case list() | tuple() | str() if isinstance(key, int) and not isinstance(key, bool):
                if not 0 <= key < len(value):
                    raise TemplateError(f"index out of range: {key}")
                value = value[key]
            case None:
                raise TemplateError("nil can't be indexed")
            case _:
                raise TemplateError(f"{text_of(value)} can't be indexed by {text_of(key)}")
    return value


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8"))
    if isinstance(value, dict | list | tuple):
        return len(value)
    if value is None:
        return 0
    raise TemplateError(f"{text_of(value)} has no length")


def _join(items: Any, separator: Any) -> str:
    if items is None:
        return ""
    if not isinstance(items, list | tuple) or not isinstance(separator, str):
        raise TemplateError('expected a list and a separator: join .Layers ","')
    _check_size(len(separator) * len(items) + sum(len(text_of(item)) for item in items))
    return separator.join(text_of(item) for item in items)


def _print(*values: Any) -> str:
    """Join values as ``fmt.Sprint`` does, with spaces between non-strings."""
    pieces = []
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            pieces.append(" ")
        pieces.append(text_of(value))
    return _join_limited(pieces)


def _println(*values: Any) -> str:
    return _join_limited([" ".join(map(text_of, values)), "\n"])


def _printf(form: Any, *values: Any) -> str:
    if not isinstance(form, str):
        raise TemplateError("the first argument must be a format string")
    left = list(values)

    def fill(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if any(
            len(digits or "") > _WIDTH_DIGITS or int(digits or 0) > _MAX_WIDTH
            for digits in (width, precision)
        ):
            raise TemplateError(f"a width or precision must be at most {_MAX_WIDTH}")
        if verb == "%":
            return "%"
        if not left:
            raise TemplateError(f"there is no value for {match.group()}")
        value = left.pop(0)
        if verb == "q":
            return f"%{flags}s" % json.dumps(text_of(value), ensure_ascii=False)
        if verb in "sv" or (verb == "t" and isinstance(value, bool)):
            return f"%{flags}s" % text_of(value)
        if verb in "dxXo" and isinstance(value, int) and not isinstance(value, bool):
            return f"%{flags}{verb}" % value
        raise TemplateError(f"{match.group()} cannot format {text_of(value)}")

    return _join_limited(_pieces(form, fill))


def _pieces(form: str, fill: Callable[[re.Match[str]], str]) -> Iterator[str]:
    at = 0
    for match in _VERB.finditer(form):
        yield form[at : match.start()]
        yield fill(match)
        at = match.end()
    yield form[at:]


def _join_limited(pieces: Iterable[str]) -> str:
    """Join text; raises `TemplateError` if it is longer than `MAX_TEXT`."""
    found, size = [], 0
    for piece in pieces:
        size += len(piece)
        _check_size(size)
        found.append(piece)
    return "".join(found)


def _check_size(size: int) -> None:
    if size > MAX_TEXT:
        raise TemplateError(f"a string must have at most {MAX_TEXT} characters")


def truth(value: Any) -> bool:
    """Return whether ``if`` takes a value for true: not missing, zero or empty."""
    return value is not MISSING and (bool(value) or isinstance(value, Struct))


def first_of(values: Iterable[Any], wanted: bool) -> Any:
    """Return the first value with that truth, else the last; evaluate none after it."""
    found = None
    for found in values:
        if truth(found) is wanted:
            break
    return found


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise TemplateError("eq needs at least two arguments")
    return first in others


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"{text_of(value)} is not text")
    return value


def _split(value: Any, separator: Any) -> list[str]:
    text, at = _text(value), _text(separator)
    return text.split(at) if at else list(text)  # as Go's strings.Split


# These functions evaluate only as many arguments as they need (since Go 1.18).
LAZY = {"and": False, "or": True}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": _eq,
    "index": _index,
    "join": _join,
    "json": _json,
    "len": _len,
    "lower": lambda value: _text(value).lower(),
    "ne": lambda first, second: first != second,
    "not": lambda value: not truth(value),
    "print": _print,
    "printf": _printf,
    "println": _println,
    "split": _split,
    "upper": lambda value: _text(value).upper(),
}
