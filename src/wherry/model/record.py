"""A few named values that do not change: a frozen dataclass that costs nothing to define."""

from __future__ import annotations

from typing import Any, Self, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """Base of options, settings and outcomes: annotated fields, with defaults or without.

    Nothing is generated, so that defining one costs next to nothing (docs/decisions/0004);
    making one costs three times what a named tuple does, which is for what is made by the
    thousand. Every annotation is a field, those of the class that it derives from first.
    """

    _fields: tuple[str, ...] = ()
    _names: frozenset[str] = frozenset()
    _defaults: dict[str, Any] = {}  # noqa: RUF012 - each class has its own

    def __init_subclass__(cls) -> None:
        """Take note of the fields."""
        own = cls.__dict__
        cls._fields = tuple(dict.fromkeys((*cls._fields, *cls.__annotations__)))
        cls.__match_args__ = cls._fields  # type: ignore[attr-defined,misc] # as type checkers think
        cls._names = frozenset(cls._fields)
        cls._defaults = cls._defaults | {name: own[name] for name in cls._fields if name in own}

    def __init__(self, *values: Any, **named: Any) -> None:
        """Set the fields by position or name; raises `TypeError` if one is missing or unknown."""
        fields = self.__dict__
        placed = dict(zip(self._fields, values, strict=False))
        fields.update(self._defaults, **placed, **named)
        if len(values) > len(placed) or fields.keys() != self._names:
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values in some fields."""
        return type(self)(**self.__dict__ | changes)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be removed")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(map(self.__dict__.__getitem__, self._fields)))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({values})"
