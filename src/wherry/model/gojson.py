r"""JSON exactly as Go's ``encoding/json`` writes it, because image ids are digests of it.

Two ways lead through Go: values that are kept raw are compacted, and values that were
decoded are encoded again. Both escape ``<``, ``>``, ``&``, U+2028 and U+2029; only the
second one changes numbers and the spelling of strings. Behaviour as of the Go versions that
engines before 25 were built with (``\b`` and ``\f`` are written as ``\u0008``, ``\u000c``).
"""

from __future__ import annotations

import json
import re
from typing import Any

from wherry.errors import InvalidDocument
from wherry.model.strict_json import OutOfRange

_HTML_CHARACTERS = "<>&\u2028\u2029"
_HTML_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in _HTML_CHARACTERS}
_ESCAPES = (
    {c: f"\\u{c:04x}" for c in range(0x20)}
    | _HTML_ESCAPES
    | {ord('"'): '\\"', ord("\\"): "\\\\"}
    | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
)
_ESCAPED = re.compile('["\\\\\x00-\x1f<>&\u2028\u2029]')
# Possessive: without a way back, a string of 4 MiB takes no memory of its own.
_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[ \t\r\n]++', re.DOTALL)
_HTML = re.compile(f"[{_HTML_CHARACTERS}]")
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class RawJson(str):
    """JSON text that stands for itself wherever a value may stand."""

    __slots__ = ()


def encode(value: Any) -> str:
    """Write a value as ``json.Marshal`` does; keys of a dict stay in their order.

    A dict stands for a struct or for a map whose keys the caller has sorted; a `RawJson` is
    written as it is.
    """
    match value:
        case RawJson():
            return str(value)
        case str():
            return quote(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case OutOfRange():
            return value.text
        case dict():
            return "{" + ",".join(f"{quote(k)}:{encode(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(encode(item) for item in value) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a document")


def indented(value: Any, indent: str = "    ", at: str = "\n") -> str:
    """Write a value as ``json.MarshalIndent`` does, each level further in by ``indent``."""
    inner = at + indent
    match value:
        case dict() if value:
            items = (f"{quote(k)}: {indented(v, indent, inner)}" for k, v in value.items())
            return "{" + inner + f",{inner}".join(items) + at + "}"
        case list() | tuple() if value:
            items = (indented(item, indent, inner) for item in value)
            return "[" + inner + f",{inner}".join(items) + at + "]"
        case _:
            return encode(value)


def quote(text: str) -> str:
    """Write a string."""
    return f'"{text.translate(_ESCAPES) if _ESCAPED.search(text) else text}"'


def sorted_map(value: dict[str, Any]) -> dict[str, Any]:
    """Put a map's keys into the order in which Go writes them: by their UTF-8 bytes."""
    return dict(sorted(value.items(), key=lambda item: item[0].encode("utf-8")))


def compact(text: str) -> RawJson:
    """Write a raw value as Go does: without space, the characters above escaped."""

    def token(match: re.Match[str]) -> str:
        found = match.group()
        if found[0] != '"':
            return ""
        return found.translate(_HTML_ESCAPES) if _HTML.search(found) else found

    return RawJson(_TOKENS.sub(token, text))


def raw_fields(raw: bytes) -> dict[str, RawJson]:
    """Split an object that is known to be valid into its values, each compacted."""
    text = raw.decode("utf-8")
    fields: dict[str, RawJson] = {}
    at = _skip(text, 0)
    if not text.startswith("{", at):
        raise InvalidDocument("expected an object")
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)  # over the colon
        _, end = _DECODER.raw_decode(text, start)
        fields[key] = compact(text[start:end])
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return fields


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
