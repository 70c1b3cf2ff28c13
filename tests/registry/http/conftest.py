"""A registry behind TLS, and its authority."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tls_pulls import IMAGE
from wherry.testing import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def secure(certificates: tuple[Path, Path, Path]) -> Iterator[FakeRegistry]:
    with FakeRegistry(tls=certificates[1:]) as registry:
        registry.add_image("app", IMAGE, "t")
        yield registry


@pytest.fixture
def trusted(
    certificates: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
