"""Words of a Dockerfile: quotes, escapes, variables and JSON lists."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTES = ("'", '"')
_ESCAPED = '"$\\'  # characters that a backslash escapes in double quotes


def string_list(text: str) -> list[str] | None:
    """Return a JSON list of strings; None if the text is not a JSON list.

    Raises:
        ValueError: The list has other values, which Docker refuses.
    """
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in found):
        raise ValueError("a JSON list may hold nothing but strings")
    if any(not item.isascii() and re.search("[\ud800-\udfff]", item) for item in found):
        raise ValueError("a lone surrogate is not text")
    return list(found)


def pairs(text: str) -> list[tuple[str, str]]:
    """Split ``NAME=VALUE …``, or the old form ``NAME VALUE``; quotes are kept.

    Raises:
        ValueError: A value is missing.
    """
    words = list(_words(text))
    if "=" not in words[0]:
        name, *rest = text.split(None, 1)
        if not rest:
            raise ValueError(f"{name!r} has no value")
        return [(name, rest[0])]
    for word in words:
        if "=" not in word:
            raise ValueError(f"{word!r} is not of the form NAME=VALUE")
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def _words(text: str) -> Iterator[str]:
    """Split at white space outside of quotes and escapes, which are kept."""
    word, quote, at = "", "", 0
    while at < len(text):
        char = text[at]
        if char.isspace() and not quote:
            if word:
                yield word
            word = ""
        elif char == "\\" and quote != "'":
            word += text[at : at + 2]
            at += 1
        else:
            if char == quote:
                quote = ""
            elif not quote and char in _QUOTES:
                quote = char
            word += char
        at += 1
    if word:
        yield word


def expand(text: str, env: Mapping[str, str]) -> str:
    """Remove quotes and escapes, and replace ``$NAME`` and ``${NAME:-WORD}``.

    An unset variable is empty.

    Raises:
        ValueError: The syntax is wrong, or ``${NAME:?WORD}`` has no value.
    """
    return _Expansion(text, env).run()


class _Expansion:
    def __init__(self, text: str, env: Mapping[str, str]) -> None:
        self._text = text
        self._env = env
        self._at = 0

    def run(self, stop: str = "") -> str:
        """Return the text up to ``stop`` or the end, expanded."""
        found = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == stop:
                self._at += 1
                return found
            found += self._step(char)
        if stop:
            raise ValueError(f"{stop!r} is missing at the end")
        return found

    def _step(self, char: str) -> str:
        self._at += 1
        if char == "'":
            end = self._text.find("'", self._at)
            if end < 0:
                raise ValueError("a single quote has no end")
            found, self._at = self._text[self._at : end], end + 1
            return found
        if char == '"':
            return self._double()
        if char == "\\":
            self._at += 1
            return self._text[self._at - 1 : self._at]
        return self._variable() if char == "$" else char

    def _double(self) -> str:
        found = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == '"':
                return found
            if char == "\\" and self._text[self._at : self._at + 1] in tuple(_ESCAPED):
                found += self._text[self._at]
                self._at += 1
            else:
                found += self._variable() if char == "$" else char
        raise ValueError("a double quote has no end")

    def _variable(self) -> str:
        """Parse the variable after a dollar sign."""
        if not self._text.startswith("{", self._at):
            name = _NAME.match(self._text, self._at)
            if name is None:
                return "$"
            self._at = name.end()
            return self._env.get(name.group(), "")
        name = _NAME.match(self._text, self._at + 1)
        if name is None:
            raise ValueError("'${' without a name of a variable")
        self._at = name.end()
        value = self._env.get(name.group())
        return self._modified(value)

    def _modified(self, value: str | None) -> str:
        """Parse the rest of ``${NAME…}``: the brace, or an operator and a word."""
        if self._text.startswith("}", self._at):
            self._at += 1
            return value or ""
        operator = re.compile(r":?[-+?]").match(self._text, self._at)
        if operator is None:
            raise ValueError("'${' with an operator other than - + ?")
        self._at = operator.end()
        word = self.run("}")
        is_set = bool(value) if operator.group()[0] == ":" else value is not None
        if operator.group().endswith("+"):
            return word if is_set else ""
        if operator.group().endswith("?") and not is_set:
            raise ValueError(word or "a variable is not set")
        return (value or "") if is_set else word
