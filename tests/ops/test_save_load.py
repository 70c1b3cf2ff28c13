"""Save and load: images, indexes and names come back; equal images give equal bytes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from saved_images import AMD64, ARM64, FORMATS, IMAGE, INDEX, OTHER, TARS, contents, facts
from wherry.errors import PlatformMismatch
from wherry.testing import (
    FakeRegistry,
    build_image,
    build_index,
    build_schema1,
    compress,
    docker_files,
    flat_files,
    layout_files,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import wherry
    from conftest import Wherry
    from wherry import Client, Store
    from wherry.ops.save_options import Format
    from wherry.testing import BuiltImage, BuiltIndex


@pytest.fixture
def name(fake: FakeRegistry, client: Client) -> str:
    """An image in the store."""
    fake.add_image("app", IMAGE, "v1")
    client.pull(f"{fake.host}/app:v1")
    return f"{fake.host}/app:v1"


# Round trips


@pytest.mark.parametrize(
    ("form", "piped"),
    [*((form, False) for form in FORMATS), ("docker", True), ("oci-archive", True)],
)
def test_saved_images_can_be_loaded(
    client: Client, name: str, tmp_path: Path, form: Format, stores: Iterator[Store], *, piped: bool
) -> None:
    place = tmp_path / "saved"
    client.save(name, place, format=form)
    source = io.BytesIO(place.read_bytes()) if piped else place
    (loaded,) = client.load(source, store=next(stores))
    before = client.store.get(name)
    assert facts(loaded) == facts(before)
    if form != "docker":
        assert loaded.digest == before.digest
    assert loaded.names == (() if form == "dir" else (name,))
    report = client.validate(f"store:{loaded.id}", store=loaded.store)
    assert report.findings == []


def test_all_the_way_round(
    client: Client, name: str, tmp_path: Path, stores: Iterator[Store]
) -> None:
    """Registry, store, docker archive, store, OCI layout, store."""
    first = client.store.get(name)
    client.save(name, tmp_path / "archive")
    second = client.load(tmp_path / "archive", store=(other := next(stores)))[0]
    client.save(name, tmp_path / "layout", format="oci", store=other)
    third = client.load(tmp_path / "layout", store=next(stores))[0]
    assert facts(first) == facts(second) == facts(third)
    assert second.digest == third.digest


def test_an_image_that_is_there_is_named_and_keeps_its_manifest(
    client: Client, name: str, tmp_path: Path
) -> None:
    client.save(name, tmp_path / "archive")
    (loaded,) = client.load(tmp_path / "archive")
    assert loaded.digest == client.store.get(name).digest
    assert str(loaded.digest) == IMAGE.digest


@pytest.mark.parametrize("form", ["docker", "oci-archive"])
def test_several_images_in_one_archive(
    fake: FakeRegistry,
    client: Client,
    name: str,
    tmp_path: Path,
    form: Format,
    stores: Iterator[Store],
) -> None:
    fake.add_image("other", OTHER, "v1")
    fake.add_image("other", OTHER, "v2")
    names = [name, *(f"{fake.host}/other:{tag}" for tag in ("v1", "v2"))]
    for each in names[1:]:
        client.pull(each)
    client.save(names, tmp_path / "archive", format=form)
    store = next(stores)
    loaded = client.load(tmp_path / "archive", store=store)
    assert [str(image.id) for image in loaded] == [IMAGE.id, OTHER.id]
    assert loaded[1].names == tuple(names[1:])
    files = contents(tmp_path / "archive")
    if form == "docker":
        items = json.loads(files["manifest.json"])
        assert [item["RepoTags"] for item in items] == [names[:1], names[1:]]
        assert set(json.loads(files["repositories"])) == {
            f"{fake.host}/{n}" for n in ("app", "other")
        }
        # TARS[0] and TARS[1] have the same version 1 ids in both, TARS[0] again is a link.
        assert sum(path.endswith("/layer.tar") for path in files) == 3


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_image_gives_the_same_bytes(
    client: Client, name: str, tmp_path: Path, form: Format
) -> None:
    for number in range(2):
        client.save(name, tmp_path / str(number), format=form)
    assert contents(tmp_path / "0") == contents(tmp_path / "1")
    if (tmp_path / "0").is_file():
        assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


@pytest.mark.parametrize("form", ["docker", "oci-archive"])
def test_a_pipe_gets_the_same_bytes_as_a_file(
    client: Client, name: str, tmp_path: Path, form: Format
) -> None:
    client.save(name, tmp_path / "file", format=form)
    client.save(name, memory := io.BytesIO(), format=form)
    assert memory.getvalue() == (tmp_path / "file").read_bytes()
    reading, writing = os.pipe()
    got: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as file:
            got.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(writing, "wb") as file:
        client.save(name, file, format=form)
    reader.join(30)
    assert got == [(tmp_path / "file").read_bytes()]


def test_more_layers_than_are_made_ready_ahead(
    fake: FakeRegistry, client: Client, tmp_path: Path, stores: Iterator[Store]
) -> None:
    """Each layer is larger than the buffer for the layers behind it."""
    layers = [tar_layer({"f": bytes([number]) * 30_000_000}) for number in range(4)]
    fake.add_image("big", build_image(layers), "v1")
    client.pull(f"{fake.host}/big:v1")
    file = tmp_path / "archive"
    done = subprocess.run(
        [sys.executable, "-m", "wherry", "save", "-q", f"{fake.host}/big:v1"],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    file.write_bytes(done.stdout)
    (loaded,) = client.load(file, store=next(stores))
    assert len(loaded.layers) == 4


# Indexes


def test_a_whole_index_is_kept_a_part_of_one_is_saved_as_its_image(
    fake: FakeRegistry, client: Client, tmp_path: Path, stores: Iterator[Store]
) -> None:
    fake.add_image("multi", INDEX, "v1")
    name = f"{fake.host}/multi:v1"
    client.pull(name, platform="linux/amd64")
    events: list[wherry.Event] = []
    client.save(name, tmp_path / "part", format="oci", on_event=events.append)
    assert any("other images are not there" in event.message for event in events)
    assert str(client.load(tmp_path / "part", store=next(stores))[0].digest) == IMAGE.digest
    client.pull(name, all_platforms=True)
    client.save(name, tmp_path / "whole", format="oci")
    (loaded,) = client.load(tmp_path / "whole", store=(store := next(stores)))
    assert str(loaded.digest) == INDEX.digest
    assert tuple(map(str, loaded.platforms)) == ("linux/amd64", "linux/arm64")
    client.save(name, tmp_path / "arm", format="oci", platform="linux/arm64")
    (loaded,) = client.load(tmp_path / "arm", store=next(stores))
    assert tuple(map(str, loaded.platforms)) == ("linux/arm64",)
    with pytest.raises(PlatformMismatch):
        client.save(name, tmp_path / "none", platform="linux/s390x", store=store)
    (loaded,) = client.load(tmp_path / "whole", store=next(stores), platform="linux/arm64")
    assert tuple(map(str, loaded.platforms)) == ("linux/arm64",)


def test_an_index_within_an_index(
    fake: FakeRegistry, client: Client, tmp_path: Path, stores: Iterator[Store]
) -> None:
    nested = build_index([(INDEX, None), (build_image(TARS[:1], architecture="s390x"), None)])
    fake.add_image("nested", nested, "v1")
    client.pull(f"{fake.host}/nested:v1", all_platforms=True)
    client.save(f"{fake.host}/nested:v1", tmp_path / "saved", format="oci")
    assert client.validate(f"oci:{tmp_path / 'saved'}").documents == 5
    (loaded,) = client.load(tmp_path / "saved", store=next(stores))
    assert str(loaded.digest) == nested.digest


def test_an_index_for_other_machines_is_saved_and_loaded(
    client: Client, tmp_path: Path, stores: Iterator[Store]
) -> None:
    image = build_image(TARS, os="plan9", architecture="mips")
    other = build_index([(image, {"os": "plan9", "architecture": "mips"})])
    write_files(tmp_path / "layout", layout_files({"v1": other}))
    client.save(f"oci:{tmp_path / 'layout'}", tmp_path / "saved", format="oci-archive")
    (loaded,) = client.load(tmp_path / "saved", store=next(stores))
    assert (str(loaded.digest), str(loaded.id)) == (other.digest, image.id)
    with pytest.raises(PlatformMismatch):
        client.save(f"oci:{tmp_path / 'layout'}", tmp_path / "docker")


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_for_another_platform_than_the_one_named_is_refused(
    client: Client, name: str, tmp_path: Path, form: Format
) -> None:
    client.save(name, tmp_path / "right", format=form, platform="linux/amd64")
    assert client.load(tmp_path / "right", platform="linux/amd64")
    for address in (name, f"docker://{name}"):
        with pytest.raises(PlatformMismatch, match="is for linux/amd64, not for linux/s390x") as no:
            client.save(address, tmp_path / "wrong", format=form, platform="linux/s390x")
        assert (no.value.where, no.value.available) == ((address,), ("linux/amd64",))
    assert not (tmp_path / "wrong").exists()


def test_schema1_is_saved_as_what_it_was_converted_to(
    fake: FakeRegistry, client: Client, tmp_path: Path, stores: Iterator[Store]
) -> None:
    layers = [compress(tar, "gzip") for tar in TARS]
    built = build_schema1(layers)
    for layer in layers:
        fake.add_blob(layer)
    fake.add_manifest("old", built.manifest.data, built.manifest.media_type, "v1")
    image = client.pull(f"{fake.host}/old:v1")
    for form in FORMATS:
        client.save(f"{fake.host}/old:v1", tmp_path / form, format=form)
        assert client.load(tmp_path / form, store=next(stores))[0].id == image.id


DOCKER_INDEX = build_index(
    [(OTHER, AMD64), (build_image(TARS, style="docker", architecture="arm64"), ARM64)],
    style="docker",
)


@pytest.mark.parametrize("form", ["oci", "oci-archive", "dir"])
@pytest.mark.parametrize("image", [OTHER, DOCKER_INDEX], ids=["manifest", "list"])
def test_docker_documents_come_back_as_they_were(
    fake: FakeRegistry,
    client: Client,
    tmp_path: Path,
    stores: Iterator[Store],
    form: Format,
    image: BuiltImage | BuiltIndex,
) -> None:
    """Layouts hold the documents as they are, and converted for other tools."""
    fake.add_image("app", image, "v1")
    client.pull(f"{fake.host}/app:v1", all_platforms=True)
    client.save(f"{fake.host}/app:v1", tmp_path / "saved", format=form)
    (loaded,) = client.load(tmp_path / "saved", store=next(stores))
    assert str(loaded.digest) == image.digest
    assert str(loaded.id) == OTHER.id
    if form == "oci":
        (entry,) = json.loads((tmp_path / "saved" / "index.json").read_bytes())["manifests"]
        assert entry["mediaType"].startswith("application/vnd.oci.")
        assert entry["annotations"]["wherry.original"] == image.digest
        found = client.validate(f"oci:{tmp_path / 'saved'}")
        assert (str(found.root), found.findings) == (entry["digest"], [])


def test_an_original_that_is_another_image_is_not_believed(
    fake: FakeRegistry, client: Client, tmp_path: Path, stores: Iterator[Store]
) -> None:
    for name, image in (("one", OTHER), ("two", build_image(TARS, style="docker"))):
        fake.add_image(name, image, "v1")
        client.pull(f"{fake.host}/{name}:v1")
    names = [f"{fake.host}/{name}:v1" for name in ("one", "two")]
    client.save(names, tmp_path / "saved", format="oci")
    file = tmp_path / "saved" / "index.json"
    index = json.loads(file.read_bytes())
    one, two = index["manifests"]
    one["annotations"]["wherry.original"] = two["annotations"]["wherry.original"]
    two["annotations"]["wherry.original"] = "nonsense"
    file.write_bytes(json.dumps(index).encode())
    loaded = client.load(tmp_path / "saved", store=next(stores))
    assert [str(image.digest) for image in loaded] == [one["digest"], two["digest"]]
    assert str(loaded[0].id) == OTHER.id


# Other sources and archives


@pytest.mark.parametrize(
    "address", ["oci:{}/layout", "dir:{}/flat", "docker-archive:{}/docker.tar"]
)
def test_every_address_can_be_saved(
    client: Client, tmp_path: Path, address: str, stores: Iterator[Store]
) -> None:
    write_files(tmp_path / "layout", layout_files({"v1": IMAGE}))
    write_files(tmp_path / "flat", flat_files(IMAGE))
    (tmp_path / "docker.tar").write_bytes(tar_layer(docker_files(IMAGE, TARS)))
    client.save(address.format(tmp_path), tmp_path / "saved")
    (loaded,) = client.load(tmp_path / "saved", store=next(stores))
    assert str(loaded.id) == IMAGE.id
    assert not client.store.path.exists()


@pytest.mark.parametrize("how", ["none", "gzip", "zstd", "bzip2", "xz"])
def test_archives_are_loaded_however_they_are_compressed(
    client: Client, tmp_path: Path, how: str, stores: Iterator[Store]
) -> None:
    files = docker_files(IMAGE, [compress(tar, how) for tar in TARS], ["app:1"])
    data = compress(tar_layer(files), how)
    (tmp_path / "archive").write_bytes(data)
    for source in (tmp_path / "archive", io.BytesIO(data)):
        (loaded,) = client.load(source, store=next(stores))
        assert (str(loaded.id), loaded.names) == (IMAGE.id, ("docker.io/library/app:1",))
        assert client.validate(f"store:{loaded.id}", store=loaded.store).findings == []


@pytest.mark.parametrize("piped", [False, True])
def test_an_archive_that_is_a_layout_too_is_read_as_one(
    client: Client, tmp_path: Path, stores: Iterator[Store], *, piped: bool
) -> None:
    """Docker since 25 writes both."""
    files = {**docker_files(IMAGE, TARS, ["x:1"]), **layout_files({"localhost/app:1": IMAGE})}
    data = tar_layer(files)
    (tmp_path / "archive").write_bytes(data)
    source = io.BytesIO(data) if piped else tmp_path / "archive"
    (loaded,) = client.load(source, store=next(stores))
    assert (str(loaded.digest), loaded.names) == (IMAGE.digest, ("localhost/app:1",))


def test_a_tag_alone_is_not_a_name(client: Client, wherry: Wherry, tmp_path: Path) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"v1": IMAGE}))
    flat = write_files(tmp_path / "flat", flat_files(IMAGE))
    told: list[str] = []
    (loaded,) = client.load(layout, on_event=lambda event: told.append(event.message))
    assert loaded.names == ()
    advice = f"to give it one: wherry tag {loaded.id.hex[:12]} NAME"
    called = f"without a name (the archive has only a tag, v1; {advice}:v1)"
    assert told[-1].endswith(called)
    done = wherry("load", "-i", str(layout))
    assert called in done.stderr
    assert done.stdout == f"{loaded.id}\n"
    client.load(flat, on_event=lambda event: told.append(event.message))
    assert told[-1].endswith(f"without a name ({advice})")


def test_an_image_can_be_saved_from_its_registry(
    fake: FakeRegistry, client: Client, tmp_path: Path, stores: Iterator[Store]
) -> None:
    fake.add_image("app", OTHER, "v1")
    client.save(f"docker://{fake.host}/app:v1", tmp_path / "saved")
    assert not client.store.path.exists()
    (loaded,) = client.load(tmp_path / "saved", store=next(stores))
    assert (str(loaded.id), loaded.names) == (OTHER.id, (f"{fake.host}/app:v1",))


def test_a_tag_beside_a_digest_is_not_a_name(
    fake: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    fake.add_image("app", IMAGE, "v1")
    name = f"docker://{fake.host}/app:v1@{IMAGE.digest}"
    (saved,) = client.save(name, tmp_path / "saved.tar")
    assert saved.names == ()
    with tarfile.open(tmp_path / "saved.tar") as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert b'"RepoTags":null' in manifest.read()


def test_an_archive_mends_an_image_without_its_manifest(client: Client, tmp_path: Path) -> None:
    """The image may be collected while it is loaded."""
    path = tmp_path / "archive"
    path.write_bytes(tar_layer(docker_files(OTHER, [*TARS[:2], TARS[0]], ["app:1"])))
    (image,) = client.load(path)
    manifest = client.store.path / "blobs" / str(image.digest).replace(":", "/")
    manifest.unlink()
    (again,) = client.load(path)
    assert again.id == image.id
    assert client.store.check().problems == []


def test_what_was_cut_off_in_the_store_is_put_again(client: Client) -> None:
    data = tar_layer(docker_files(OTHER, [*TARS[:2], TARS[0]], ["app:1"]))
    (image,) = client.load(io.BytesIO(data))
    digest = str(image.layers[1].digest)
    blob = client.store.path / "blobs" / digest.replace(":", "/")
    blob.chmod(0o644)
    os.truncate(blob, 100)
    assert [problem.digest for problem in client.store.check().problems] == [digest]
    client.load(io.BytesIO(data))
    assert client.store.check().problems == []
