"""Checked access to the values of a TOML table, with places in errors."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from wherry.errors import WherryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),  # before int, which it is a subclass of
    (int, "an integer"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "a table"),
    (datetime.datetime, "a date with a time"),
)
_SHOWN = 60  # characters of a wrong word that an error quotes


class Table:
    """A table at a place of a file, such as ``images[2]``; each getter checks one value.

    Args:
        value: The parsed table.
        place: Where it is in the file; empty for the file itself.
        keys: The keys that it may have; None allows any.

    Raises:
        WherryError: It has another key.
    """

    def __init__(
        self, value: Mapping[str, Any], place: str = "", keys: Iterable[str] | None = None
    ) -> None:
        self.value = value
        self.place = place
        known = None if keys is None else tuple(keys)
        for key in value:
            if known is not None and key not in known:
                self.fail(key, "unknown key", hint=f"known are: {', '.join(known)}")

    def at(self, key: str) -> str:
        """Return the place of a value of this table."""
        key = key[:_SHOWN]
        return f"{self.place}.{key}" if self.place else key

    def fail(self, key: str, message: str, *, hint: str = "") -> NoReturn:
        """Raise `WherryError` for one value; without a key, for the table."""
        raise WherryError(message, hint=hint).within(self.at(key) if key else self.place)

    def _typed(self, key: str, kind: type[T]) -> T | None:
        value = self.value.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(key, f"is {kind_of(value)}, expected {_words(kind)}")
        return value

    def text(self, key: str) -> str:
        """Return a string that is not empty, or an empty one if it is absent."""
        value = self._typed(key, str)
        if value == "":
            self.fail(key, "is empty")
        return value or ""

    def required_text(self, key: str) -> str:
        """Return a string that has to be there."""
        if key not in self.value:
            self.fail("", f"{key} is missing")
        return self.text(key)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """Return one of a few words, or an empty string if it is absent."""
        value = self.text(key)
        if value and value not in allowed:
            self.fail(key, f"is {value[:_SHOWN]!r}, expected {' or '.join(map(repr, allowed))}")
        return value

    def count(self, key: str) -> int | None:
        """Return an integer of at least 1, or None."""
        value = self._typed(key, int)
        if value is not None and value < 1:
            self.fail(key, f"is {value}, expected at least 1")
        return value

    def size(self, key: str) -> int | None:
        """Return a number of bytes, or None."""
        value = self._typed(key, int)
        if value is not None and value < 0:
            self.fail(key, f"is {value}, expected at least 0")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false; False if it is absent."""
        return bool(self._typed(key, bool))

    def moment(self, key: str) -> datetime.datetime:
        """Return a time that has to be there, with its offset from UTC."""
        value = self._typed(key, datetime.datetime)
        if value is None:
            self.fail("", f"{key} is missing")
        if value.tzinfo is None:
            self.fail(key, "has no offset from UTC, expected Z at its end")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings, empty if it is absent."""
        return tuple(text for _, text in self.places(key))

    def places(self, key: str) -> list[tuple[str, str]]:
        """Return the strings of an array, each after its place."""
        found = self._typed(key, list)
        if found == []:
            self.fail(key, "is empty")
        places = []
        for number, item in enumerate(found or []):
            place = f"{self.at(key)}[{number}]"
            if not isinstance(item, str) or not item:
                words = f"is {kind_of(item)}, expected a string" if item != "" else "is empty"
                raise WherryError(words).within(place)
            places.append((place, item))
        return places

    def tables(self, key: str, keys: Iterable[str] | None = None) -> list[Table]:
        """Return an array of tables, empty if it is absent."""
        known = None if keys is None else tuple(keys)
        found: list[Table] = []
        for number, item in enumerate(self._typed(key, list) or []):
            place = f"{self.at(key)}[{number}]"
            if not isinstance(item, dict):
                raise WherryError(f"is {kind_of(item)}, expected a table").within(place)
            found.append(Table(item, place, known))
        return found

    def table(self, key: str, keys: Iterable[str] | None = None) -> Table:
        """Return a table, an empty one if it is absent."""
        return Table(self._typed(key, dict) or {}, self.at(key), keys)


def kind_of(value: object) -> str:
    """Return the TOML type of a value, for messages."""
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "a date or time")


def _words(kind: type) -> str:
    return next(words for each, words in _KINDS if each is kind)
