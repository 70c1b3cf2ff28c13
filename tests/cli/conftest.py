"""Fixtures that the tests of the command share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command_images import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    import wherry
    from wherry.testing import FakeRegistry


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("team/app", IMAGE, "t")
    return f"{fake.host}/team/app:t"


@pytest.fixture
def pulled(name: str, client: wherry.Client) -> str:
    """The name of an image in the store."""
    client.pull(name)
    return name


@pytest.fixture
def auth_file(environment: dict[str, str]) -> Path:
    """The default file for credentials, which podman uses too."""
    return Path(environment["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"


@pytest.fixture
def helper(helper_program: Callable[..., Path], environment: dict[str, str]) -> Path:
    """The directory of the credential helper "box"."""
    directory = helper_program("box")
    environment["PATH"] = os.environ["PATH"]
    return directory / "box"
