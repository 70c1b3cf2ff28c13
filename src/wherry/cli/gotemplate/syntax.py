"""Parse the text of a template into nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from wherry.cli.gotemplate.functions import FUNCTIONS, LAZY, TemplateError

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPEN = re.compile(r"\{\{(-(?=\s))?")
_COMMENT = re.compile(r"\s*/\*.*?\*/\s*?(\s-)?\}\}", re.DOTALL)
_CLOSE = re.compile(r"(\s+-)?\}\}")
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<number>-?[0-9]+)|(?P<variable>\$\w*)
    |(?P<field>\.[^\W\d]\w*)|(?P<dot>\.)|(?P<name>[^\W\d]\w*)|(?P<mark>:=|[=|(),])""",
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}
_CONSTANTS = {"true": True, "false": False, "nil": None}
MAX_DEPTH = 50  # of nested blocks and parentheses
_MAX_DIGITS = 19  # of a number, including its sign


class _Lexeme(NamedTuple):
    kind: str
    text: str
    at: int
    spaced: bool  # follows white space: ``.A .B`` are two operands, ``.A.B`` is one


class Chain(NamedTuple):
    """A value and a chain of fields: ``.A.B`` is field B of field A of the dot."""

    base: str | Pipeline  # ``.``, a variable, or a pipeline in parentheses
    fields: tuple[str, ...]
    at: int


class Constant(NamedTuple):
    """A literal value."""

    value: Any


class Function(NamedTuple):
    """The name of a function at the start of a call."""

    name: str
    at: int


Operand = Chain | Constant | Function


class Pipeline(NamedTuple):
    """Commands, each of which gets the value of the previous one as its last argument.

    ``variables`` get the value of the last command. They are declared if ``declares`` is true
    (``:=``), else assigned (``=``).
    """

    variables: tuple[str, ...]
    commands: tuple[tuple[Operand, ...], ...]
    declares: bool = True


class Text(NamedTuple):
    """Text outside of actions, which is printed unchanged."""

    text: str


class Print(NamedTuple):
    """An action that prints its value."""

    pipeline: Pipeline


class Block(NamedTuple):
    """An ``if``, ``with`` or ``range`` block.

    ``otherwise`` are the nodes after ``else``. The keyword ``set`` stands for an assignment.
    """

    keyword: str
    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = Text | Print | Block


def parse(template: str) -> tuple[Node, ...]:
    """Parse a template; raises `TemplateError`, which has the position."""
    return _TemplateParser(template).parse()


class _TemplateParser:
    """A recursive-descent parser; the tokens are those of the current action."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._tokens: list[_Lexeme] = []
        self._next = 0
        self._depth = 0
        self._trimmed = False
        self._variables = {"$"}

    def parse(self) -> tuple[Node, ...]:
        nodes, ending = self._parse_nodes()
        if ending:
            raise TemplateError(f"{ending} without if, with or range", self._tokens[0].at)
        return nodes

    def _parse_nodes(self) -> tuple[tuple[Node, ...], str]:
        """Read up to ``else``, ``end`` or the end of the text, and return which it was."""
        nodes: list[Node] = []
        while True:
            text = self._read_text()
            if text:
                nodes.append(Text(text))
            if self._at >= len(self._text):
                return tuple(nodes), ""
            if not self._read_action():
                continue
            word = self._tokens[0].text
            if word in {"else", "end"}:
                return tuple(nodes), word
            if word in {"if", "with", "range"}:
                self._next = 1
                nodes.append(self._parse_block(word))
            else:
                pipeline = self._parse_whole_pipeline()
                if not pipeline.variables:
                    nodes.append(Print(pipeline))
                else:  # an assignment prints nothing
                    nodes.append(Block("set", pipeline, (), ()))

    def _read_text(self) -> str:
        """Return the text up to the next action, and move to the action."""
        found = _OPEN.search(self._text, self._at)
        end = len(self._text) if found is None else found.start()
        text = self._text[self._at : end]
        if self._trimmed:
            text = text.lstrip()
        self._trimmed = False
        if found is not None and found.group(1):
            text = text.rstrip()
        self._at = len(self._text) if found is None else found.end()
        return text

    def _read_action(self) -> bool:
        """Read the tokens of an action; return False for a comment."""
        comment = _COMMENT.match(self._text, self._at)
        if comment is not None:
            self._at, self._trimmed = comment.end(), bool(comment.group(1))
            return False
        start = self._at - 2
        tokens: list[_Lexeme] = []
        while (close := _CLOSE.match(self._text, self._at)) is None:
            space = _SPACE.match(self._text, self._at)
            at = space.end() if space else self._at
            if _CLOSE.match(self._text, at):
                self._at = at
                continue
            token = _TOKEN.match(self._text, at)
            if token is None:
                if at >= len(self._text):
                    raise TemplateError("the action has no end: }} is missing", start)
                raise TemplateError(f"{self._text[at]!r} is not expected here", at)
            spaced = at > self._at or not tokens
            tokens.append(_Lexeme(str(token.lastgroup), token.group(), at, spaced))
            self._at = token.end()
        self._at, self._trimmed = close.end(), bool(close.group(1))
        if not tokens:
            raise TemplateError("the action is empty", start)
        self._tokens, self._next = tokens, 0
        return True

    def _parse_block(self, keyword: str) -> Block:
        start = self._tokens[0].at
        self._nest(start)
        known = set(self._variables)
        pipeline = self._parse_whole_pipeline(loop=keyword == "range")
        body, ending = self._parse_nodes()
        otherwise: tuple[Node, ...] = ()
        if ending == "else" and len(self._tokens) > 1:
            if self._tokens[1].text != keyword or keyword == "range":
                raise TemplateError("unexpected word after else", self._tokens[1].at)
            self._next = 2
            otherwise, ending = (self._parse_block(keyword),), "end"
        elif ending == "else":
            otherwise, ending = self._parse_nodes()
        if ending != "end":
            raise TemplateError(f"{keyword} has no end", start)
        self._variables = known
        self._depth -= 1
        return Block(keyword, pipeline, body, otherwise)

    def _nest(self, at: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TemplateError(f"nested deeper than {MAX_DEPTH}", at)

    def _parse_whole_pipeline(self, *, loop: bool = False) -> Pipeline:
        variables, declares = self._parse_variables(2 if loop else 1)
        pipeline = self._parse_pipeline(variables)
        if self._next < len(self._tokens):
            self._fail()
        self._variables.update(variables)
        return pipeline._replace(declares=declares)

    def _parse_variables(self, most: int) -> tuple[tuple[str, ...], bool]:
        """Read ``$x :=``, ``$x =`` or two variables; return them and whether they are new."""
        texts = [token.text for token in self._tokens[self._next :]]
        for count in range(1, most + 1):
            width = 2 * count - 1
            names, marks = texts[:width:2], texts[1:width:2]
            assigned = texts[width : width + 1]
            if assigned in ([":="], ["="]) and marks == [","] * (count - 1):
                if not all(name.startswith("$") for name in names):
                    break
                if assigned == ["="]:
                    self._check_defined(names)
                self._next += width + 1
                return tuple(names), assigned == [":="]
        return (), True

    def _check_defined(self, names: Sequence[str]) -> None:
        for place, name in enumerate(names):
            if name not in self._variables:
                at = self._tokens[self._next + 2 * place].at
                raise TemplateError(f"{name} is not defined", at)

    def _parse_pipeline(self, variables: tuple[str, ...] = (), *, inner: bool = False) -> Pipeline:
        commands: list[tuple[Operand, ...]] = []
        operands: list[Operand] = []
        while True:
            token = self._tokens[self._next] if self._next < len(self._tokens) else None
            if token is None or token.text in {"|", ")"}:
                if not operands:
                    self._fail()
                commands.append(tuple(operands))
                operands = []
                if token is None or token.text == ")":
                    if inner and token is None:
                        self._fail()
                    return Pipeline(variables, tuple(commands))
                self._next += 1
            else:
                operands.append(self._parse_operand(token))

    def _parse_operand(self, token: _Lexeme) -> Operand:
        self._next += 1
        match token.kind:
            case "string":
                return Constant(_unquote(token))
            case "number":
                if len(token.text) > _MAX_DIGITS:
                    raise TemplateError("a number is too large", token.at)
                return Constant(int(token.text))
            case "name":
                return _named_operand(token)
            case "variable":
                if token.text not in self._variables:
                    raise TemplateError(f"{token.text} is not defined", token.at)
                return Chain(token.text, self._read_fields(), token.at)
            case "field":
                return Chain(".", (token.text[1:], *self._read_fields()), token.at)
            case "dot":
                return Chain(".", (), token.at)
            case _:
                return self._parse_parenthesis(token)

    def _parse_parenthesis(self, token: _Lexeme) -> Chain:
        if token.text != "(":
            self._next -= 1
            self._fail()
        self._nest(token.at)
        pipeline = self._parse_pipeline(inner=True)
        self._next += 1
        self._depth -= 1
        return Chain(pipeline, self._read_fields(), token.at)

    def _read_fields(self) -> tuple[str, ...]:
        found = []
        for token in self._tokens[self._next :]:
            if token.kind != "field" or token.spaced:
                break
            found.append(token.text[1:])
        self._next += len(found)
        return tuple(found)

    def _fail(self) -> NoReturn:
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            raise TemplateError(f"{token.text!r} is not expected here", token.at)
        raise TemplateError("a value is missing at the end of the action", self._tokens[-1].at)


def _named_operand(token: _Lexeme) -> Operand:
    if token.text in _CONSTANTS:
        return Constant(_CONSTANTS[token.text])
    if token.text in FUNCTIONS or token.text in LAZY:
        return Function(token.text, token.at)
    known = ", ".join(sorted({*FUNCTIONS, *LAZY}))
    raise TemplateError(f"there is no function {token.text!r}; the functions are {known}", token.at)


def _unquote(token: _Lexeme) -> str:
    if token.text.startswith("`"):
        return token.text[1:-1]

    def plain(match: re.Match[str]) -> str:
        if match.group(1) not in _ESCAPES:
            raise TemplateError(f"unknown escape {match.group()}", token.at + 1 + match.start())
        return _ESCAPES[match.group(1)]

    return re.sub(r"\\(.)", plain, token.text[1:-1])
