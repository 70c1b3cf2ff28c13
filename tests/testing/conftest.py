"""A fake registry with an image and a blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from served_image import DATA, IMAGE
from wherry.testing import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.add_image("a/b", IMAGE, "one", "two")
        yield running


@pytest.fixture
def blob(registry: FakeRegistry) -> str:
    return "/v2/a/b/blobs/" + registry.add_blob(DATA)
