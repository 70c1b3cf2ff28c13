"""The merged file system of an image as one tar."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exported_trees import unpack_and_export
from trees import LAYERS, describe, member, tar
from unpack_images import IMAGES
from wherry.errors import IntegrityError, NotFound, StoreFull, UnsafeArchive
from wherry.testing import build_image, layout_files, tar_layer, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Buffer

    from conftest import Wherry
    from wherry import Client
    from wherry.testing import FakeRegistry

SPARSE_SIZE = 3 * 2**20


@pytest.fixture
def layout(tmp_path: Path) -> str:
    write_files(tmp_path / "layout", layout_files({"x": build_image(LAYERS)}))
    return f"oci:{tmp_path / 'layout'}:x"


def test_tar_makes_the_tree_that_unpack_makes(client: Client, layout: str, tmp_path: Path) -> None:
    client.unpack(layout, tmp_path / "unpacked")
    client.export(layout, tmp_path / "e.tar")
    (tmp_path / "extracted").mkdir()
    options = ["--same-permissions", "--xattrs", "--xattrs-include=*"]
    subprocess.run(
        ["tar", "-C", tmp_path / "extracted", *options, "-xf", tmp_path / "e.tar"], check=True
    )
    ours, theirs = describe(tmp_path / "unpacked"), describe(tmp_path / "extracted")
    for name in (b"", b"/run"):  # without an entry: the time is that of unpacking, or 1970
        assert ours.pop(name)[:3] == theirs.pop(name)[:3]
    assert ours == theirs


@pytest.mark.parametrize("name", IMAGES)
def test_the_export_gives_the_tree_of_the_image(tmp_path: Path, name: str) -> None:
    assert unpack_and_export(IMAGES[name], tmp_path / "trees") == []


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)
MEMBERS = st.builds(
    member,
    st.one_of(NAMES, NAMES.map(lambda name: f"{name}/.wh.a"), st.just("b/.wh..wh..opq")),
    st.sampled_from((*KINDS, *KINDS[:2])),
    linkname=st.one_of(NAMES, st.sampled_from(["..", "/b", "../c"])),
    mode=st.sampled_from([0o755, 0o4711, 0o1777, 0o500]),
    mtime=st.integers(-2, 10**9),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(MEMBERS, max_size=8), min_size=1, max_size=3))
def test_the_export_of_any_layers_gives_their_tree(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[tarfile.TarInfo]]
) -> None:
    contents = [
        tar(*((each, each.name.encode()) if each.isreg() else each for each in layer))
        for layer in layers
    ]
    place = tmp_path_factory.mktemp("trees", numbered=True)
    with contextlib.suppress(UnsafeArchive):
        assert unpack_and_export(contents, place) == []


def test_members_are_sorted_and_links_come_last(client: Client, tmp_path: Path) -> None:
    layers = [
        tar((member("z", mode=0o644), b"z"), (member("b/x", mode=0o644), b"x")),
        tar(member("a", tarfile.LNKTYPE, linkname="z"), member("b.c", mode=0o600)),
    ]
    write_files(tmp_path / "layout", layout_files({"x": build_image(layers)}))
    output = io.BytesIO()
    client.export(f"oci:{tmp_path / 'layout'}:x", output)
    output.seek(0)
    with tarfile.open(fileobj=output) as made:
        found = [(each.name, each.type, each.linkname) for each in made]
        first = made.extractfile("a")
        assert first is not None
        assert first.read() == b"z"
    assert found == [
        (".", tarfile.DIRTYPE, ""),
        ("a", tarfile.REGTYPE, ""),
        ("b", tarfile.DIRTYPE, ""),
        ("b/x", tarfile.REGTYPE, ""),
        ("b.c", tarfile.REGTYPE, ""),
        ("z", tarfile.LNKTYPE, "a"),
    ]


def test_large_numbers_and_long_names(client: Client, tmp_path: Path) -> None:
    name = "d" * 120 + "/" + "é" * 60
    pax = {"mtime": "-1.5", "SCHILY.xattr.user.k": "v"}
    info = member(name, mode=0o644, uid=3_000_000, gid=4_000_000, pax_headers=pax)
    link = member("l", tarfile.SYMTYPE, linkname="t" * 200)
    write_files(tmp_path / "layout", layout_files({"x": build_image([tar((info, b"c"), link)])}))
    output = io.BytesIO()
    client.export(f"oci:{tmp_path / 'layout'}:x", output)
    output.seek(0)
    with tarfile.open(fileobj=output) as made:
        found = made.getmember(name)
        assert (found.uid, found.gid, found.mtime) == (3_000_000, 4_000_000, -1.5)
        assert found.pax_headers["SCHILY.xattr.user.k"] == "v"
        assert made.getmember("l").linkname == "t" * 200


def test_sparse_files_are_written_with_their_holes(client: Client, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(SPARSE_SIZE // 2)
        file.write(b"x" * 5000)
        file.truncate(SPARSE_SIZE)
    command = ["tar", "-C", str(tmp_path), "-cS", "--format=posix", "sparse"]
    layer = subprocess.run(command, capture_output=True, check=True).stdout
    write_files(tmp_path / "layout", layout_files({"x": build_image([layer])}))
    output = io.BytesIO()
    client.export(f"oci:{tmp_path / 'layout'}:x", output)
    output.seek(0)
    with tarfile.open(fileobj=output) as made:
        found = made.extractfile("sparse")
        assert found is not None
        assert found.read() == (tmp_path / "sparse").read_bytes()


def test_from_a_registry_and_the_store(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add_image("app", build_image(LAYERS), "1")
    name = f"{fake.host}/app:1"
    client.export(name, tmp_path / "remote.tar")
    assert not list(client.store.images())
    client.pull(name)
    client.export(f"store:{name}", tmp_path / "stored.tar")
    assert (tmp_path / "remote.tar").read_bytes() == (tmp_path / "stored.tar").read_bytes()


def test_pipes_and_devices_stay_and_links_are_followed(
    client: Client, layout: str, tmp_path: Path
) -> None:
    client.export(layout, tmp_path / "e.tar")
    expected = (tmp_path / "e.tar").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        client.export(layout, tmp_path / "pipe")
        assert reader.stdout is not None
        assert reader.stdout.read() == expected
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "full").symlink_to("/dev/full")  # so that a fault does not replace the device
    with pytest.raises(StoreFull) as caught:
        client.export(layout, tmp_path / "full")
    assert "not complete" in caught.value.hint
    assert (tmp_path / "full").is_symlink()
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    client.export(layout, tmp_path / "link")
    assert (tmp_path / "target").read_bytes() == expected
    assert (tmp_path / "link").is_symlink()


def test_a_stream_may_take_less_than_it_is_given(client: Client, layout: str) -> None:
    class Reluctant(io.BytesIO):
        def write(self, data: Buffer) -> int:
            return super().write(memoryview(data)[:100])

    outputs = Reluctant(), io.BytesIO()
    for output in outputs:
        client.export(layout, output)
    assert outputs[0].getvalue() == outputs[1].getvalue()


@pytest.mark.parametrize(
    "image",
    [
        build_image(LAYERS, diff_ids=[f"sha256:{'0' * 64}"] * 2),
        build_image([tar_layer({"../x": b"x"})]),
    ],
)
def test_nothing_is_written_of_a_bad_image(client: Client, tmp_path: Path, image: object) -> None:
    write_files(tmp_path / "layout", layout_files({"x": image}))  # type: ignore[dict-item]
    place = tmp_path / "place"
    place.mkdir()
    output = io.BytesIO()
    for target in (place / "e.tar", output):
        with pytest.raises(IntegrityError):
            client.export(f"oci:{tmp_path / 'layout'}:x", target)
    assert list(place.iterdir()) == []
    assert output.getvalue() == b""


@pytest.mark.parametrize("left", [512 + 50_000, 512 + 100_000 - 1])
def test_a_layer_that_ends_within_a_file(client: Client, tmp_path: Path, left: int) -> None:
    layer = tar((member("big"), bytes(100_000)))[:left]
    write_files(tmp_path / "layout", layout_files({"x": build_image([layer])}))
    with pytest.raises(IntegrityError, match="cut off") as caught:
        client.export(f"oci:{tmp_path / 'layout'}:x", io.BytesIO())
    assert "big" in str(caught.value)


def test_limits_and_places(client: Client, layout: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive, match="more files than"):
        client.export(layout, tmp_path / "e.tar", max_files=3)
    with pytest.raises(UnsafeArchive, match="more content than"):
        client.export(layout, tmp_path / "e.tar", max_size=3)
    assert not (tmp_path / "e.tar").exists()
    with pytest.raises(NotFound):
        client.export(layout, tmp_path / "no" / "e.tar")


def test_the_command(wherry: Wherry, layout: str, tmp_path: Path) -> None:
    done = wherry("export", layout, "-o", str(tmp_path / "e.tar"))
    assert (done.returncode, done.stdout) == (0, "")
    with tarfile.open(tmp_path / "e.tar") as made:
        assert "etc/passwd" in made.getnames()
    missing = wherry("export", "nothing", "-o", str(tmp_path / "x.tar"))
    assert missing.returncode == 3
    assert "docker://nothing" in missing.stderr


def test_an_image_of_the_store_is_a_stream_and_a_list(client: Client, tmp_path: Path) -> None:
    image = client.import_(io.BytesIO(LAYERS[0]), "mine:1")
    client.export("store:mine:1", tmp_path / "e.tar")
    with image.export() as stream:
        assert stream.read() == (tmp_path / "e.tar").read_bytes()
    with tarfile.open(tmp_path / "e.tar") as made:
        names = [each.name for each in made]
    members = list(image.members())
    assert [each.path or "." for each in members] == names
    passwd = next(each for each in members if each.path == "etc/passwd")
    assert (passwd.kind, passwd.mode, passwd.size) == ("file", 0o644, 11)
    assert passwd.layer == image.layers[0].digest
    image.unpack(tmp_path / "root", include=["etc"])
    assert [each.name for each in (tmp_path / "root").iterdir()] == ["etc"]


def test_a_stream_that_is_not_read_to_its_end(client: Client) -> None:
    image = client.import_(io.BytesIO(LAYERS[0]), "mine:1")
    with image.export() as stream:
        assert stream.read(257)[:1] == b"."


def test_damage_in_the_store_is_found_before_anything_is_listed(client: Client) -> None:
    image = client.import_(io.BytesIO(LAYERS[0]), "mine:1")
    path = next(
        each
        for each in client.store.path.rglob("*")
        if each.name.endswith(image.layers[0].digest.hex[2:])
    )
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        next(image.members())
    with image.export() as stream, pytest.raises(IntegrityError):
        stream.read(1)
