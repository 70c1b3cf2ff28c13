"""The pytest plugin: the fixture `wherry_registry`, a registry in memory for one test.

Every run of pytest in an environment with wherry loads this module, so it imports the registry
only for a test that uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.testing.registry import FakeRegistry

__all__ = ["wherry_registry"]

_MARKER = "wherry_registry(**options): options of wherry.testing.FakeRegistry for the fixture"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def wherry_registry(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    """A container registry in memory, on a free port of 127.0.0.1; no Docker needed.

    ``wherry_registry.add("acme/app:1", files={"etc/motd": b"hello"})`` adds an image, and
    ``wherry_registry.host`` is the address for the tool under test.
    """
    from wherry.testing.registry import FakeRegistry

    marker = request.node.get_closest_marker("wherry_registry")
    arguments, options = (marker.args, marker.kwargs) if marker else ((), {})
    with FakeRegistry(*arguments, **options) as registry:
        yield registry
