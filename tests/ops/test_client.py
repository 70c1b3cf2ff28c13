"""The arguments of clients and stores, their lifetime and their representation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from wherry.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("environment")
IMAGE = build_image([tar_layer({"a": b"1"})])


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("team/app", IMAGE, "t")
    return f"{fake.host}/team/app:t"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_store_may_be_given_by_its_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[str], str | Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    with wherry.Client(store=kind("one")) as client:
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
    assert wherry.pull(name, store=kind("five")).store.path == tmp_path / "five"
    assert other.config.id == image.id  # after its client was closed


def test_a_store_argument_must_be_a_store_or_a_path(name: str) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"store must be a wherry.Store or a path, not int"):
        wherry.Client(store=wrong)
    with pytest.raises(TypeError, match=r"store must be a wherry.Store or a path, not int"):
        wherry.pull(name, store=wrong)


def test_stores_and_clients_show_where_they_are_and_no_secret(tmp_path: Path) -> None:
    store = wherry.Store(tmp_path / "one")
    assert repr(store) == f"<Store {tmp_path / 'one'}>"
    with wherry.Client(store=store, credentials=("me", "s3cret")) as client:
        assert "s3cret" not in repr(client)


def test_an_image_is_saved_from_its_own_store(
    client: wherry.Client, name: str, tmp_path: Path
) -> None:
    image = client.pull(name)
    other = client.pull(name, store=tmp_path / "other")
    client.store.remove(name)
    client.store.gc()
    saved = client.save(other, tmp_path / "saved")
    assert [(each.id, each.names) for each in saved] == [(image.id, ())]
    assert client.load(tmp_path / "saved")[0].id == image.id
    client.pull(name)
    assert len(client.save([other, name], tmp_path / "both", format="oci")) == 1


def test_a_name_of_the_store_may_begin_with_store(client: wherry.Client, name: str) -> None:
    image, store = client.pull(name), client.store
    assert store.get(f"store:{name}") == store.get(f"store:{image.id}") == image
    store.tag(f"store:{name}", "store:1.0")
    assert store.get("store:1.0") == store.get("store:store:1.0") == image
    with pytest.raises(wherry.NotFound):
        store.get("store:2.0")
    store.tag(name, "other/app:2")
    assert len(store.remove("store:other/app:2").names) == 1
    store.untag("store:1.0")
    store.untag(f"store:{name}")
    with pytest.raises(wherry.NotFound):
        store.get("store:1.0")


@pytest.mark.parametrize("packed", ["gzip", "none"])
def test_a_damaged_layer_is_named_where_it_is_read(
    fake: FakeRegistry, client: wherry.Client, packed: str
) -> None:
    image = build_image([tar_layer({"a": bytes(9999)})], compression=packed)
    fake.add_image("team/other", image, "t")
    layer = client.pull(f"{fake.host}/team/other:t").layers[0]
    file = client.store.path / "blobs" / "sha256" / layer.digest.hex
    data = bytearray(file.read_bytes())
    data[-40 if packed == "none" else len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    says = f"^layer sha256:{layer.digest.short}…: "
    with pytest.raises(wherry.IntegrityError, match=says), layer.open_tar() as tar:
        tar.getmembers()
    with pytest.raises(wherry.IntegrityError, match=says), layer.open() as content:
        content.read()
