"""Checked access to the fields of a JSON object, with paths in errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from wherry.errors import InvalidDigest, InvalidDocument
from wherry.model.digest import Digest
from wherry.model.strict_json import check_tree, join_path, kind_name, load_json

if TYPE_CHECKING:
    from collections.abc import Sized

MAX_ENTRIES = 10_000  # of an array, or of an object that is a map


def load_object(raw: bytes, what: str, *, max_depth: int) -> Fields:
    """Parse ``raw`` as a JSON object that every parser understands in the same way.

    Integers over 64 bits are refused only if they are read.

    Raises:
        InvalidDocument: The document is not an object. It has duplicate keys, NaN, infinities or
            lone surrogates. It is larger than 4 MiB, has too many values, or is nested deeper
            than ``max_depth``.
    """
    value = load_json(raw, what, max_depth)
    if not isinstance(value, dict):
        raise InvalidDocument(f"{what} is {kind_name(value)}, expected an object")
    check_tree(value, max_depth)
    return Fields(value)


def load_array(raw: bytes, what: str, *, max_depth: int) -> list[Any]:
    """Parse a JSON array, as strictly as `load_object`; null is an empty array."""
    value = load_json(raw, what, max_depth)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidDocument(f"{what} is {kind_name(value)}, expected an array")
    check_tree(value, max_depth)
    return value


def as_object(value: object, path: str) -> Fields:
    """Return the fields of an element of an array; raises `InvalidDocument`."""
    if not isinstance(value, dict):
        raise InvalidDocument(f"is {kind_name(value)}, expected an object", path=path)
    return Fields(value, path)


class Fields:
    """A JSON object at ``path`` of a document; each getter checks one field.

    A field that is null counts as absent, as in Go's ``encoding/json``. The class is light,
    because an index of a thousand entries makes thousands of objects.
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
        """The path of this object in the document: ``layers[3]``."""
        if isinstance(self._parent, str):
            return self._parent
        return join_path(self._parent.path, self._key)

    def at(self, key: str) -> str:
        """Return the path of a field of this object."""
        return join_path(self.path, key)

    def fail(self, key: str, message: str) -> NoReturn:
        """Raise `InvalidDocument` for one field."""
        raise InvalidDocument(message, path=self.at(key))

    def _typed(self, key: str, kind: type, name: str) -> Any:
        value = self.value.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(key, f"is {kind_name(value)}, expected {name}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Return a string, or ``default`` if it is absent."""
        value: str | None = self._typed(key, str, "a string")
        return default if value is None else value

    def integer(self, key: str) -> int | None:
        """Return an integer or None."""
        value: int | None = self._typed(key, int, "an integer")
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean; False if it is absent."""
        return bool(self._typed(key, bool, "a boolean"))

    def size(self, key: str) -> int:
        """Return a size in bytes, which is required."""
        value = self.integer(key)
        if value is None:
            self.fail(key, "is missing, expected a size in bytes")
        if value < 0:
            self.fail(key, f"is {value}, expected a size of 0 or more")
        return value

    def digest(self, key: str) -> Digest:
        """Return a digest, which is required."""
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
        """Return an object, which is required."""
        found = self.object(key)
        if found is None:
            self.fail(key, "is missing, expected an object")
        return found

    def objects(self, key: str) -> list[Fields]:
        """Return an array of objects; empty if it is absent."""
        place = Fields({}, self, key)
        found = []
        for number, item in enumerate(self.array(key)):
            if not isinstance(item, dict):
                message = f"is {kind_name(item)}, expected an object"
                raise InvalidDocument(message, path=join_path(place.path, number))
            found.append(Fields(item, place, number))
        return found

    def array(self, key: str) -> list[Any]:
        """Return an array of at most `MAX_ENTRIES`; empty if it is absent."""
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
        """Return an array of strings; empty if it is absent."""
        found = self.array(key)
        for place, item in enumerate(found):
            if not isinstance(item, str):
                raise InvalidDocument(
                    f"is {kind_name(item)}, expected a string", path=f"{self.at(key)}[{place}]"
                )
        return tuple(found)

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object whose values are strings; empty if it is absent."""
        found = self.map(key)
        if found is None:
            return {}
        return {name: found.text(name) for name in found.value}
