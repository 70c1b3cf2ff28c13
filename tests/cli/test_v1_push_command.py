"""The command `wherry push --legacy`: what it prints, and how it goes on after a kill."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import wherry as library
from command_images import IMAGE
from waiting import wait_for
from wherry.testing import FakeV1Registry, Fault, Stall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Wherry

TOP = IMAGE.id.removeprefix("sha256:")


@pytest.fixture
def v1() -> Iterator[FakeV1Registry]:
    with FakeV1Registry(tokens=True, sessions=True) as registry:
        yield registry


def test_the_id_is_printed_for_each_tag(wherry: Wherry, pulled: str, v1: FakeV1Registry) -> None:
    target = f"{v1.host}/app:1"
    done = wherry("push", "--legacy", "--additional-tag", "2", pulled, target)
    assert done.returncode == 0
    assert done.stdout == f"{TOP}\n" * 2
    first, warning, *rest = done.stderr.splitlines()
    assert first.startswith(f"{target}: {len(IMAGE.layers)} layers: {len(IMAGE.layers)} to send (")
    assert warning.startswith(f"Warning: {target}: the registry is a legacy one")
    assert rest[-1] == f"Status: Pushed {target} (image {TOP[:12]})"
    assert v1.tags["library/app"] == {"1": TOP, "2": TOP}


def test_dry_run_and_json(wherry: Wherry, pulled: str, v1: FakeV1Registry) -> None:
    target = f"{v1.host}/app:1"
    count = len(IMAGE.layers)
    planned = wherry("push", "--legacy", "--dry-run", pulled, target)
    assert planned.stdout.splitlines()[0].startswith(f"{count} layers: {count} to send (")
    assert "legacy" in planned.stdout.splitlines()[1]
    assert not v1.lists
    found = json.loads(wherry("push", "--legacy", "--json", pulled, target).stdout)
    assert (found["digest"], found["v1Id"], found["names"]) == (None, TOP, ["1"])


def test_a_killed_push_goes_on(
    wherry: Wherry, client: library.Client, pulled: str, v1: FakeV1Registry
) -> None:
    fault = v1.inject(Fault(Stall(), method="PUT", path="/layer$", skip=1))
    with wherry.start("push", "--legacy", pulled, f"{v1.host}/app:1") as process:
        wait_for(lambda: fault.count > 0, 20)
        process.kill()
    assert not v1.tags
    fault.times = 0
    v1.requests.clear()
    with library.Client(store=client.store, legacy=True) as again:
        again.push(pulled, f"{v1.host}/app:1")
    layers = [each for each in v1.requests if each.path.endswith("/layer")]
    assert len(layers) == len(IMAGE.layers) - 1
    assert v1.is_whole(TOP)
