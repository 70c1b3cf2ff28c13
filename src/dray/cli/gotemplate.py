"""Templates for ``--format``: the part of Go's ``text/template`` that people use.

Text, fields and keys (``{{.Labels.x}}``), pipelines, variables, ``if``, ``with`` and
``range``, trim markers, comments, and the functions of `dray.cli.gofunctions`. Values are
those of JSON, and `Struct` and `Time` for what Go prints in its own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dray.cli.gofunctions import FUNCTIONS, Struct, TemplateError, text_of, truth
from dray.cli.gosyntax import Block, Chain, Constant, Function, Pipeline, Print, Text, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dray.cli.gosyntax import Node, Operand

_MISSING = "<no value>"


def render(template: str, value: Any) -> str:
    """Fill a template in; raises `TemplateError`, which knows the offending place."""
    return fill(parse(template), value)


def fill(nodes: Sequence[Node], value: Any) -> str:
    """Fill in a template that has been read; raises `TemplateError`."""
    return "".join(_run(nodes, value, {"$": value}))


def _run(nodes: Sequence[Node], dot: Any, scope: Mapping[str, Any]) -> Iterator[str]:
    scope = dict(scope)
    for node in nodes:
        match node:
            case Text():
                yield node.text
            case Print():
                yield text_of(_evaluate(node.pipeline, dot, scope))
            case Block("set"):
                scope[node.pipeline.variables[0]] = _evaluate(node.pipeline, dot, scope)
            case Block("range"):
                yield from _range(node, dot, scope)
            case Block():
                found = _evaluate(node.pipeline, dot, scope)
                inner = scope | dict.fromkeys(node.pipeline.variables, found)
                body = node.body if truth(found) else node.otherwise
                with_it = node.keyword == "with" and body is node.body
                yield from _run(body, found if with_it else dot, inner)


def _range(node: Block, dot: Any, scope: Mapping[str, Any]) -> Iterator[str]:
    found = _evaluate(node.pipeline, dot, scope)
    match found:
        case Struct() | str() | bool():
            raise TemplateError(f"range can't go over {text_of(found)}")
        case dict():
            items: list[tuple[Any, Any]] = sorted(found.items())
        case int():
            items = [(number, number) for number in range(found)]
        case None:
            items = []
        case _:
            items = list(enumerate(found))
    if not items:
        yield from _run(node.otherwise, dot, scope)
    names = node.pipeline.variables
    for key, value in items:
        inner = dict(zip(names, (key, value) if len(names) > 1 else (value,), strict=False))
        yield from _run(node.body, value, {**scope, **inner})


def _evaluate(pipeline: Pipeline, dot: Any, scope: Mapping[str, Any]) -> Any:
    passed: tuple[Any, ...] = ()
    for first, *rest in pipeline.commands:
        if isinstance(first, Function):
            arguments = [_value(operand, dot, scope) for operand in rest]
            passed = (_call(first, [*arguments, *passed]),)
        elif rest or passed:
            raise TemplateError("only functions take arguments", getattr(first, "at", None))
        else:
            passed = (_value(first, dot, scope),)
    return passed[0]


def _call(function: Function, arguments: list[Any]) -> Any:
    try:
        return FUNCTIONS[function.name](*arguments)
    except TemplateError as error:
        raise TemplateError(f"{function.name}: {error}", function.at) from None
    except TypeError:
        raise TemplateError(f"{function.name}: wrong number of arguments", function.at) from None


def _value(operand: Operand, dot: Any, scope: Mapping[str, Any]) -> Any:
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
            value = scope[str(operand.base)]
    for name in operand.fields:
        value = _field(value, name, operand.at)
    return value


def _field(value: Any, name: str, at: int) -> Any:
    match value:
        case Struct():
            if name in value.fields:
                return value.fields[name]
            raise TemplateError(
                f"there is no field {name}; there are {', '.join(value.fields)}", at
            )
        case dict():
            return value.get(name, _MISSING)
        case _:
            raise TemplateError(
                f'{text_of(value)} has no field {name} (keys with dots: index .Labels "a.b")', at
            )
