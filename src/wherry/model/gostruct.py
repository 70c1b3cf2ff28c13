"""Go structs as their JSON decoder fills them and their encoder writes them.

Old engines computed image ids over structs, so what counts is which fields there are, in
which order, and what becomes of values that are missing, null or spelled otherwise.
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

# Beyond ASCII, Go's folding knows the long s and the Kelvin sign.
_FOLD = str.maketrans({"\u017f": "s", "\u212a": "k"})
_LONGEST_NAME = 64  # characters; no field has a longer name, and folding keeps the length


class Kind(enum.Enum):
    """The Go types that the structs of interest are made of."""

    STRING = "string"
    BOOL = "bool"
    INT = "int"
    TIME = "time.Time"
    STRINGS = "[]string"
    COMMAND = "a list of strings, or one string"
    SET = "map[string]struct{}"
    MAP = "map[string]string"


class Field(NamedTuple):
    """One field: its JSON name, its type, and whether it is left out when empty.

    ``pointer`` fields are absent until something sets them; ``many`` makes it a list of
    structs.
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
    """Fill a struct from an object: keys match without regard to case, unknown ones do not.

    Later keys win over earlier ones for the same field, but objects add to what is there.
    Raises `InvalidDocument` where Go does; with ``problems`` that is added to them, and the
    field, or the one member of a map, has no value.
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
        # To what can be nil it is nil; to the rest it is nothing.
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
    """Take what is no string out of a map, or out of an environment; report it."""
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
    """Return a struct as `gojson.encode` writes it: all fields in order, the empty ones too."""
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
        # A pointer to an empty value is not empty; a time never is.
        empty = value is None if field.pointer else not value and field.kind is not Kind.TIME
        if field.omit_empty and empty:
            continue
        if isinstance(value, dict):
            value = sorted_map(value)
        written[field.name] = value
    return written
