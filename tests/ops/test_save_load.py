"""Save and load: what goes in comes out, the same bytes each time, or nothing at all."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from wherry.errors import (
    Cancelled,
    IntegrityError,
    InvalidDocument,
    NotFound,
    PlatformMismatch,
    StoreError,
    UnsafeArchive,
    Unsupported,
    WherryError,
)
from wherry.image_store import local_store
from wherry.model import v1
from wherry.ops.listing import Filters, listing
from wherry.testing import (
    FakeRegistry,
    build_image,
    build_index,
    build_schema1,
    compress,
    docker_files,
    flat_files,
    layout_files,
    sha256,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeAlias

    from conftest import Wherry
    from wherry import Client, Store
    from wherry.ops.save_options import Format
    from wherry.testing import BuiltImage, BuiltIndex
    from wherry.testing.images import Piece

    Listener: TypeAlias = Callable[[wherry.Event], None]

TARS = [tar_layer({f"f{number}": b"x" * 9999 * number}) for number in range(3)]
IMAGE = build_image(TARS, compression=["gzip", "zstd", "none"], cmd=["sh"])
OTHER = build_image([*TARS[:2], TARS[0]], style="docker", env=["A=b"])
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
INDEX = build_index([(IMAGE, AMD64), (build_image(TARS, architecture="arm64"), ARM64)])
FORMATS: list[Format] = ["docker", "oci-archive", "oci", "dir"]


@pytest.fixture
def name(fake: FakeRegistry, client: Client) -> str:
    """An image in the store."""
    fake.add_image("app", IMAGE, "v1")
    client.pull(f"{fake.host}/app:v1")
    return f"{fake.host}/app:v1"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Store]:
    """Empty stores, one after the other."""

    def make() -> Iterator[Store]:
        number = 0
        while True:
            number += 1
            yield wherry.Store(tmp_path / f"store{number}")

    return make()


def contents(path: Path) -> dict[str, bytes]:
    """Return all files of an archive or directory."""
    if path.is_file():
        with tarfile.open(path) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def facts(image: wherry.Image) -> tuple[object, ...]:
    return image.id, image.config.diff_ids, [layer.diff_id for layer in image.layers]


# Round trips


@pytest.mark.parametrize(
    ("form", "piped"),
    [*((form, False) for form in FORMATS), ("docker", True), ("oci-archive", True)],
)
def test_what_is_saved_is_loaded(
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
    """Each layer is larger than the room for what comes behind the one that is written."""
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
    """Layouts hold them converted, for tools that know no others, and as they are."""
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


# Other places to save from, other archives to load


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
    """Engines since 25 write both."""
    files = {**docker_files(IMAGE, TARS, ["x:1"]), **layout_files({"localhost/app:1": IMAGE})}
    data = tar_layer(files)
    (tmp_path / "archive").write_bytes(data)
    source = io.BytesIO(data) if piped else tmp_path / "archive"
    (loaded,) = client.load(source, store=next(stores))
    assert (str(loaded.digest), loaded.names) == (IMAGE.digest, ("localhost/app:1",))


def test_a_tag_alone_is_no_name(client: Client, wherry: Wherry, tmp_path: Path) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"v1": IMAGE}))
    flat = write_files(tmp_path / "flat", flat_files(IMAGE))
    told: list[str] = []
    (loaded,) = client.load(layout, on_event=lambda event: told.append(event.message))
    assert loaded.names == ()
    advice = f"to give it one: wherry tag {loaded.id.hex[:12]} NAME"
    called = f"without a name (the archive has but a tag, v1; {advice}:v1)"
    assert told[-1].endswith(called)
    done = wherry("load", "-i", str(layout))
    assert called in done.stderr
    assert done.stdout == f"{loaded.id}\n"
    client.load(flat, on_event=lambda event: told.append(event.message))
    assert told[-1].endswith(f"without a name ({advice})")


# Archives of engines before 1.10


def legacy_files(
    chain: list[tuple[str, str]], layers: list[bytes], tags: Mapping[str, str]
) -> dict[str, bytes]:
    """Return an archive of layers with ids and parents; tags give ids to names of `app`."""
    files = {"repositories": json.dumps({"app": dict(tags)}).encode()}
    for (v1_id, parent), layer in zip(chain, layers, strict=True):
        found = {
            "id": v1_id,
            "created": "2014-01-01T00:00:00Z",
            "os": "linux",
            "architecture": "amd64",
        }
        if parent:
            found["parent"] = parent
        files |= {
            f"{v1_id}/VERSION": b"1.0",
            f"{v1_id}/json": json.dumps(found).encode(),
            f"{v1_id}/layer.tar": layer,
        }
    return files


A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("how", ["none", "gzip"])
def test_an_archive_of_an_old_engine(
    client: Client, tmp_path: Path, how: str, stores: Iterator[Store], *, piped: bool
) -> None:
    layers = [compress(tar, how) for tar in TARS]
    files = legacy_files([(A, ""), (B, A), (C, A)], layers, {"1": B, "2": B, "3": A})
    data = tar_layer(files)
    (tmp_path / "archive").write_bytes(data)
    source = io.BytesIO(data) if piped else tmp_path / "archive"
    loaded = client.load(source, store=next(stores))
    names = ["docker.io/library/app:1", "docker.io/library/app:2"]
    assert [list(image.names) for image in loaded] == [names, ["docker.io/library/app:3"], []]
    diff_ids = [wherry.Digest.of(tar) for tar in TARS]
    assert [list(image.config.diff_ids) for image in loaded] == [
        diff_ids[:2],
        diff_ids[:1],
        [diff_ids[0], diff_ids[2]],
    ]
    raws = [files[f"{v1_id}/json"] for v1_id in (A, B)]
    history = [v1.history_entry(raw, empty_layer=False) for raw in raws]
    assert loaded[0].config.raw == v1.config_from_v1(raws[1], diff_ids[:2], history)
    assert client.validate(f"docker-archive:{tmp_path / 'archive'}:app:1").findings == []


def test_the_tree_for_old_engines_is_read_as_they_read_it(
    client: Client, name: str, tmp_path: Path, stores: Iterator[Store]
) -> None:
    client.save(name, tmp_path / "archive")
    files = {
        path: data
        for path, data in contents(tmp_path / "archive").items()
        if path == "repositories" or "/" in path
    }
    (tmp_path / "legacy").write_bytes(tar_layer(files))
    (loaded,) = client.load(tmp_path / "legacy", store=next(stores))
    assert loaded.names == (name,)
    assert loaded.config.diff_ids == client.store.get(name).config.diff_ids


@pytest.mark.parametrize(
    ("chain", "tags", "error"),
    [
        ([(A, B), (B, C), (C, A)], {"1": A}, InvalidDocument),
        ([(A, A), (B, A), (C, B)], {"1": C}, InvalidDocument),
        ([(A, ""), (B, "d" * 64), (C, B)], {"1": C}, NotFound),
        ([(A, ""), (B, "../x"), (C, B)], {"1": C}, InvalidDocument),
        ([(A, ""), (B, A), (C, B)], {"1": "d" * 64}, NotFound),
        ([(A, ""), (B, A), (C, B)], {"1": "../../etc"}, InvalidDocument),
    ],
    ids=["cycle", "own parent", "missing parent", "bad parent", "missing image", "bad id"],
)
@pytest.mark.parametrize("piped", [False, True])
def test_broken_chains(
    client: Client,
    tmp_path: Path,
    chain: list[tuple[str, str]],
    tags: dict[str, str],
    error: type[WherryError],
    *,
    piped: bool,
) -> None:
    data = tar_layer(legacy_files(chain, TARS, tags))
    (tmp_path / "archive").write_bytes(data)
    with pytest.raises(error):
        client.load(io.BytesIO(data) if piped else tmp_path / "archive")
    assert client.store.images() == []


def test_an_id_that_is_not_its_directorys_name(client: Client, tmp_path: Path) -> None:
    files = legacy_files([(A, ""), (B, A), (C, B)], TARS, {"1": C})
    files[f"{B}/json"] = files[f"{B}/json"].replace(B.encode(), b"d" * 64)
    (tmp_path / "archive").write_bytes(tar_layer(files))
    with pytest.raises(InvalidDocument, match="not its directory's name"):
        client.load(tmp_path / "archive")


# What fails leaves nothing behind


def link(target: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo()
    made.type, made.linkname = tarfile.SYMTYPE, target
    return made


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"0/layer.tar": TARS[1]}, IntegrityError),
        ({"0/layer.tar": gzip.compress(TARS[0])[:-9]}, IntegrityError),
        ({"0/layer.tar": link("../../../etc/passwd")}, UnsafeArchive),
        ({"../x": b""}, UnsafeArchive),
        ({"./manifest.json": b"[]"}, UnsafeArchive),
        ({"manifest.json": b"[]"}, NotFound),
        ({"manifest.json": b"x"}, InvalidDocument),
    ],
    ids=["wrong", "damaged", "link", "climbs", "twice", "none", "no JSON"],
)
def test_what_is_wrong_with_an_archive_is_said_and_nothing_is_named(
    client: Client,
    tmp_path: Path,
    change: dict[str, bytes],
    error: type[WherryError],
    *,
    piped: bool,
) -> None:
    data = tar_layer({**docker_files(IMAGE, TARS, ["app:1"]), **change})
    (tmp_path / "archive").write_bytes(data)
    source = io.BytesIO(data) if piped else tmp_path / "archive"
    with pytest.raises(error):
        client.load(source)
    assert client.store.images() == []
    # Other layers that were on their way may have been stopped; what there is of them is good.
    stopped = {f"sha256-{sha256(tar)[7:]}.part" for tar in TARS[1:]}
    assert {path.name for path in (tmp_path / "store" / "ingest").glob("*")} <= stopped


@pytest.mark.parametrize("piped", [False, True])
def test_an_archive_cut_off_at_any_byte(client: Client, tmp_path: Path, *, piped: bool) -> None:
    data = tar_layer(docker_files(IMAGE, TARS, ["app:1"]))
    content = -(-len(data.rstrip(b"\0")) // 512) * 512
    file = tmp_path / "archive"
    for length in [*range(0, content, 1021), content - 1]:
        file.write_bytes(data[:length])
        with pytest.raises(WherryError):
            client.load(io.BytesIO(data[:length]) if piped else file)
    assert client.store.images() == []


@pytest.mark.parametrize("how", ["none", "gzip"])
def test_an_archive_cut_off_between_two_members(
    client: Client, name: str, tmp_path: Path, stores: Iterator[Store], how: str
) -> None:
    client.save(name, tmp_path / "saved")
    # The document that leads to all others last, as skopeo writes it: before it stands
    # the whole tree for old engines, which is another image.
    files = contents(tmp_path / "saved")
    files["manifest.json"] = files.pop("manifest.json")
    data = tar_layer(files)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        cuts = [member.offset for member in tar if member.offset]
    assert data.index(b"manifest.json") == cuts[-1]
    file, store = tmp_path / "archive", next(stores)
    for cut in cuts:
        file.write_bytes(compress(data[:cut], how))
        says = f"{file}: the archive is cut off: the marker of its end"
        with pytest.raises(IntegrityError, match=says):
            client.load(file, store=store)
        with pytest.raises(IntegrityError, match=says):
            client.validate(f"docker-archive:{file}")
        with pytest.raises(IntegrityError, match=says):
            client.validate(f"oci-archive:{file}")
        with pytest.raises(IntegrityError, match="cut off"):
            client.load(io.BytesIO(compress(data[:cut], how)), store=store)
    assert store.images() == []
    file.write_bytes(compress(data, how))
    (loaded,) = client.load(file, store=store)
    assert loaded.id == client.store.get(name).id


@pytest.mark.parametrize("piped", [False, True])
def test_an_index_whose_images_were_cut_off_is_not_a_part_of_one(
    client: Client, tmp_path: Path, *, piped: bool
) -> None:
    files = layout_files({"app:1": INDEX})
    last = f"blobs/sha256/{INDEX.images[1].manifest.digest[7:]}"
    files = {
        "oci-layout": files.pop("oci-layout"),
        "index.json": files.pop("index.json"),
        **{name: data for name, data in files.items() if name != last},
    }
    part = tar_layer(files)
    whole = tmp_path / "part"
    whole.write_bytes(part)
    (loaded,) = client.load(io.BytesIO(part) if piped else whole)  # no platform but the first
    client.store.remove(loaded.id)
    cut = part[: -(-len(part.rstrip(b"\0")) // 512) * 512]
    whole.write_bytes(cut)
    with pytest.raises(IntegrityError, match="the archive is cut off"):
        client.load(io.BytesIO(cut) if piped else whole)
    assert client.store.images() == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_failed_save_leaves_what_was_there(
    client: Client, name: str, tmp_path: Path, form: Format
) -> None:
    blob = client.store.path / "blobs" / "sha256" / IMAGE.layers[2].digest[7:]
    blob.chmod(0o644)
    blob.write_bytes(b"rot" + blob.read_bytes()[3:])
    place = tmp_path / "place"
    place.mkdir()
    target = place / "saved"
    if form not in {"oci", "dir"}:
        target.write_bytes(b"before")
    with pytest.raises(IntegrityError):
        client.save(name, target, format=form)
    assert [path.name for path in place.iterdir()] == (["saved"] if target.exists() else [])
    assert not target.exists() or target.read_bytes() == b"before"


def test_a_damaged_layer_is_not_saved(client: Client, name: str, tmp_path: Path) -> None:
    for layer, says in ((0, "gzip"), (1, "zstd")):
        blob = client.store.path / "blobs" / "sha256" / IMAGE.layers[layer].digest[7:]
        before = blob.read_bytes()
        blob.chmod(0o644)
        blob.write_bytes(before[:-1])
        for form in FORMATS:
            with pytest.raises(IntegrityError, match="the store's copy is damaged") as caught:
                client.save(name, tmp_path / says, format=form)
            assert str(caught.value).startswith(IMAGE.layers[layer].digest)
            assert "wherry fsck --repair" in caught.value.hint
        blob.write_bytes(before)
    client.save(name, tmp_path / "saved")


def test_an_image_that_is_removed_meanwhile_is_saved_whole(
    client: Client, name: str, tmp_path: Path, stores: Iterator[Store]
) -> None:
    removed: list[int] = []

    def remove(event: wherry.Event) -> None:
        if event.status is wherry.Status.SAVED and not removed:
            for each in client.store.get(name).names:
                client.store.untag(each)
            removed.append(len(client.store.gc().digests))

    client.save(name, tmp_path / "saved", on_event=remove)
    assert removed
    assert not [row for row in listing(local_store(client.store), Filters()) if row.name]
    assert str(client.load(tmp_path / "saved", store=next(stores))[0].id) == IMAGE.id
    assert client.store.gc().digests


def test_directories_are_not_written_over(client: Client, name: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    client.save(name, tmp_path / "there", format="oci")  # empty
    with pytest.raises(StoreError, match="there already"):
        client.save(name, tmp_path / "there", format="oci")
    with pytest.raises(NotFound, match="no such directory"):
        client.save(name, tmp_path / "nowhere" / "file")
    with pytest.raises(NotFound):
        client.save("store:nothing", tmp_path / "file")


def test_a_link_is_followed_and_a_fifo_is_written_to(
    client: Client, name: str, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("target")
    client.save(name, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "fifo")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    client.save(name, tmp_path / "fifo")
    reader.join(30)
    assert got == [(tmp_path / "target").read_bytes()]


def test_cancelling(client: Client, name: str, tmp_path: Path) -> None:
    token = wherry.CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        client.save(name, tmp_path / "saved", cancel=token)
    client.save(name, tmp_path / "saved")
    for source in (tmp_path / "saved", io.BytesIO((tmp_path / "saved").read_bytes())):
        with pytest.raises(Cancelled):
            client.load(source, cancel=token)


def test_an_image_can_be_saved_from_its_registry(
    fake: FakeRegistry, client: Client, tmp_path: Path, stores: Iterator[Store]
) -> None:
    fake.add_image("app", OTHER, "v1")
    client.save(f"docker://{fake.host}/app:v1", tmp_path / "saved")
    assert not client.store.path.exists()
    (loaded,) = client.load(tmp_path / "saved", store=next(stores))
    assert (str(loaded.id), loaded.names) == (OTHER.id, (f"{fake.host}/app:v1",))


def test_what_cannot_be_saved(
    client: Client, name: str, tmp_path: Path, fake: FakeRegistry
) -> None:
    fake.add_image("other", OTHER, "v1")
    client.pull(f"{fake.host}/other:v1")
    with pytest.raises(Unsupported, match="holds only one image"):
        client.save([name, f"{fake.host}/other:v1"], tmp_path / "x", format="dir")
    with (tmp_path / "file").open("wb") as file, pytest.raises(Unsupported, match="directory"):
        client.save(name, file, format="oci")


# The command


def test_the_command_through_a_pipe(
    wherry: Wherry, name: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = shlex.join([sys.executable, "-m", "wherry"])
    line = f"{command} save {name} | {command} --store {tmp_path}/new load"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    assert done.stdout == f"{IMAGE.id}\n"
    assert f"Loaded image {name}" in done.stderr
    shown = wherry("--store", f"{tmp_path}/new", "show", name)
    assert IMAGE.id in shown.stdout


def test_the_command_and_files(wherry: Wherry, name: str, tmp_path: Path) -> None:
    saved = wherry("save", "-q", "-o", str(tmp_path / "a.tar"), name)
    assert (saved.returncode, saved.stdout, saved.stderr) == (0, "", "")
    loaded = wherry("--store", str(tmp_path / "new"), "load", "-q", "-i", str(tmp_path / "a.tar"))
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, f"{IMAGE.id}\n", "")
    missing = wherry("load", "-i", str(tmp_path / "nothing"))
    assert missing.returncode == 3
    assert "nothing: no such file" in missing.stderr
    (tmp_path / "no.tar").write_bytes(b"no tar at all")
    broken = wherry("load", "-i", str(tmp_path / "no.tar"))
    assert broken.returncode == 1
    assert "no.tar: is no image archive" in broken.stderr


def test_the_command_prints_each_id_once(
    wherry: Wherry, client: Client, fake: FakeRegistry, name: str
) -> None:
    fake.add_image("second", OTHER, "t")
    client.pull(f"{fake.host}/second:t")
    client.store.tag(name, "mine:1")
    names = (f"{fake.host}/second:t", name, "mine:1")
    path = client.store.path.with_name("a.tar")
    client.save(names, path)
    loaded = wherry("load", "-i", str(path))
    assert loaded.stdout == f"{OTHER.id}\n{IMAGE.id}\n"


@pytest.mark.parametrize("command", ["save", "history", "config", "inspect"])
def test_the_image_that_has_none_for_a_platform_is_named(
    wherry: Wherry, client: Client, fake: FakeRegistry, command: str
) -> None:
    fake.add_image("index", INDEX, "t")
    name = f"{fake.host}/index:t"
    client.pull(name)
    for address in (name, f"store:{name}"):
        done = wherry(command, "--platform", "linux/s390x", address)
        assert (done.returncode, done.stdout) == (3, "")
        called = name if command == "save" else address
        says = f"wherry: {called}: there is no image for linux/s390x"
        assert done.stderr == f"{says}\n  it has: linux/amd64 linux/arm64\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "dir", "-o", "x", "a", "b"], "a flat directory holds only one image"),
        (["--format", "oci", "a"], "--format oci writes a directory, not a stream: use -o DIR"),
        (["--format", "dir", "a"], "--format dir writes a directory, not a stream: use -o DIR"),
    ],
)
def test_what_a_format_is_not_for_is_wrong_usage(
    wherry: Wherry, arguments: list[str], says: str
) -> None:
    done = wherry("save", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"wherry: {says}")


def test_what_is_no_archive_of_any_kind(wherry: Wherry, tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(tar_layer({"etc/passwd": b"root"}))
    write_files(tmp_path / "directory", {"README": b"nothing"})
    says = "is no image archive or layout that wherry knows\n  what docker"
    for name in ("tar", "directory"):
        done = wherry("load", "-i", str(tmp_path / name))
        assert done.returncode == 1
        assert done.stderr.startswith(f"wherry: {tmp_path / name}: {says}")
    assert wherry("load").stderr.startswith("wherry: stdin: is empty\n  what docker")
    path = tmp_path / "file"
    empty = (b"", "is empty\n  what docker")
    none = [
        b"hello",
        b"hello\n" * 1000,
        b"PK\3\4" + bytes(1000),
        *(compress(b"hello" * 999, how) for how in ("gzip", "zstd", "xz")),
    ]
    for data, what in (empty, *((data, says) for data in none)):
        path.write_bytes(data)
        for words in (["load", "-i", str(path)], ["inspect", f"docker-archive:{path}"]):
            done = wherry(*words)
            assert done.returncode == 1
            assert done.stderr.startswith(f"wherry: {path}: {what}")


@pytest.mark.parametrize("how", ["none", "gzip"])
def test_a_tar_of_a_file_system_is_no_archive(client: Client, tmp_path: Path, how: str) -> None:
    files = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "usr/share/package.json": b'{"a": "file like others"}',
        "usr/lib/index.json": b"[]",
        **{f"usr/bin/{number}": b"\x7fELF" + bytes(999) for number in range(30)},
    }
    few = dict(list(files.items())[:5])
    for number, (chosen, early) in enumerate([(few, False), (files, True)]):
        path = tmp_path / f"file{number}"
        # What comes behind the first files is not looked at: it is no tar any more.
        tail = compress(b"!" * 2**20, how) if early else b""
        data = compress(tar_layer(chosen).rstrip(b"\0"), how) if early else tar_layer(chosen)
        path.write_bytes(data + tail)
        sources: list[io.BytesIO | Path] = [io.BytesIO(data + tail)]
        for source in sources + ([] if early and how == "none" else [path]):
            events: list[wherry.Event] = []
            with pytest.raises(StoreError, match="is no image archive") as caught:
                client.load(source, on_event=events.append)
            assert "`wherry import`" in caught.value.hint
            assert events == []
    assert not any(path.is_file() for path in (tmp_path / "store" / "blobs").rglob("*"))


@pytest.mark.parametrize("piped", [False, True])
def test_links_of_a_file_system_are_no_attack(
    client: Client, tmp_path: Path, *, piped: bool
) -> None:
    cases: list[tuple[dict[str, Any], type[WherryError]]] = [
        ({"etc/passwd": b"", "etc/mtab": link("/proc/mounts")}, StoreError),
        ({"etc/passwd": b"", "0/layer.tar": link("/etc/passwd")}, UnsafeArchive),
        ({"oci-layout": b"{}", "etc/mtab": link("/proc/mounts")}, UnsafeArchive),
        ({"etc/passwd": b"", "../passwd": b""}, UnsafeArchive),
    ]
    for files, error in cases:
        data = tar_layer(files)
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(error, match="no image archive" if error is StoreError else "outside"):
            client.load(io.BytesIO(data) if piped else tmp_path / "file")


def test_layers_have_any_name_behind_what_leads_to_them(client: Client, tmp_path: Path) -> None:
    files = docker_files(IMAGE, TARS, ["app:1"])
    entry = json.loads(files.pop("manifest.json"))
    config = {"config": files.pop(entry[0]["Config"])}
    entry[0] |= {"Config": "config", "Layers": ["base", "a/b/c", "top"]}
    layers = dict(zip(entry[0]["Layers"], TARS, strict=True))
    manifest = {"manifest.json": json.dumps(entry).encode()}
    (loaded,) = client.load(io.BytesIO(tar_layer({**manifest, **config, **layers})))
    client.store.remove(loaded.id)
    data = tar_layer({**layers, **config, **manifest})
    with pytest.raises(Unsupported, match="base stands before what leads to it"):
        client.load(io.BytesIO(data))
    (tmp_path / "archive").write_bytes(data)
    assert client.load(tmp_path / "archive")[0].id == loaded.id


@pytest.mark.parametrize(
    "called",
    [
        "{}.tar",  # podman, skopeo
        "{}/layer.tar",  # docker
        "{}.tar.gz",  # ko, jib, bazel
        "sha256:{}.tar.gz",
        "blobs/sha256/{}",
        "{}",
        "./{}/layer.tar",
        "layer-1.tar.zst",
    ],
)
def test_layers_that_come_before_what_leads_to_them(client: Client, called: str) -> None:
    image = build_image(TARS[1:2], style="docker")
    layer = called.format(IMAGE.layers[0].digest[7:])
    entry = {"Config": "config.json", "RepoTags": ["app:1"], "Layers": [layer]}
    files = {layer: TARS[1], "config.json": image.config.data}
    files["manifest.json"] = json.dumps([entry]).encode()
    (loaded,) = client.load(io.BytesIO(tar_layer(files)))
    assert str(loaded.id) == image.id


def test_a_damaged_tar_is_an_archive(wherry: Wherry, tmp_path: Path) -> None:
    data = tar_layer(layout_files({"app:1": IMAGE}))
    path = tmp_path / "file"
    second = data.index(b"ustar", 512)
    for damaged, says in (
        (b"!" + data[1:], "the archive is damaged: no tar header at byte 0 "),
        (data[:300], "the archive is damaged: it is cut off at byte 300"),
        (data[: second - 200] + b"!" + data[second - 199 :], "the archive is damaged: no tar head"),
        (data[: second + 9], "the archive is damaged: it is cut off at byte"),
    ):
        for how in ("none", "gzip"):
            path.write_bytes(compress(damaged, how))
            for words in (["load", "-i", str(path)], ["inspect", f"oci-archive:{path}"]):
                done = wherry(*words)
                assert done.returncode == 5
                assert done.stderr.startswith(f"wherry: {path}: {says}")


def test_nothing_is_named_twice(client: Client, tmp_path: Path) -> None:
    layout = layout_files({"app:1": IMAGE})
    config = IMAGE.config.digest[7:]
    docker = docker_files(IMAGE, TARS, ["app:1"])
    root, second = IMAGE.manifest.digest[7:], "1/layer.tar"
    for files, missing, inside in (
        (layout, f"blobs/sha256/{root}", ""),
        (layout, f"blobs/sha256/{config}", "error pulling image configuration: "),
        (docker, second, f"{config}.json: "),
    ):
        rest = {name: data for name, data in files.items() if name != missing}
        (tmp_path / "file").write_bytes(tar_layer(rest))
        shutil.rmtree(tmp_path / "directory", ignore_errors=True)
        directory = write_files(tmp_path / "directory", rest)
        for source, called in (
            (tmp_path / "file", str(tmp_path / "file")),
            (io.BytesIO((tmp_path / "file").read_bytes()), "the stream"),
            ((tmp_path / "file").open("rb"), str(tmp_path / "file")),
        ):
            with pytest.raises(NotFound) as caught:
                client.load(source)
            assert str(caught.value) == f"{called}: {inside}there is no {missing} in it"
        with pytest.raises(NotFound) as caught:
            client.load(directory)
        assert str(caught.value) == f"{directory}: {inside}{missing}: no such file or directory"


def test_standard_input_is_called_that(wherry: Wherry) -> None:
    done = wherry("load", "-q", given=tar_layer(docker_files(IMAGE, TARS))[:20_000].decode())
    assert done.returncode == 5
    assert done.stderr.startswith("wherry: stdin: the archive is cut off: ")


def changed(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def readers(client: Client, place: str, tmp_path: Path) -> dict[str, Callable[[Listener], object]]:
    """Return all that reads the blobs of an archive or layout."""
    path, output = Path(place.partition(":")[2]), tmp_path / "output"
    saving: dict[str, Callable[[Listener], object]] = {
        f"save {form}": lambda told, form=form: client.save(  # type: ignore[misc]
            place, output, format=form, on_event=told
        )
        for form in FORMATS
    }
    return saving | {
        "load": lambda told: client.load(path, on_event=told),
        "import": lambda told: client.import_(io.BytesIO(TARS[0]), parent=place, on_event=told),
    }


def check_blamed(read: Callable[[Listener], object], path: str, says: str = "") -> None:
    """Read what is damaged; the archive is blamed, and was asked no second time."""
    events: list[wherry.Event] = []
    with pytest.raises(IntegrityError) as caught:
        read(events.append)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert caught.value.hint.endswith("the archive is damaged")
    assert not re.search("proxy|registry", f"{caught.value} {caught.value.hint}")
    assert not [event for event in events if event.status is wherry.Status.RETRYING]


@pytest.mark.parametrize("damage", [changed, lambda data: data[:-3], lambda data: data + b"x"])
@pytest.mark.parametrize(
    ("kind", "piece"),
    [
        (kind, piece)
        for kind in ("oci-archive", "oci", "dir")
        for piece in (IMAGE.layers[1], IMAGE.config, IMAGE.manifest)
        # Nothing says what the root of a flat directory has to be.
        if (kind, piece) != ("dir", IMAGE.manifest)
    ],
)
def test_a_damaged_archive_is_no_proxys_work(
    client: Client, tmp_path: Path, kind: str, piece: Piece, damage: Callable[[bytes], bytes]
) -> None:
    files = flat_files(IMAGE) if kind == "dir" else layout_files({"app:1": IMAGE})
    name = piece.digest[7:] if kind == "dir" else f"blobs/sha256/{piece.digest[7:]}"
    files[name] = damage(piece.data)
    path = tmp_path / "archive"
    if kind == "oci-archive":
        path.write_bytes(tar_layer(files))
    else:
        write_files(path, files)
    found = readers(client, f"{kind}:{path}", tmp_path)
    if piece in IMAGE.layers:
        found["blob"] = lambda _: client.blob(f"{kind}:{path}", piece.digest).read()
    else:
        found["inspect"] = lambda _: client.inspect(f"{kind}:{path}")
        found["history"] = lambda _: client.history(f"{kind}:{path}")
    for read in found.values():
        check_blamed(read, str(path))


def test_a_damaged_layer_of_a_docker_archive(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    packed = compress(TARS[1], "gzip")
    for layer, says in (
        (changed(TARS[1]), "content does not match its digest"),
        (packed[:-20] + b"!" + packed[-19:], "1/layer.tar: not a valid gzip stream"),
    ):
        layers = [TARS[0], layer, *TARS[2:]]
        path.write_bytes(tar_layer(docker_files(IMAGE, layers, ["app:1"])))
        for read in readers(client, f"docker-archive:{path}", tmp_path).values():
            check_blamed(read, str(path), says)


def test_the_command_blames_the_archive(wherry: Wherry, tmp_path: Path) -> None:
    files = layout_files({"app:1": IMAGE})
    place = f"blobs/sha256/{IMAGE.layers[1].digest[7:]}"
    (tmp_path / "a.tar").write_bytes(tar_layer(files | {place: changed(files[place])}))
    (tmp_path / "layer.tar").write_bytes(TARS[0])
    for words in (
        ["load", "-q", "-i", f"{tmp_path}/a.tar"],
        ["import", "--parent", f"oci-archive:{tmp_path}/a.tar", f"{tmp_path}/layer.tar"],
    ):
        done = wherry(*words)
        assert done.returncode == 5
        says = f"layer {IMAGE.layers[1].digest[:19]}…: content does not match its digest"
        assert done.stderr.startswith(f"wherry: {tmp_path}/a.tar: {says}")
        assert done.stderr.endswith("\n  nothing of it was stored; the archive is damaged\n")


def test_a_terminal_gets_no_archive(name: str, environment: dict[str, str]) -> None:
    import pty

    controller, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "wherry", "save", name],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
        timeout=60,
    )
    os.close(terminal)
    os.close(controller)
    assert done.returncode == 2
    assert b"cannot write an archive to a terminal" in done.stderr


def test_a_reader_that_goes_away_makes_a_failure(client: Client, name: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", 0) as file, pytest.raises(StoreError, match="gone before its"):
        client.save(name, file)


def interrupted(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    return process.returncode, told


def test_a_save_that_is_interrupted(
    fake: FakeRegistry, client: Client, environment: dict[str, str]
) -> None:
    fake.add_image("big", build_image([tar_layer({"f": bytes(3_000_000)})]), "v1")
    client.pull(f"{fake.host}/big:v1")
    with subprocess.Popen(
        [sys.executable, "-m", "wherry", "save", "-q", f"{fake.host}/big:v1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(512)  # it has begun, and fills the pipe
        assert interrupted(process) == (130, b"wherry: interrupted\n")


def test_a_load_that_is_interrupted(
    tmp_path: Path, store: Store, environment: dict[str, str]
) -> None:
    data = tar_layer(docker_files(IMAGE, TARS, ["app:1"]))
    with subprocess.Popen(
        [sys.executable, "-m", "wherry", "load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(data[:-12_000])  # the last layer's end is missing
        process.stdin.flush()
        assert b"Load complete" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        process.stdin.close()
    assert not [row for row in listing(local_store(store), Filters()) if row.name]
    assert list((tmp_path / "store" / "leases").iterdir()) == []


# What places hold that are no store


def replaced(files: Mapping[str, bytes], *blobs: tuple[str, bytes]) -> dict[str, bytes]:
    """Put other blobs in a layout, in the place of those with these digests."""
    return {**files, **{f"blobs/sha256/{digest[7:]}": data for digest, data in blobs}}


def test_a_layer_of_a_layout_has_to_be_the_one_that_the_config_means(
    client: Client, tmp_path: Path
) -> None:
    """Its bytes are those that its digest says: nothing has damaged the layout."""
    image = build_image(TARS[:1], diff_ids=[sha256(b"x")])
    layout = write_files(tmp_path / "layout", layout_files({"v1": image}))
    with pytest.raises(IntegrityError, match="does not match its DiffID") as caught:
        client.save(f"oci:{layout}", tmp_path / "saved.tar")
    assert str(caught.value).startswith(f"{layout}: layer {image.layers[0].digest}: ")
    assert caught.value.hint == ""
    assert not (tmp_path / "saved.tar").exists()


def test_as_many_layers_as_diff_ids(client: Client, tmp_path: Path) -> None:
    config = json.loads(IMAGE.config.data)
    config["rootfs"]["diff_ids"].pop()
    short = json.dumps(config).encode()
    raw = IMAGE.manifest.data.replace(IMAGE.config.digest.encode(), sha256(short).encode())
    raw = raw.replace(b'"size":%d' % len(IMAGE.config.data), b'"size":%d' % len(short))
    files = replaced(layout_files({"v1": IMAGE}), (sha256(short), short), (sha256(raw), raw))
    index = json.loads(files["index.json"])
    index["manifests"][0] |= {"digest": sha256(raw), "size": len(raw)}
    files["index.json"] = json.dumps(index).encode()
    layout = write_files(tmp_path / "layout", files)
    with pytest.raises(IntegrityError, match="3 layers, 2 DiffIDs"):
        client.save(f"oci:{layout}", tmp_path / "saved.tar")


def test_a_tag_beside_a_digest_is_no_name(
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
    """Such as one that is being collected while it is loaded."""
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
