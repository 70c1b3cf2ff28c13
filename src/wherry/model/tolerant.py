"""Fields of a document that may be wrong: they get no value, and a problem is reported."""

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
    """An object of a document; a field of the wrong type has no value and is a problem.

    ``problems`` is shared with the objects inside of it.
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
        """Return a string, absent is empty."""
        return self._read(self._fields.text, key, "")

    def flag(self, key: str) -> bool:
        """Return a boolean, absent is false."""
        return self._read(self._fields.flag, key, default=False)

    def time(self, key: str) -> str:
        """Return an RFC 3339 time as written, absent is empty."""
        text = self.text(key)
        is_text = isinstance(self._fields.value.get(key), str)
        if is_text and gotime.normalized(text) is None:
            self._report(self._fields.at(key), f"is {text[:MAX_SHOWN]!r}, expected a time")
            return ""
        return text

    def texts(self, key: str) -> list[str]:
        """Return the strings in an array, absent is empty."""
        found = []
        items: list[Any] = []
        for place, item in enumerate(self._read(self._fields.array, key, items)):
            if isinstance(item, str):
                found.append(item)
            elif item is not None:
                self._report(f"{self._fields.at(key)}[{place}]", "is not a string")
        return found

    def text_map(self, key: str) -> dict[str, str]:
        """Return the members of an object that are strings, absent is empty."""
        found = {}
        members = self._read(self._fields.map, key, None) or Fields({})
        for name, item in members.value.items():
            if item is None or isinstance(item, str):
                found[name] = item or ""
            else:
                self._report(members.at(name), "is not a string")
        return found

    def keys(self, key: str) -> tuple[str, ...]:
        """Return the names of an object's members, absent is empty."""
        found = self._read(self._fields.map, key, None)
        return () if found is None else tuple(found.value)

    def command(self, key: str) -> tuple[str, ...] | None:
        """Return a command: an array of strings or, as engines read it, one string."""
        value = self._fields.value.get(key)
        if isinstance(value, str):
            return (value,)
        return None if value is None else self._read(self._fields.texts, key, None)

    def object(self, key: str) -> TolerantFields:
        """Return an object, absent is empty."""
        found = self._read(self._fields.object, key, None)
        return TolerantFields(found or Fields({}, self._fields, key), self.problems)

    def objects(self, key: str) -> list[TolerantFields]:
        """Return the objects of an array in their places, absent is empty."""
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
