"""Reading ahead in a thread: order, failures and an early end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from wherry.content.read_ahead import read_ahead
from wherry.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_pieces_are_joined_in_order() -> None:
    pieces = [bytes([number]) * 300_000 for number in range(20)]
    chunks = list(read_ahead(iter(pieces)))
    assert b"".join(chunks) == b"".join(pieces)
    assert len(chunks) == 5
    assert list(read_ahead(iter([]))) == []


def test_a_failure_comes_after_the_chunks_before_it() -> None:
    def fail() -> Iterator[bytes]:
        yield b"x" * 2**20
        raise NotFound("gone")

    chunks = read_ahead(fail())
    assert next(chunks) == b"x" * 2**20
    with pytest.raises(NotFound, match="gone"):
        next(chunks)


def test_a_consumer_that_stops_ends_the_thread() -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield bytes(2**20)

    before = threading.active_count()
    chunks = read_ahead(endless())
    next(chunks)
    chunks.close()
    assert threading.active_count() == before
    assert read <= 6
