"""What a store and its images show to a program."""

from __future__ import annotations

import datetime
import io
import json
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry.model import gotime
from wherry.testing import FakeRegistry, build_image, build_index, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("environment")
ONE = build_image([tar_layer({"a": b"1"})])
TWO = build_image([tar_layer({"b": b"2"})], architecture="arm64")
AMD64, ARM64 = [{"os": "linux", "architecture": each} for each in ("amd64", "arm64")]
INDEX = build_index([(ONE, AMD64), (TWO, ARM64)])


def test_a_store_shows_no_more_than_a_program_needs() -> None:
    assert [name for name in dir(wherry.Store) if not name.startswith("_")] == [
        *("artifacts", "check", "close", "gc", "get", "images", "path", "rebuild"),
        *("remove", "tag", "untag", "usage"),
    ]


def test_a_store_can_be_used_after_its_with_statement(tmp_path: Path) -> None:
    with wherry.Store(tmp_path / "store") as store, wherry.Client(store=store) as client:
        image = client.import_(io.BytesIO(tar_layer({"a": b"x"})), "mine:1")
    assert store.get("mine:1") == image


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29T12:00:00Z", datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)),
        (
            "2024-02-29T12:00:00.123456789+02:00",
            datetime.datetime(2024, 2, 29, 10, 0, 0, 123456, tzinfo=datetime.UTC),
        ),
        ("0001-01-01T00:00:00Z", datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)),
        ("0000-01-01T00:00:00Z", None),  # a year of Go, not of Python
        ("2024-02-29T12:00:00+25:00", None),  # an offset of Go, not of Python
        (None, None),
    ],
)
def test_the_time_of_an_image_is_aware_or_none(
    tmp_path: Path, text: str | None, expected: datetime.datetime | None
) -> None:
    layer = tar_layer({"a": b"x"})
    config = {
        "os": "linux",
        "architecture": "amd64",
        "created": text,
        "rootfs": {"type": "layers", "diff_ids": [str(wherry.Digest.of(layer))]},
    }
    if text is None:
        del config["created"]
    with wherry.Client(store=tmp_path / "store") as client:
        image = client.import_(io.BytesIO(layer), "mine:1", config=json.dumps(config).encode())
    assert image.created == expected
    assert image.config.created == (text or "")
    if image.created is not None:
        assert image.created.tzinfo is not None


@pytest.mark.parametrize("text", ["yesterday", "2024-02-30T12:00:00Z", "2024-02-29T12:00:00", ""])
def test_an_invalid_time_is_none(text: str) -> None:
    assert gotime.parse(text) is None


def test_an_image_shows_platforms_and_one_digest(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add_image("app", INDEX, "t")
    arm64 = wherry.Platform("linux", "arm64")
    with wherry.Client(store=tmp_path / "store") as client:
        image = client.pull(f"{fake.host}/app:t", all_platforms=True, platform=arm64)
    assert set(image.platforms) == {wherry.Platform("linux", "amd64"), arm64}
    assert image.platform == image.platforms[0]
    assert str(image.digest) == INDEX.digest
    assert not hasattr(image, "root")


def test_calls_take_values_as_well_as_text(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add_image("app", INDEX, "t")
    name = wherry.Reference.parse(f"{fake.host}/app:t")
    repository = wherry.Reference.parse(f"{fake.host}/app")
    address, arm64 = wherry.Address.of(name), wherry.Platform("linux", "arm64")
    with wherry.Client(store=tmp_path / "store") as client:
        store = client.store
        image = client.pull(name, platform=arm64)
        assert image.platform == arm64
        assert client.pull_all_tags(repository, platform=arm64) == [image]
        assert client.tags(repository) == ["t"]
        assert client.inspect(address, platform=arm64).digest == image.digest
        assert client.digest(address) == image.digest
        assert store.get(name) == store.get(wherry.Address.parse(f"store:{name}")) == image
        assert store.tag(name, wherry.Reference.parse("other")).names[-1].endswith("other:latest")
        assert len(client.save([wherry.Address.parse("store:other"), image], tmp_path / "a")) == 1
        assert store.images(before=name) == []
        store.untag(wherry.Reference.parse("other"))
        assert store.remove(name).names[0] == name


def test_an_address_of_anywhere_means_the_store_first(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add_image("app", ONE, "t")
    address = wherry.Address.parse(f"{fake.host}/app:t", wherry.types.Where.ANY)
    layer = wherry.Digest(ONE.layers[0].digest)
    with wherry.Client(store=tmp_path / "store") as client:
        for _ in range(2):
            with client.blob(address, layer) as blob:
                assert layer.matches(blob.read())
            assert str(client.inspect(address).digest) == ONE.digest
            assert str(client.pull(address.given or "").digest) == ONE.digest
            sent = len(fake.requests)
        with client.blob(address, layer) as blob:
            assert layer.matches(blob.read())
    assert len(fake.requests) == sent


def test_a_value_that_is_not_a_repository_is_refused(fake: FakeRegistry) -> None:
    with wherry.Client() as client:
        for name in (f"{fake.host}/app:t", wherry.Reference.parse(f"{fake.host}/app:t")):
            with pytest.raises(wherry.InvalidReference, match="neither tag nor digest"):
                client.tags(name)
        with pytest.raises(TypeError, match=r"^name must be a str or a wherry\.Reference, not"):
            client.tags(wherry.Address.parse("alpine"))  # type: ignore[arg-type]
    assert not fake.requests
