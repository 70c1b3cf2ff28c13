"""Immutable values with named fields, cheap to define."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, dataclass_transform

if TYPE_CHECKING:
    from inspect import Signature


class _SignatureOfFields:
    """Compute the signature of a record when `inspect` asks for it."""

    def __get__(self, record: Record | None, kind: type[Record]) -> Signature:
        if record is not None:
            raise AttributeError("a record cannot be called")
        from inspect import Parameter, Signature, get_annotations

        annotations: dict[str, Any] = {}
        for base in reversed(kind.__mro__):
            annotations |= get_annotations(base)
        parameters = [
            Parameter(
                name,
                Parameter.POSITIONAL_OR_KEYWORD,
                default=kind._defaults.get(name, Parameter.empty),  # noqa: SLF001 - of the class below
                annotation=annotations[name],
            )
            for name in kind._fields
        ]
        return Signature(parameters, return_annotation=None)


@dataclass_transform(frozen_default=True)
class Record:
    """The base of options, settings and results.

    Every annotation is a field, with a default or without. Fields of a base class come first.
    Records of one class are equal if their fields are.

    No code is generated, so a subclass costs next to nothing to define. An instance costs three
    times what a named tuple does; use a named tuple for what is made by the thousand
    (docs/decisions/0004-named-tuples-and-records.md).
    """

    _fields: tuple[str, ...] = ()
    _names: frozenset[str] = frozenset()
    _defaults: dict[str, Any] = {}  # noqa: RUF012 - each class has its own
    __signature__ = _SignatureOfFields()

    def __init_subclass__(cls) -> None:
        """Collect the fields."""
        own = cls.__dict__
        cls._fields = tuple(dict.fromkeys((*cls._fields, *cls.__annotations__)))
        cls.__match_args__ = cls._fields  # type: ignore[attr-defined,misc] # as type checkers think
        cls._names = frozenset(cls._fields)
        cls._defaults = cls._defaults | {name: own[name] for name in cls._fields if name in own}

    def __init__(self, *values: Any, **named: Any) -> None:
        """Set the fields by position or name.

        Raises:
            TypeError: A field is missing, unknown or given twice.
        """
        fields = self.__dict__
        placed = dict(zip(self._fields, values, strict=False))
        fields.update(self._defaults, **placed, **named)
        if len(values) > len(placed) or fields.keys() != self._names:
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values in some fields.

        Raises:
            TypeError: There is no such field.
        """
        return type(self)(**self.__dict__ | changes)

    __replace__ = replace  # of `copy.replace`, which Python 3.13 has

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
