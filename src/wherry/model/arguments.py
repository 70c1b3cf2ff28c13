"""Checks of the arguments of public calls, before a call does anything."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from wherry.model.record import Record
from wherry.model.secret import Secret, masked

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence
    from types import CodeType

F = TypeVar("F", bound=Callable[..., Any])

_VARIADIC = 0x04  # CO_VARARGS of the module `inspect`, which takes long to import
_SHOWN = 80  # characters of a wrong value that an error quotes


class Rule(Record):
    """The values that a parameter takes.

    Attributes:
        words: The rule in words, for errors.
        fits: Whether the type of a value is right.
        valid: Whether a value of the right type is allowed.
        quoted: Errors quote the value. Without it they do not: it may contain a secret.
        secret: The value is masked, so that no traceback shows it.
    """

    words: str
    fits: Callable[[Any], bool]
    valid: Callable[[Any], bool] = lambda _value: True
    quoted: bool = False
    secret: bool = False

    def check(self, name: str, value: object) -> None:
        """Check an argument.

        Raises:
            TypeError: The value has the wrong type.
            ValueError: The value has the right type but is not allowed.
        """
        if not self.fits(value):
            kind = "None" if value is None else type(value).__name__
            kind = "str" if isinstance(value, Secret) else kind
            raise TypeError(f"{name} must be {self.words}, not {kind}")
        if not self.valid(value):
            shown = f", not {str(value)[:_SHOWN]!r}" if self.quoted else ""
            raise ValueError(f"{name} must be {self.words}{shown}")


def instance(words: str, *kinds: type) -> Rule:
    """Make a rule for instances of some types; a bool is not a number."""

    def fits(value: object) -> bool:
        return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))

    return Rule(words, fits)


def choice(*allowed: str) -> Rule:
    """Make a rule for one of a few words."""
    words = " or ".join([", ".join(map(repr, allowed[:-1])), repr(allowed[-1])])
    return Rule(words, lambda value: isinstance(value, str), allowed.__contains__, quoted=True)


def optional(rule: Rule) -> Rule:
    """Make a rule that allows None as well."""
    return rule.replace(
        fits=lambda value: value is None or rule.fits(value),
        valid=lambda value: value is None or rule.valid(value),
    )


TEXT = instance("a str", str)
FLAG = instance("True or False", bool)
INTEGER = instance("an int", int)
COUNT = INTEGER.replace(valid=lambda value: value >= 1)
NUMBER = instance("a number", int, float)
CALLABLE = Rule("callable", callable)


def checked(rules: Mapping[str, Rule]) -> Callable[[F], F]:
    """Check the arguments of a call by rules that have the names of its parameters.

    None is allowed if it is the default. A parameter without a rule is not checked.
    """

    def decorate(call: F) -> F:
        function: Any = call
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        positional, rest = _places(function.__code__)
        own: dict[str, Rule] = {}
        secret: list[str] = []

        @functools.wraps(call)
        def checking(*arguments: Any, **named: Any) -> Any:
            if not own:  # made at the first call: a program uses few of all calls
                own.update(_own_rules(function, rules))
                secret.extend(name for name, rule in own.items() if rule.secret)
            if secret:
                arguments = tuple(_masked(_placed(positional, arguments), secret))
                named = dict(zip(named, _masked(named.items(), secret), strict=True))
            for name, value in (*zip(positional, arguments, strict=False), *named.items()):
                if name in own:
                    own[name].check(name, value)
            for value in arguments[len(positional) :] if rest in own else ():
                own[rest].check(rest, value)
            return call(*arguments, **named)

        return cast("F", checking)

    return decorate


def _placed(names: Sequence[str], arguments: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield positional arguments with their names, which are empty for ``*rest``."""
    for place, value in enumerate(arguments):
        yield names[place] if place < len(names) else "", value


def _masked(values: Iterable[tuple[str, Any]], secret: Container[str]) -> Iterator[Any]:
    """Yield the values of pairs, with those of secret names masked."""
    for name, value in values:
        yield masked(value) if name in secret else value


def _places(code: CodeType) -> tuple[tuple[str, ...], str]:
    """Return the names of the positional parameters, and the name of ``*rest`` or ""."""
    names = code.co_varnames
    rest = names[code.co_argcount + code.co_kwonlyargcount] if code.co_flags & _VARIADIC else ""
    return names[: code.co_argcount], rest


def _own_rules(function: Any, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return the rules for the parameters of one function."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 1]
    defaults = function.__defaults__ or ()
    by_place = zip(reversed(names[: code.co_argcount]), reversed(defaults), strict=False)
    values = dict(by_place) | (function.__kwdefaults__ or {})
    return {
        name: optional(rules[name]) if values.get(name, name) is None else rules[name]
        for name in names
        if name in rules
    }
