r"""JSON exactly as Go's ``encoding/json`` writes it.

Image ids are digests of such JSON. Go compacts raw values, and encodes decoded values anew. Both
escape ``<``, ``>``, ``&``, U+2028 and U+2029. Only the second changes numbers and the spelling of
strings. The behaviour is that of the Go versions for engines before 25,
which write ``\b`` and ``\f`` as ``\u0008`` and ``\u000c``.
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
# Possessive quantifiers: without backtracking, a string of 4 MiB takes no further memory.
_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[ \t\r\n]++', re.DOTALL)
_HTML = re.compile(f"[{_HTML_CHARACTERS}]")
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=str)  # `int` refuses numbers of thousands of digits


class RawJson(str):
    """JSON text that is written unchanged in place of a value."""

    __slots__ = ()


def encode(value: Any) -> str:
    """Encode a value as ``json.Marshal`` does; the keys of a dict keep their order.

    A dict is a struct, or a map whose keys the caller has sorted. `RawJson` is written
    unchanged.
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
    """Encode a value as ``json.MarshalIndent`` does."""
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
    """Encode a string."""
    return f'"{text.translate(_ESCAPES) if _ESCAPED.search(text) else text}"'


def sorted_map(value: dict[str, Any]) -> dict[str, Any]:
    """Sort the keys of a map as Go does, by their UTF-8 bytes."""
    return dict(sorted(value.items(), key=lambda item: item[0].encode("utf-8")))


def compact(text: str) -> RawJson:
    """Compact a raw value as Go does: without spaces, with escapes."""

    def token(match: re.Match[str]) -> str:
        found = match.group()
        if found[0] != '"':
            return ""
        return found.translate(_HTML_ESCAPES) if _HTML.search(found) else found

    return RawJson(_TOKENS.sub(token, text))


def raw_fields(raw: bytes) -> dict[str, RawJson]:
    """Return the compacted values of an object that is known to be valid."""
    text = raw.decode("utf-8")
    fields: dict[str, RawJson] = {}
    at = _skip(text, 0)
    if not text.startswith("{", at):
        raise InvalidDocument("expected an object")
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)  # after the colon
        _, end = _DECODER.raw_decode(text, start)
        fields[key] = compact(text[start:end])
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return fields


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
