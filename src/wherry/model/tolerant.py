"""Tolerant access to the fields of a document: invalid fields become problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument
from wherry.model import gotime
from wherry.model._fields import Fields
from wherry.model.problem import DocumentFault, note

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

MAX_SHOWN = 80  # characters of a value in a message


class TolerantFields:
    """A JSON object; a field of the wrong type has no value and becomes a problem.

    Nested objects share the list ``problems``.
    """

    def __init__(self, fields: Fields, problems: list[DocumentFault] | None = None) -> None:
        self._fields = fields
        self.problems: list[DocumentFault] = [] if problems is None else problems

    def _read(self, read: Callable[[str], T], key: str, default: T) -> T:
        try:
            return read(key)
        except InvalidDocument as error:
            note(self.problems, error.path, error.message)
            return default

    def _report(self, path: str, message: str) -> None:
        note(self.problems, path, message)

    def text(self, key: str) -> str:
        """Return a string; empty if it is absent."""
        return self._read(self._fields.text, key, "")

    def flag(self, key: str) -> bool:
        """Return a boolean; False if it is absent."""
        return self._read(self._fields.flag, key, default=False)

    def time(self, key: str) -> str:
        """Return an RFC 3339 time unchanged; empty if it is absent."""
        text = self.text(key)
        is_text = isinstance(self._fields.value.get(key), str)
        if is_text and gotime.normalized(text) is None:
            self._report(self._fields.at(key), f"is {text[:MAX_SHOWN]!r}, expected a time")
            return ""
        return text

    def texts(self, key: str) -> list[str]:
        """Return the strings in an array; empty if it is absent."""
        found = []
        items: list[Any] = []
        for place, item in enumerate(self._read(self._fields.array, key, items)):
            if isinstance(item, str):
                found.append(item)
            elif item is not None:
                self._report(f"{self._fields.at(key)}[{place}]", "is not a string")
        return found

    def text_map(self, key: str) -> dict[str, str]:
        """Return the string members of an object; empty if it is absent."""
        found = {}
        members = self._read(self._fields.map, key, None) or Fields({})
        for name, item in members.value.items():
            if item is None or isinstance(item, str):
                found[name] = item or ""
            else:
                self._report(members.at(name), "is not a string")
        return found

    def keys(self, key: str) -> tuple[str, ...]:
        """Return the names of an object's members; empty if it is absent."""
        found = self._read(self._fields.map, key, None)
        return () if found is None else tuple(found.value)

    def command(self, key: str) -> tuple[str, ...] | None:
        """Return a command: an array of strings, or a single string as in engines."""
        value = self._fields.value.get(key)
        if isinstance(value, str):
            return (value,)
        return None if value is None else self._read(self._fields.texts, key, None)

    def object(self, key: str) -> TolerantFields:
        """Return an object; empty if it is absent."""
        found = self._read(self._fields.object, key, None)
        return TolerantFields(found or Fields({}, self._fields, key), self.problems)

    def objects(self, key: str) -> list[TolerantFields]:
        """Return the objects in an array, an empty one for each other value."""
        found = []
        place = Fields({}, self._fields, key)
        items: list[Any] = []
        for number, item in enumerate(self._read(self._fields.array, key, items)):
            is_object = isinstance(item, dict)
            if not is_object and item is not None:
                self._report(f"{self._fields.at(key)}[{number}]", "is not an object")
            fields = Fields(item if is_object else {}, place, number)
            found.append(TolerantFields(fields, self.problems))
        return found
