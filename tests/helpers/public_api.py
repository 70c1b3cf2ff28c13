"""Walk over the public names of wherry, their methods, and the types of these."""

from __future__ import annotations

import functools
import inspect
import typing
from typing import TYPE_CHECKING, Any

import wherry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def classes_in(hint: Any) -> Iterator[type]:
    """Yield the classes of wherry in a type."""
    if inspect.isclass(hint) and hint.__module__.startswith("wherry."):
        yield hint
    for argument in typing.get_args(hint):
        for each in argument if isinstance(argument, list) else [argument]:
            yield from classes_in(each)


def functions_of(kind: type) -> Iterator[Callable[..., Any]]:
    """Yield the public methods, properties and constructors of a class as functions."""
    for name in dir(kind):
        if name.startswith("_") and name != "__init__":
            continue
        found = inspect.getattr_static(kind, name)
        if isinstance(found, property):
            found = found.fget
        elif isinstance(found, functools.cached_property):
            found = found.func
        found = inspect.unwrap(getattr(found, "__func__", found)) if callable(found) else found
        if inspect.isfunction(found) and found.__module__.startswith("wherry."):
            yield found


def public() -> Iterator[Any]:
    """Yield each public class and function, and the classes of their parameters and results."""
    seen: set[Any] = set()
    left = [getattr(wherry, name) for name in wherry.__all__]
    while left:
        item = left.pop()
        if item in seen:
            continue
        seen.add(item)
        yield item
        for hinted in [item, *functions_of(item)] if inspect.isclass(item) else [item]:
            for hint in typing.get_type_hints(hinted).values():
                left += classes_in(hint)
