"""Mutate inputs: bytes, numbers, text and nesting."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

MAX_INPUT = 1 << 20  # bytes
_NUMBER = re.compile(rb"[0-9]+")
_STRING = re.compile(rb'"[^"\\]*"')
_NUMBERS = (
    *(b"0", b"-1", b"1", b"+5", b"5_0", b"1e999", b"1.5", b"0x10", b"NaN", b"Infinity"),
    *("²".encode(), "٣".encode(), b"\xb2", b"\xb3", b" 7 "),
    *(b"9" * 19, b"9" * 5000, b"18446744073709551616", b"-9223372036854775809"),
    *(b"null", b"true", b"[]", b"{}", b'""'),
)
_TOKENS = (
    *(b"\0", b"\r", b"\n", b"\r\n\r\n", b"\x1b[2J", b"\x7f", b"\x9b", b"\xff", b"\xfe\xff", b"%00"),
    *(b"\xed\xa0\x80", b"\\ud800", b"\\udcff", b"\\u0000", "\u202e".encode(), "\u200b".encode()),
    *(b"%s%n", b"%999999999s", b"../", b"/", b"//", b"\\", b'"', b"'", b"{", b"}", b"[", b"]"),
    *(b"{{", b"}}", b"<", b">", b"@", b":", b";", b",", b"=", b"?", b"#", b"&", b"*", b"-", b"."),
    *(b"xn--", "ß".encode(), "\uff0e".encode(), b"[::1]", b"[::1%25x]", b"[", b"]:99999", b":0"),
    *(b"sha256:", b"sha512:", b"sha256:" + b"0" * 64, b"tarsum+sha256:", b"null", b"NaN"),
    *(b"A" * 300, b"A" * 70_000, b"[" * 3000, b'{"a":' * 3000, b"(" * 2000, b"{{if}}" * 500),
    *(b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:60-23:59", b"+10000-01-01T00:00:00Z"),
    *(b"\x1f\x8b\x08\x1c", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh9", b"\x50\x2a\x4d\x18"),
)


def mutated(data: bytes, others: Sequence[bytes], dice: random.Random) -> bytes:
    """Return ``data`` after some mutations; pieces may come from ``others``."""
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        data = dice.choice(_MUTATIONS)(data, others, dice)
    return data[:MAX_INPUT]


def _place(data: bytes, dice: random.Random) -> int:
    return dice.randrange(len(data) + 1)


def _flip(data: bytes, _others: Sequence[bytes], dice: random.Random) -> bytes:
    if not data:
        return data
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def _set(data: bytes, _others: Sequence[bytes], dice: random.Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]


def _insert(data: bytes, _others: Sequence[bytes], dice: random.Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + dice.choice(_TOKENS) + data[at:]


def _replace(data: bytes, _others: Sequence[bytes], dice: random.Random) -> bytes:
    at, size = _place(data, dice), dice.choice((1, 2, 4, 8, 32))
    return data[:at] + dice.choice(_TOKENS) + data[at + size :]


def _delete(data: bytes, _others: Sequence[bytes], dice: random.Random) -> bytes:
    at, size = _place(data, dice), dice.choice((1, 2, 5, 20, 100, 512))
    return data[:at] + data[at + size :]


def _cut(data: bytes, _others: Sequence[bytes], dice: random.Random) -> bytes:
    return data[: _place(data, dice)]


def _repeat(data: bytes, _others: Sequence[bytes], dice: random.Random) -> bytes:
    at, size = _place(data, dice), dice.choice((1, 4, 16, 64, 512))
    return data[:at] + data[at : at + size] * dice.choice((2, 3, 50)) + data[at:]


def _splice(data: bytes, others: Sequence[bytes], dice: random.Random) -> bytes:
    other = dice.choice(others)
    start, size = _place(other, dice), dice.choice((4, 16, 64, 512))
    at = _place(data, dice)
    return data[:at] + other[start : start + size] + data[at:]


def _number(data: bytes, _others: Sequence[bytes], dice: random.Random) -> bytes:
    return _one_of(_NUMBER, data, dice.choice(_NUMBERS), dice)


def _string(data: bytes, _others: Sequence[bytes], dice: random.Random) -> bytes:
    value = dice.choice((*_NUMBERS, *(b'"%b"' % token for token in _TOKENS)))
    return _one_of(_STRING, data, value, dice)


def _one_of(pattern: re.Pattern[bytes], data: bytes, value: bytes, dice: random.Random) -> bytes:
    found = list(pattern.finditer(data))
    if not found:
        return data + value
    match = dice.choice(found)
    return data[: match.start()] + value + data[match.end() :]


_MUTATIONS = (
    *(_flip, _set, _insert, _insert, _replace, _replace, _delete, _cut, _repeat, _splice),
    *(_number, _number, _string, _string),
)
