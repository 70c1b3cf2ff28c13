"""Damaged and incomplete archives: load names the fault and stores nothing."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wherry
from saved_images import FORMATS, IMAGE, INDEX, TARS, contents, link
from wherry.errors import IntegrityError, InvalidDocument, NotFound, UnsafeArchive, WherryError
from wherry.testing import (
    FakeRegistry,
    compress,
    docker_files,
    flat_files,
    layout_files,
    sha256,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from conftest import Wherry
    from wherry import Client, Store
    from wherry.testing.images import Piece

    Listener: TypeAlias = Callable[[wherry.Event], None]


@pytest.fixture
def name(fake: FakeRegistry, client: Client) -> str:
    """An image in the store."""
    fake.add_image("app", IMAGE, "v1")
    client.pull(f"{fake.host}/app:v1")
    return f"{fake.host}/app:v1"


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
    # Other layers may have been stopped; their part files hold good bytes.
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
    # skopeo writes the top document last: before it stands
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


def changed(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def readers(client: Client, place: str, tmp_path: Path) -> dict[str, Callable[[Listener], object]]:
    """Return the calls that read the blobs of an archive or layout."""
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
    """Read damaged content; the error names the archive, and there is no retry."""
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
        # Nothing states the digest of the root of a flat directory.
        if (kind, piece) != ("dir", IMAGE.manifest)
    ],
)
def test_a_damaged_archive_is_not_blamed_on_a_proxy(
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
