"""The option ``--legacy``: which commands have it, and what they print."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from wherry.cli.main import cli
from wherry.testing import FakeV1Registry, build_v1_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Wherry

IMAGE = build_v1_image([tar_layer({"a": b"1"})])
WARNING = "the registry is a legacy one: version 1 of the protocol"


@pytest.fixture
def name() -> Iterator[str]:
    """A repository of a registry that speaks only version 1."""
    with FakeV1Registry() as registry:
        registry.add_image("acme/app", IMAGE, "t")
        yield f"{registry.host}/acme/app"


def test_the_commands_that_have_it() -> None:
    context = click.Context(cli)
    found = set()
    for command in cli.list_commands(context):
        loaded = cli.get_command(context, command)
        assert loaded is not None
        if any("--legacy" in param.opts for param in loaded.params):
            found.add(command)
    assert found == {"copy", "history", "inspect", "pull", "push", "tags"}


def test_the_error_without_it_names_it(wherry: Wherry, name: str) -> None:
    done = wherry("tags", name)
    assert (done.returncode, done.stdout) == (3, "")
    host = name.partition("/")[0]
    assert f"\n  if {host} is a legacy registry (protocol version 1): --legacy\n" in done.stderr


@pytest.mark.parametrize("way", ["option", "variable"])
def test_with_it_the_output_has_one_warning(wherry: Wherry, name: str, way: str) -> None:
    if way == "option":
        done = wherry("tags", "--legacy", name)
    else:
        done = wherry("tags", name, env={"WHERRY_LEGACY": "1"})
    assert (done.returncode, done.stdout) == (0, "t\n")
    assert done.stderr.count(WARNING) == 1
