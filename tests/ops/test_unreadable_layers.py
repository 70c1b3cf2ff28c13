"""Images with encrypted layers, or layers that are not tars, fail before a download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wherry.errors import Unsupported
from wherry.testing import (
    FakeRegistry,
    build_image,
    build_index,
    layout_files,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client, Store

TYPE = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
TARS = [tar_layer({"a": b"1"}), tar_layer({"b": b"2"})]
PLAIN = build_image(TARS)
ENCRYPTED = build_image(TARS, layer_media_types=[PLAIN.layers[0].media_type, TYPE])
SAID = f"layer {ENCRYPTED.layers[1].digest} is encrypted ({TYPE})"


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", ENCRYPTED, "t")
    return f"{fake.host}/app:t"


def blobs(fake: FakeRegistry) -> list[str]:
    return [request.path for request in fake.requests if "/blobs/" in request.path]


@pytest.mark.parametrize("options", [(), ("--platform=linux/amd64",), ("--all-platforms",)])
def test_an_error_says_that_a_layer_is_encrypted(
    fake: FakeRegistry, wherry: Wherry, name: str, options: tuple[str, ...]
) -> None:
    done = wherry("pull", "-q", *options, name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == f"wherry: {name}: {SAID}"
    assert "--decryption-key" in done.stderr.splitlines()[1]
    assert blobs(fake) == []


def test_one_image_of_an_index_keeps_the_others_from_being_downloaded(
    fake: FakeRegistry, client: Client, store: Store
) -> None:
    arm64 = build_image(TARS, architecture="arm64", layer_media_types=[TYPE, TYPE])
    entries = [
        (PLAIN, {"os": "linux", "architecture": "amd64"}),
        (arm64, {"os": "linux", "architecture": "arm64"}),
    ]
    fake.add_image("app", build_index(entries), "t")
    options: dict[str, Any]
    for options in ({"all_platforms": True}, {"platform": "linux/amd64,linux/arm64"}):
        with pytest.raises(Unsupported, match="is encrypted"):
            client.pull(f"{fake.host}/app:t", **options)
    assert (blobs(fake), store.images()) == ([], [])
    assert str(client.pull(f"{fake.host}/app:t", platform="linux/amd64").id) == PLAIN.id


def test_documents_of_an_encrypted_image_can_be_read(client: Client, name: str) -> None:
    assert client.inspect(name).layers[1].media_type == TYPE
    findings = [str(finding) for finding in client.validate(name).findings if finding.error]
    assert any("the layer is encrypted" in finding for finding in findings)


def test_images_that_cannot_be_loaded_or_saved(
    client: Client, store: Store, tmp_path: Path, name: str
) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"app:t": ENCRYPTED}))
    with pytest.raises(Unsupported, match="is encrypted"):
        client.load(layout)
    with pytest.raises(Unsupported, match="is encrypted"):
        client.save(f"docker://{name}", tmp_path / "image.tar", format="oci-archive")
    assert store.images() == []
    assert not (tmp_path / "image.tar").exists()


def test_a_layer_of_a_type_that_says_nothing_is_taken_by_its_content(
    fake: FakeRegistry, client: Client
) -> None:
    image = build_image(TARS[:1], layer_media_types=["application/vnd.example.data"])
    fake.add_image("app", image, "t")
    assert str(client.pull(f"{fake.host}/app:t").id) == image.id
