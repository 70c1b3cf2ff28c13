"""Decoding and encoding of Go structs as in ``encoding/json``.

Old engines computed image ids from encoded structs. So the fields, their order, and the handling
of missing, null and differently spelled values have to be the same.
"""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from wherry.errors import InvalidDocument
from wherry.model import gotime
from wherry.model.gojson import sorted_map
from wherry.model.problem import DocumentFault, note

if TYPE_CHECKING:
    from collections.abc import Sequence

# Go folds two characters outside of ASCII: the long s and the Kelvin sign.
_FOLD = str.maketrans({"\u017f": "s", "\u212a": "k"})
_LONGEST_NAME = 64  # characters; no field has a longer name, folded or not


class Kind(enum.Enum):
    """The Go types of the fields."""

    STRING = "string"
    BOOL = "bool"
    INT = "int"
    TIME = "time.Time"
    STRINGS = "[]string"
    COMMAND = "a list of strings, or one string"
    SET = "map[string]struct{}"
    MAP = "map[string]string"


class Field(NamedTuple):
    """A field: its JSON name, its type, and whether it is left out when empty.

    A ``pointer`` field is absent until it is set. A field with ``many`` is a list of structs.
    """

    name: str
    kind: Kind | tuple[Field, ...]
    omit_empty: bool = False
    pointer: bool = False
    many: bool = False


Struct = tuple[Field, ...]


def decode(
    struct: Struct,
    source: dict[str, Any],
    path: str = "",
    into: dict[str, Any] | None = None,
    problems: list[DocumentFault] | None = None,
) -> dict[str, Any]:
    """Decode an object into a struct.

    Keys match in any case, and unknown keys are ignored. For keys of the same field, the last one
    counts; objects are merged.

    Args:
        struct: The fields.
        source: The JSON object.
        path: The path of the object, for errors.
        into: Values to start with.
        problems: Collects faults. The field, or the member of a map, then has no value.

    Raises:
        InvalidDocument: A value has the wrong type, and ``problems`` is None.
    """
    values: dict[str, Any] = {} if into is None else into
    names = {field.name: field for field in struct}
    for key, value in source.items():
        field = names.get(key) or _folded(struct, key)
        if field is not None:
            where = f"{path}.{key}" if path else key
            try:
                _set(field, value, where, values, problems)
            except InvalidDocument as error:
                if problems is None:
                    raise
                note(problems, error.path, error.message)
    return values


def _folded(struct: Struct, key: str) -> Field | None:
    if len(key) > _LONGEST_NAME:
        return None
    folded = _fold(key)
    return next((field for field in struct if _fold(field.name) == folded), None)


@functools.lru_cache(maxsize=256)
def _fold(text: str) -> str:
    lowered = text.translate(_FOLD)
    return "".join(c.lower() if c.isascii() else c for c in lowered)


def _set(
    field: Field,
    value: Any,
    path: str,
    values: dict[str, Any],
    problems: list[DocumentFault] | None,
) -> None:
    if value is None:
        # Null sets pointers, slices and maps to nil, and leaves other values unchanged.
        if field.pointer or field.many or field.kind in _NIL:
            values.pop(field.name, None)
        return
    before = values.get(field.name)
    if isinstance(field.kind, tuple) and field.many:
        values[field.name] = _structs(field.kind, value, path, problems)
    elif isinstance(field.kind, tuple):
        values[field.name] = decode(field.kind, _object(value, path), path, before, problems)
    else:
        if problems is not None:
            value = _without_others(field, value, path, problems)
        values[field.name] = _value(field.kind, value, path, before)


def _value(kind: Kind, value: Any, path: str, before: Any) -> Any:  # noqa: C901, PLR0911 - a table
    match kind:
        case Kind.STRING if isinstance(value, str):
            return value
        case Kind.BOOL if isinstance(value, bool):
            return value
        case Kind.INT if isinstance(value, int) and not isinstance(value, bool):
            return value
        case Kind.TIME if isinstance(value, str) and (time := gotime.normalized(value)):
            return time
        case Kind.COMMAND if isinstance(value, str):
            return [value]
        case Kind.STRINGS | Kind.COMMAND if isinstance(value, list):
            return [_text(item, f"{path}[{place}]") for place, item in enumerate(value)]
        case Kind.MAP if isinstance(value, dict):
            found = {key: _text(item, f"{path}.{key}") for key, item in value.items()}
            return (before or {}) | found
        case Kind.SET if isinstance(value, dict):
            for key, item in value.items():
                if item is not None:
                    _object(item, f"{path}.{key}")
            return (before or {}) | {key: {} for key in value}
    return _fail(path, f"expected {kind.value}")


def _without_others(field: Field, value: Any, path: str, problems: list[DocumentFault]) -> Any:
    """Drop and report the members of a map or environment that are not strings."""
    if field.kind is Kind.MAP and isinstance(value, dict):
        wrong = (f"{path}.{key}" for key, item in value.items() if not _is_text(item))
        kept: Any = {key: item for key, item in value.items() if _is_text(item)}
    elif field.name == "Env" and isinstance(value, list):
        wrong = (f"{path}[{place}]" for place, item in enumerate(value) if not _is_text(item))
        kept = [item for item in value if _is_text(item)]
    else:
        return value
    for place in wrong:
        note(problems, place, "expected a string")
    return kept


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _structs(
    struct: Struct, value: Any, path: str, problems: list[DocumentFault] | None
) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        _fail(path, "expected an array")
    return [
        decode(
            struct,
            {} if item is None else _object(item, f"{path}[{place}]"),
            "" if problems is None else f"{path}[{place}]",
            problems=problems,
        )
        for place, item in enumerate(value)
    ]


def _text(value: Any, path: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        _fail(path, "expected a string")
    return value


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _fail(path, "expected an object")
    return value


def _fail(path: str, message: str) -> NoReturn:
    raise InvalidDocument(message, path=path)


_NIL = {Kind.STRINGS, Kind.COMMAND, Kind.SET, Kind.MAP}
_ZERO = {
    Kind.STRING: "",
    Kind.BOOL: False,
    Kind.INT: 0,
    Kind.TIME: gotime.ZERO,
    Kind.STRINGS: None,
    Kind.COMMAND: None,
    Kind.SET: None,
    Kind.MAP: None,
}


def encode(struct: Sequence[Field], values: dict[str, Any]) -> dict[str, Any]:
    """Return a struct for `gojson.encode`: its fields in order, with empty values."""
    written: dict[str, Any] = {}
    for field in struct:
        value = values.get(field.name)
        if isinstance(field.kind, tuple) and field.many:
            if value or not field.omit_empty:
                written[field.name] = value and [encode(field.kind, item) for item in value]
            continue
        if isinstance(field.kind, tuple):
            if value is None and field.pointer:
                if not field.omit_empty:
                    written[field.name] = None
                continue
            written[field.name] = encode(field.kind, value or {})
            continue
        if value is None and not field.pointer:
            value = _ZERO[field.kind]
        # A pointer to an empty value is not empty, and a time is never empty.
        empty = value is None if field.pointer else not value and field.kind is not Kind.TIME
        if field.omit_empty and empty:
            continue
        if isinstance(value, dict):
            value = sorted_map(value)
        written[field.name] = value
    return written
