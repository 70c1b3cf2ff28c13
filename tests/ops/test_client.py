"""What a client and a store take from programs, and what they show of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dray
from dray.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = build_image([tar_layer({"a": b"1"})])


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("team/app", IMAGE, "t")
    return f"{fake.host}/team/app:t"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_store_may_be_given_by_its_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[str], str | Path]
):
    monkeypatch.chdir(tmp_path)
    with dray.Client(store=kind("one")) as client:
        image = client.pull(name)
        assert client.store.path == image.store.path == tmp_path / "one"
        other = client.pull(name, store=kind("two"))
        assert other.store.path == tmp_path / "two"
        client.save(name, "saved", store=kind("two"))
        assert client.load("saved", store=kind("three"))[0].store.path == tmp_path / "three"
        assert client.import_("saved", "made:1", parent=name, store=kind("three")).layers
        assert client.config(f"store:{name}", store=kind("two")).id == image.id
        blob = client.blob(f"store:{name}", image.id, store=kind("two"))
        assert blob.read() == image.config.raw
        blob.close()
        assert client.pull_all_tags(name.removesuffix(":t"), store=kind("four"))
        assert client.repair([], store=kind("one")).left == []
    assert dray.pull(name, store=kind("five")).store.path == tmp_path / "five"
    assert other.config.id == image.id  # after its client was closed


def test_what_is_no_store_is_said_to_be_none(name: str):
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"store is a dray.Store or a path, not int"):
        dray.Client(store=wrong)
    with pytest.raises(TypeError, match=r"store is a dray.Store or a path, not int"):
        dray.pull(name, store=wrong)
