"""Evaluate the nodes of a template."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from wherry.cli.gotemplate.functions import (
    FUNCTIONS,
    LAZY,
    MAX_TEXT,
    MISSING,
    Struct,
    TemplateError,
    first_of,
    text_of,
    truth,
)
from wherry.cli.gotemplate.syntax import (
    Block,
    Chain,
    Constant,
    Function,
    Pipeline,
    Print,
    Text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wherry.cli.gotemplate.syntax import Node, Operand

    # Each variable is a list with one value, so that inner blocks can assign to it.
    Scope = Mapping[str, list[Any]]


def fill(nodes: Sequence[Node], value: Any) -> str:
    """Render a parsed template with a value.

    Raises:
        TemplateError: The template does not fit the value, or its output is too long.
    """
    pieces: list[str] = []
    size = 0
    for piece in _run(nodes, value, {"$": [value]}):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_TEXT or len(pieces) > _MAX_PIECES:
            raise TemplateError("the output of the template is too long")
    return "".join(pieces)


_MAX_PIECES = 1_000_000


def _run(nodes: Sequence[Node], dot: Any, outer: Scope) -> Iterator[str]:
    scope = dict(outer)
    for node in nodes:
        match node:
            case Text():
                yield node.text
            case Print():
                yield text_of(_evaluate(node.pipeline, dot, scope))
            case Block("set"):
                scope |= _set(node.pipeline, [_evaluate(node.pipeline, dot, scope)], scope)
            case Block("range"):
                yield from _range(node, dot, scope)
            case Block():
                found = _evaluate(node.pipeline, dot, scope)
                inner = scope | _set(node.pipeline, [found], scope)
                body = node.body if truth(found) else node.otherwise
                with_it = node.keyword == "with" and body is node.body
                yield from _run(body, found if with_it else dot, inner)


def _set(pipeline: Pipeline, values: Sequence[Any], scope: Scope) -> dict[str, list[Any]]:
    """Assign values to the variables of a pipeline; return the new variables."""
    named = dict(zip(pipeline.variables, values, strict=False))
    if pipeline.declares:
        return {name: [value] for name, value in named.items()}
    for name, value in named.items():
        scope[name][0] = value
    return {}


def _range(node: Block, dot: Any, scope: Scope) -> Iterator[str]:
    found = _evaluate(node.pipeline, dot, scope)
    match found:
        case Struct() | str() | bool():
            raise TemplateError(f"range can't go over {text_of(found)}")
        case dict():
            items: Iterable[tuple[Any, Any]] = sorted(found.items())
        case int():
            items = ((number, number) for number in range(found))
        case _ if found is None or found is MISSING:
            items = []
        case _:
            items = enumerate(found)
    names = node.pipeline.variables
    empty = True
    for key, value in items:
        empty = False
        yield ""  # an iteration without text counts as a piece, too
        values = (key, value) if len(names) > 1 else (value,)
        yield from _run(node.body, value, {**scope, **_set(node.pipeline, values, scope)})
    if empty:
        yield from _run(node.otherwise, dot, scope)


def _evaluate(pipeline: Pipeline, dot: Any, scope: Scope) -> Any:
    passed: tuple[Any, ...] = ()
    for first, *rest in pipeline.commands:
        if isinstance(first, Function) and first.name in LAZY:
            if not (rest or passed):
                raise TemplateError(f"{first.name}: wrong number of arguments", first.at)
            looked_at = itertools.chain((_value(each, dot, scope) for each in rest), passed)
            passed = (first_of(looked_at, LAZY[first.name]),)
        elif isinstance(first, Function):
            arguments = [_value(operand, dot, scope) for operand in rest]
            passed = (_call(first, [*arguments, *passed]),)
        elif rest or passed:
            raise TemplateError("only functions take arguments", getattr(first, "at", None))
        else:
            passed = (_value(first, dot, scope),)
    return passed[0]


def _call(function: Function, arguments: list[Any]) -> Any:
    try:
        if function.name in LAZY:  # such as `eq 1 and`: without arguments
            raise TypeError  # noqa: TRY301 - as a call of any other function raises it
        return FUNCTIONS[function.name](*(None if a is MISSING else a for a in arguments))
    except TemplateError as error:
        raise TemplateError(f"{function.name}: {error}", function.at) from None
    except TypeError:
        raise TemplateError(f"{function.name}: wrong number of arguments", function.at) from None


def _value(operand: Operand, dot: Any, scope: Scope) -> Any:
    match operand:
        case Constant():
            return operand.value
        case Function():
            return _call(operand, [])
        case Chain(Pipeline() as inner):
            value = _evaluate(inner, dot, scope)
        case Chain("."):
            value = dot
        case _:
            value = scope[str(operand.base)][0]
    for name in operand.fields:
        value = _field(value, name, operand.at)
    return value


def _field(value: Any, name: str, at: int) -> Any:
    match value:
        case Struct():
            if name in value.fields:
                return value.fields[name]
            raise TemplateError(
                f"there is no field {name}; the fields are {', '.join(value.fields)}", at
            )
        case dict():
            return value.get(name, MISSING)
        case _ if value is MISSING:
            return MISSING
        case _:
            raise TemplateError(
                f'{text_of(value)} has no field {name} (keys with dots: index .Labels "a.b")', at
            )
