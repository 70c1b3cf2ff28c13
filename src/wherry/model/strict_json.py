"""Strict JSON: documents that every parser understands in the same way."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DOCUMENT = 4 * 2**20  # bytes of a manifest, index or config
MAX_VALUES = 400_000  # values and keys of a document; each takes up to 70 bytes of memory
MAX_INTEGER = 2**63 - 1
MAX_KEY_SHOWN = 64
_MAX_DIGITS_SHOWN = 24
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # reads each byte once


def load_json(raw: bytes, what: str, max_depth: int) -> Any:
    """Parse a document of at most 4 MiB, before `check_tree`.

    Raises:
        InvalidDocument: It is too large or not JSON.
    """
    if len(raw) > MAX_DOCUMENT:
        raise InvalidDocument(f"{what} is over {MAX_DOCUMENT >> 20} MiB")
    check_values(raw, what)
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RecursionError:
        raise InvalidDocument(f"{what} is nested deeper than {max_depth} levels") from None
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"{what} is not UTF-8 (byte {error.start})") from None
    except ValueError as error:
        raise InvalidDocument(f"{what} is not JSON: {error}") from None


def check_values(raw: bytes, what: str, most: int = MAX_VALUES) -> None:
    """Raise `InvalidDocument` if ``raw`` has more than ``most`` values.

    This counts the separators of values before parsing, to limit the memory of the parser.
    """
    if len(raw) <= most or _separators(raw) <= most:
        return
    if _separators(_STRING.sub(b"", raw)) > most:
        raise InvalidDocument(f"{what} has over {most:,} values")


def _separators(raw: bytes) -> int:
    return sum(map(raw.count, (b",", b":", b"[", b"{")))


class OutOfRange:
    """A number over 64 bits; getters refuse it, but a field may have it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _RefusedValue(str):
    """A placeholder for a refused value, until its path is known."""

    __slots__ = ()


class _RepeatedKey(dict[str, Any]):
    """An object with a duplicate key."""

    __slots__ = ("key",)
    key: str


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    twice = _RepeatedKey(found)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            twice.key = key
            break
        seen.add(key)
    return twice


def _no_constant(name: str) -> _RefusedValue:
    return _RefusedValue(f"{name} is not a JSON number")


def _finite(text: str) -> float | OutOfRange:
    value = float(text)
    return OutOfRange(text) if math.isinf(value) else value


def _bounded(text: str) -> int | OutOfRange:
    if len(text) > len(str(MAX_INTEGER)) + 1 or abs(int(text)) > MAX_INTEGER:
        return OutOfRange(text)
    return int(text)


_Link = tuple[Any, str | int]  # the path to a value: the link of its parent, and its key


def check_tree(root: Any, max_depth: int) -> None:
    """Raise `InvalidDocument` for a value that parsers disagree about; not recursive."""
    within: list[tuple[_Link | None, Iterator[tuple[str | int, Any]]]]
    within = [(None, _children(root, None))]  # one item for each level
    while within:
        link, children = within[-1]
        for key, child in children:
            kind = type(child)
            if kind is str:
                if not child.isascii():
                    _check_text(child, (link, key))
            elif kind is dict or kind is list or kind is _RepeatedKey:
                inner = (link, key)
                if len(within) == max_depth:
                    raise InvalidDocument(
                        f"nested deeper than {max_depth} levels", path=_path(inner)
                    )
                within.append((inner, _children(child, inner)))
                break
            elif kind is _RefusedValue:
                raise InvalidDocument(str(child), path=_path((link, key)))
        else:
            within.pop()


def _children(value: Any, link: _Link | None) -> Iterator[tuple[str | int, Any]]:
    """Return the members of an array or object, whose keys are checked."""
    if isinstance(value, list):
        return iter(enumerate(value))
    if isinstance(value, _RepeatedKey):
        raise InvalidDocument("the key appears twice", path=_path((link, value.key)))
    for key in value:
        _check_text(key, link)
    return iter(value.items())


def _check_text(text: str, link: _Link | None) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidDocument("a lone surrogate is not text", path=_path(link)) from None


def _path(link: _Link | None) -> str:
    steps = []
    while link is not None:
        link, step = link
        steps.append(step)
    path = ""
    for step in reversed(steps):
        path = join_path(path, step)
    return path


def join_path(path: str, key: str | int) -> str:
    """Return the path of a member of the value at ``path``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    key = key[:MAX_KEY_SHOWN]
    return f"{path}.{key}" if path else key


def kind_name(value: object) -> str:
    """Return the JSON type of a value, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case OutOfRange():
            more = "…" if len(value.text) > _MAX_DIGITS_SHOWN else ""
            return f"the number {value.text[:_MAX_DIGITS_SHOWN]}{more}, which is out of range"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
