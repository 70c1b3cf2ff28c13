"""Values of templates as Go prints them, and the functions that templates may call."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from wherry.model import gojson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

MAX_TEXT = 2**26  # characters that a template, or a value within it, may make
_MAX_WIDTH = 1_000_000  # as in Go's fmt
_WIDTH_DIGITS = 7
_VERB = re.compile(r"%([-+0 #]*([0-9]*)(?:\.([0-9]+))?)([a-zA-Z%])")
_UNESCAPED = re.compile(r"\\(\\|u003c|u003e|u0026)")
_ZONE = re.compile(r"(.*?)(\.\d+)?(Z|[+-]\d\d:\d\d)")


class TemplateError(Exception):
    """A template that cannot be read or filled in; ``at`` is the offending character's index."""

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message)
        self.at = at


class Struct:
    """A value with fields under their names in Go; ``document`` is it as JSON."""

    def __init__(self, fields: Mapping[str, Any], document: Any) -> None:
        self.fields = fields
        self.document = document


class _Missing:
    """What a map has under a key that is not in it; functions are handed nil for it."""


MISSING = _Missing()


class Time(str):
    """A time as RFC 3339 text, which Go prints in another form."""

    __slots__ = ()


def text_of(value: Any) -> str:
    """Return a value as Go's ``fmt`` prints it by ``%v``."""
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
    """Return what Go's ``time.Time.String`` makes of a time, where the machine's zone is UTC."""
    match = _ZONE.fullmatch(text)
    if match is None:
        return text
    moment, fraction, zone = match.groups()
    offset = "+0000" if zone == "Z" else zone.replace(":", "")
    name = "UTC" if zone == "Z" else offset
    return f"{moment.replace('T', ' ')}{fraction or ''} {offset} {name}"


def _document(value: Any) -> Any:
    """Return a value as JSON's own types, maps sorted."""
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
    # As docker and podman do: what is escaped for the sake of HTML is not, here.
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
                raise TemplateError("there is nothing to index")
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
    """Put spaces between values neither of which is text, as ``fmt.Sprint`` does."""
    pieces = []
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            pieces.append(" ")
        pieces.append(text_of(value))
    return _bounded(pieces)


def _println(*values: Any) -> str:
    return _bounded([" ".join(map(text_of, values)), "\n"])


def _printf(form: Any, *values: Any) -> str:
    if not isinstance(form, str):
        raise TemplateError("the first argument is the text to fill in")
    left = list(values)

    def fill(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if any(
            len(digits or "") > _WIDTH_DIGITS or int(digits or 0) > _MAX_WIDTH
            for digits in (width, precision)
        ):
            raise TemplateError(f"a width or precision is at most {_MAX_WIDTH}")
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
        raise TemplateError(f"{match.group()} does not go with {text_of(value)}")

    return _bounded(_pieces(form, fill))


def _pieces(form: str, fill: Callable[[re.Match[str]], str]) -> Iterator[str]:
    at = 0
    for match in _VERB.finditer(form):
        yield form[at : match.start()]
        yield fill(match)
        at = match.end()
    yield form[at:]


def _bounded(pieces: Iterable[str]) -> str:
    """Join text as long as it is no longer than a value may be."""
    found, size = [], 0
    for piece in pieces:
        size += len(piece)
        _check_size(size)
        found.append(piece)
    return "".join(found)


def _check_size(size: int) -> None:
    if size > MAX_TEXT:
        raise TemplateError(f"a text has at most {MAX_TEXT} characters")


def truth(value: Any) -> bool:
    """Tell whether a value is what ``if`` takes for true: there, and neither zero nor empty."""
    return value is not MISSING and (bool(value) or isinstance(value, Struct))


def first_of(values: Iterable[Any], wanted: bool) -> Any:
    """Return the first value of that truth, else the last; looks at none after it."""
    found = None
    for found in values:
        if truth(found) is wanted:
            break
    return found


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise TemplateError("there is nothing to compare with")
    return first in others


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"{text_of(value)} is not text")
    return value


def _split(value: Any, separator: Any) -> list[str]:
    text, at = _text(value), _text(separator)
    return text.split(at) if at else list(text)  # as Go's strings.Split


# These look at their arguments one after another, and only as far as they need (Go 1.18).
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
