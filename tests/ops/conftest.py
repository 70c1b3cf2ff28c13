"""Fixtures of the tests of operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import wherry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[wherry.Store]:
    """Empty stores, one after the other."""

    def make() -> Iterator[wherry.Store]:
        number = 0
        while True:
            number += 1
            yield wherry.Store(tmp_path / f"store{number}")

    return make()
