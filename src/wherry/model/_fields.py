"""JSON read strictly, and checked getters whose errors carry the path."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

from wherry.errors import InvalidDigest, InvalidDocument
from wherry.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

MAX_DOCUMENT = 4 * 2**20  # bytes of a manifest, index or config
MAX_VALUES = 400_000  # values and keys of a document; each takes up to 70 bytes of memory
MAX_ENTRIES = 10_000  # of a list or map that is read
MAX_INTEGER = 2**63 - 1
MAX_KEY_SHOWN = 64
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # reads each byte once


def load_object(raw: bytes, what: str, *, max_depth: int) -> Fields:
    """Read ``raw`` as one JSON object that every reader understands in the same way.

    Refuses what readers disagree about: duplicate keys, NaN and infinities, lone surrogates,
    nesting over ``max_depth``, anything over 4 MiB or over `MAX_VALUES`. Integers over 64 bits
    are refused where they are read. Raises `InvalidDocument`.
    """
    value = _load(raw, what, max_depth)
    if not isinstance(value, dict):
        raise InvalidDocument(f"{what} is {_kind(value)}, expected an object")
    _check_tree(value, max_depth)
    return Fields(value)


def load_array(raw: bytes, what: str, *, max_depth: int) -> list[Any]:
    """Read ``raw`` as one JSON array, as strictly as `load_object`; null is an empty one."""
    value = _load(raw, what, max_depth)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidDocument(f"{what} is {_kind(value)}, expected an array")
    _check_tree(value, max_depth)
    return value


def as_object(value: object, path: str) -> Fields:
    """Return the fields of an element of a `load_array`; raises `InvalidDocument`."""
    if not isinstance(value, dict):
        raise InvalidDocument(f"is {_kind(value)}, expected an object", path=path)
    return Fields(value, path)


def _load(raw: bytes, what: str, max_depth: int) -> Any:
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
    """Raise `InvalidDocument` if ``raw`` has too many values to be parsed within bounded memory.

    Counts the characters that separate values before any of them is made.
    """
    if len(raw) <= most or _separators(raw) <= most:
        return
    if _separators(_STRING.sub(b"", raw)) > most:
        raise InvalidDocument(f"{what} has over {most:,} values")


def _separators(raw: bytes) -> int:
    return sum(map(raw.count, (b",", b":", b"[", b"{")))


class OutOfRange:
    """A number beyond 64 bits: any getter refuses it, but a field that is not read may hold it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _RefusedValue(str):
    """Stands in the tree for what was refused while reading, until its path is known."""

    __slots__ = ()


class _RepeatedKey(dict[str, Any]):
    """An object that has a key twice."""

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


_Link = tuple[Any, str | int]  # the way to a value: that to its parent, and the last step


def _check_tree(root: Any, max_depth: int) -> None:
    """Refuse what cannot be trusted to mean one thing, with its path, without recursion."""
    within: list[tuple[_Link | None, Iterator[tuple[str | int, Any]]]]
    within = [(None, _children(root, None))]  # one for each level
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
    """Return what is in an array or object, the keys of the latter checked."""
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
        path = _join(path, step)
    return path


def _join(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    key = key[:MAX_KEY_SHOWN]
    return f"{path}.{key}" if path else key


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case OutOfRange():
            return f"the number {value.text[:24]}, which is out of range"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


class Fields:
    """An object of a document at ``path``; each getter checks one field.

    A field that is null counts as absent, as it does to Go's decoder. No dataclass: an index
    of a thousand entries makes thousands of them.
    """

    __slots__ = ("_key", "_parent", "value")

    def __init__(
        self, value: dict[str, Any], parent: str | Fields = "", key: str | int = ""
    ) -> None:
        self.value = value
        self._parent = parent
        self._key = key

    @property
    def path(self) -> str:
        """Where in the document this object is: ``layers[3]``."""
        if isinstance(self._parent, str):
            return self._parent
        return _join(self._parent.path, self._key)

    def at(self, key: str) -> str:
        """Return the path of a field of this object."""
        return _join(self.path, key)

    def fail(self, key: str, message: str) -> NoReturn:
        """Raise `InvalidDocument` for one field."""
        raise InvalidDocument(message, path=self.at(key))

    def _typed(self, key: str, kind: type, name: str) -> Any:
        value = self.value.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(key, f"is {_kind(value)}, expected {name}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Return a string, or ``default`` where it is absent."""
        value: str | None = self._typed(key, str, "a string")
        return default if value is None else value

    def integer(self, key: str) -> int | None:
        """Return an integer or None."""
        value: int | None = self._typed(key, int, "an integer")
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean, absent is false."""
        return bool(self._typed(key, bool, "a boolean"))

    def size(self, key: str) -> int:
        """Return a size in bytes, which must be there."""
        value = self.integer(key)
        if value is None:
            self.fail(key, "is missing, expected a size in bytes")
        if value < 0:
            self.fail(key, f"is {value}, expected a size of 0 or more")
        return value

    def digest(self, key: str) -> Digest:
        """Return a digest, which must be there."""
        text = self.text(key)
        if not text:
            self.fail(key, "is missing, expected a digest")
        try:
            return Digest.parse(text)
        except InvalidDigest as error:
            self.fail(key, error.message)

    def object(self, key: str) -> Fields | None:
        """Return an object or None."""
        value = self._typed(key, dict, "an object")
        return None if value is None else Fields(value, self, key)

    def required_object(self, key: str) -> Fields:
        """Return an object, which must be there."""
        found = self.object(key)
        if found is None:
            self.fail(key, "is missing, expected an object")
        return found

    def objects(self, key: str) -> list[Fields]:
        """Return an array of objects, absent is empty."""
        place = Fields({}, self, key)
        found = []
        for number, item in enumerate(self.array(key)):
            if not isinstance(item, dict):
                message = f"is {_kind(item)}, expected an object"
                raise InvalidDocument(message, path=_join(place.path, number))
            found.append(Fields(item, place, number))
        return found

    def array(self, key: str) -> list[Any]:
        """Return an array of at most `MAX_ENTRIES`, absent is empty."""
        found: list[Any] = self._typed(key, list, "an array") or []
        self._check_entries(key, found)
        return found

    def _check_entries(self, key: str, found: Sized) -> None:
        if len(found) > MAX_ENTRIES:
            self.fail(key, f"has {len(found):,} entries, at most {MAX_ENTRIES:,} are allowed")

    def map(self, key: str) -> Fields | None:
        """Return an object of at most `MAX_ENTRIES` members, or None."""
        found = self.object(key)
        if found is not None:
            self._check_entries(key, found.value)
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings, absent is empty."""
        found = self.array(key)
        for place, item in enumerate(found):
            if not isinstance(item, str):
                raise InvalidDocument(
                    f"is {_kind(item)}, expected a string", path=f"{self.at(key)}[{place}]"
                )
        return tuple(found)

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object whose values are strings, absent is empty."""
        found = self.map(key)
        if found is None:
            return {}
        return {name: found.text(name) for name in found.value}
