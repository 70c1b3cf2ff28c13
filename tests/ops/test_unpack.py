"""Unpacking images from any place into a directory."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trees import acl, member, tar
from wherry.content.cancel import CancelToken
from wherry.content.events import Status
from wherry.errors import (
    Cancelled,
    IntegrityError,
    InvalidReference,
    NotFound,
    StoreError,
    UnsafeArchive,
    Unsupported,
)
from wherry.testing import (
    Corrupt,
    Cut,
    Fault,
    Stall,
    build_image,
    build_index,
    layout_files,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from conftest import Wherry
    from wherry import Client, Event
    from wherry.testing import FakeRegistry

LAYERS = [
    tar_layer({"etc/motd": b"one", "gone": b"x"}),
    tar_layer({"etc/new": b"two", ".wh.gone": b""}),
]


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


CONTENT = {"etc/motd": b"one", "etc/new": b"two"}


@pytest.fixture
def layout(tmp_path: Path) -> str:
    write_files(tmp_path / "layout", layout_files({"x": build_image(LAYERS)}))
    return f"oci:{tmp_path / 'layout'}:x"


def test_from_a_layout(client: Client, layout: str, tmp_path: Path) -> None:
    result = client.unpack(layout, tmp_path / "root")
    assert files(tmp_path / "root") == CONTENT
    assert result.digest == build_image(LAYERS).digest


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_from_a_registry_and_from_the_store(
    client: Client, fake: FakeRegistry, tmp_path: Path, compression: str
) -> None:
    fake.add_image("app", build_image(LAYERS, compression=compression), "1")
    name = f"{fake.host}/app:1"
    client.unpack(name, tmp_path / "remote")
    assert files(tmp_path / "remote") == CONTENT
    assert not list(client.store.images())
    client.pull(name)
    client.unpack(f"store:{name}", tmp_path / "stored")
    assert files(tmp_path / "stored") == CONTENT


def test_a_platform_of_an_index(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    images = [
        build_image([tar_layer({"which": arch.encode()})], architecture=arch)
        for arch in ("amd64", "arm64")
    ]
    fake.add_image("app", build_index([(each, None) for each in images]), "1")
    client.unpack(f"{fake.host}/app:1", tmp_path / "root", platform="linux/arm64")
    assert files(tmp_path / "root") == {"which": b"arm64"}


def test_a_damaged_layer_leaves_nothing(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    image = build_image(LAYERS, diff_ids=[f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"])
    fake.add_image("app", image, "1")
    with pytest.raises(IntegrityError, match="layer sha256"):
        client.unpack(f"{fake.host}/app:1", place / "root")
    assert list(place.iterdir()) == []


def test_content_that_a_registry_alters(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    image = build_image([tar_layer({"big": bytes(300_000)})], compression="none")
    fake.add_image("app", image, "1")
    fake.faults.append(Fault(Corrupt(2000), path=f"/blobs/{image.layers[0].digest}"))
    with pytest.raises(IntegrityError):
        client.unpack(f"{fake.host}/app:1", place / "root")
    assert list(place.iterdir()) == []


def test_a_cut_download_goes_on(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    image = build_image([tar_layer({"big": b"b" * 3_000_000})], compression="none")
    fake.add_image("app", image, "1")
    fault = Fault(Cut(1_000_000), path=f"/blobs/{image.layers[0].digest}", times=1)
    fake.faults.append(fault)
    client.unpack(f"{fake.host}/app:1", tmp_path / "root")
    assert fault.count == 1
    assert files(tmp_path / "root") == {"big": b"b" * 3_000_000}


@pytest.mark.parametrize("verb", ["unpack", "export"])
def test_a_refused_layer_is_not_waited_for(
    client: Client, fake: FakeRegistry, tmp_path: Path, verb: str
) -> None:
    layer = tar((member("../x"), b"x"), (member("big"), bytes(2_000_000)))
    image = build_image([layer], compression="none")
    fake.add_image("app", image, "1")
    fake.faults.append(Fault(Stall(1_000_000), path=f"/blobs/{image.layers[0].digest}"))
    with pytest.raises(UnsafeArchive):
        getattr(client, verb)(f"{fake.host}/app:1", tmp_path / "root")


@pytest.mark.parametrize("verb", ["unpack", "export"])
def test_a_damaged_layer_ends_the_wait_for_the_next(
    client: Client, fake: FakeRegistry, tmp_path: Path, verb: str
) -> None:
    layers = [tar_layer({"a": b"a"}), tar_layer({"big": bytes(2_000_000)})]
    wrong = [f"sha256:{'0' * 64}"] * 2
    image = build_image(layers, compression="none", diff_ids=wrong)
    fake.add_image("app", image, "1")
    fake.faults.append(Fault(Stall(1_000_000), path=f"/blobs/{image.layers[1].digest}"))
    with pytest.raises(IntegrityError, match=f"layer {str(image.layers[0].digest)[:19]}"):
        getattr(client, verb)(f"{fake.host}/app:1", tmp_path / "root")


@pytest.mark.parametrize("verb", ["unpack", "export"])
def test_waiting_for_a_layer_can_be_cancelled(
    client: Client, fake: FakeRegistry, tmp_path: Path, verb: str
) -> None:
    image = build_image([tar_layer({"big": bytes(2_000_000)})], compression="none")
    fake.add_image("app", image, "1")
    fake.faults.append(Fault(Stall(1_000_000), path=f"/blobs/{image.layers[0].digest}"))
    place, token = tmp_path / "place", CancelToken()
    place.mkdir()
    threading.Timer(0.2, token.cancel).start()
    with pytest.raises(Cancelled):
        getattr(client, verb)(f"{fake.host}/app:1", place / "root", cancel=token)
    assert list(place.iterdir()) == []


def test_an_unsafe_layer_names_its_member(client: Client, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    image = build_image([tar_layer({"../evil": b"x"})])
    write_files(tmp_path / "layout", layout_files({"x": image}))
    with pytest.raises(UnsafeArchive) as caught:
        client.unpack(f"oci:{tmp_path / 'layout'}:x", place / "root")
    assert caught.value.member == "../evil"
    assert list(place.iterdir()) == []


def test_a_directory_with_something_in_it_stays(
    client: Client, layout: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    client.unpack(layout, root)  # an empty one is replaced
    (root / "own").write_text("own", encoding="utf-8")
    with pytest.raises(StoreError, match="not empty") as caught:
        client.unpack(layout, root)
    assert "--replace" in caught.value.hint
    assert (root / "own").exists()
    client.unpack(layout, root, replace=True)
    assert files(root) == CONTENT


def test_a_failed_replacement_leaves_the_old_directory(client: Client, tmp_path: Path) -> None:
    write_files(tmp_path / "layout", layout_files({"x": build_image([b"no tar".ljust(600)])}))
    root = tmp_path / "place" / "root"
    root.mkdir(parents=True)
    (root / "own").touch()
    with pytest.raises(IntegrityError):
        client.unpack(f"oci:{tmp_path / 'layout'}:x", root, replace=True)
    assert [each.name for each in root.parent.iterdir()] == ["root"]
    assert [each.name for each in root.iterdir()] == ["own"]


def test_a_tree_that_is_closed_to_its_owner_is_replaced(client: Client, tmp_path: Path) -> None:
    layer = tar(
        member(".", tarfile.DIRTYPE, mode=0),
        member("a", tarfile.DIRTYPE, mode=0),
        member("a/b", tarfile.DIRTYPE, mode=0o111),
        member("a/b/c"),
    )
    write_files(tmp_path / "layout", layout_files({"x": build_image([layer])}))
    root = tmp_path / "place" / "root"
    root.parent.mkdir()
    for _ in range(2):
        client.unpack(f"oci:{tmp_path / 'layout'}:x", root, replace=True)
        assert [each.name for each in root.parent.iterdir()] == ["root"]
    for closed in (root, root / "a", root / "a" / "b"):
        closed.chmod(0o700)  # or pytest could not remove it


@pytest.mark.parametrize("kind", ["file", "link"])
def test_other_files_are_not_replaced(
    client: Client, layout: str, tmp_path: Path, kind: str
) -> None:
    root, target = tmp_path / "root", tmp_path / "target"
    target.mkdir()
    root.touch() if kind == "file" else root.symlink_to(target)
    with pytest.raises(StoreError, match="not a directory"):
        client.unpack(layout, root, replace=True)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("path", [".", "..", "/", "x/.."])
def test_the_directory_needs_a_name(
    client: Client, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "here" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(StoreError, match="has no name"):
        client.unpack(layout, Path(path), replace=True)
    assert [each.name for each in Path().iterdir()] == ["x"]


def test_a_hard_link_whose_file_is_left_out(client: Client, tmp_path: Path) -> None:
    layers = [tar(member("a")), tar(member("b", tarfile.LNKTYPE, linkname="a"))]
    write_files(tmp_path / "layout", layout_files({"x": build_image(layers)}))
    with pytest.raises(UnsafeArchive, match="which is not there") as caught:
        client.unpack(f"oci:{tmp_path / 'layout'}:x", tmp_path / "root", layer=2)
    assert "--layer" in caught.value.hint


def test_no_file_inherits_an_access_control_list(
    client: Client, layout: str, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    try:
        os.setxattr(place, "system.posix_acl_default", os.fsencode(acl(7, 7, 7)))
    except OSError:
        pytest.skip("the file system has no access control lists")
    client.unpack(layout, place / "root")
    for path in (place / "root", *(place / "root").rglob("*")):
        assert os.listxattr(path) == [], path


def test_the_parent_has_to_exist(client: Client, layout: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such directory"):
        client.unpack(layout, tmp_path / "no" / "root")


@pytest.mark.parametrize(
    ("limit", "hint"), [("max_size", "--max-size"), ("max_files", "--max-files")]
)
def test_limits(client: Client, layout: str, tmp_path: Path, limit: str, hint: str) -> None:
    limits = {limit: 2}
    with pytest.raises(UnsafeArchive) as caught:
        client.unpack(layout, tmp_path / "root", **limits)  # type: ignore[arg-type]
    assert caught.value.hint == f"allow more with {hint}"
    assert not (tmp_path / "root").exists()


def test_the_command(wherry: Wherry, layout: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = wherry("unpack", layout, str(root))
    assert (done.returncode, done.stdout) == (0, "")
    assert f"Unpacked to {root}" in done.stderr
    again = wherry("unpack", layout, str(root))
    assert again.returncode == 1
    assert "--replace" in again.stderr
    missing = wherry("unpack", "nothing", str(tmp_path / "other"))
    assert missing.returncode == 3
    assert "docker://nothing" in missing.stderr


@pytest.mark.parametrize("name", ["./app.tar", "/app", "app.tar"])
def test_a_path_without_its_kind(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.tar").touch()
    with pytest.raises((NotFound, InvalidReference)) as caught:
        client.unpack(f"store:{name}", tmp_path / "root")
    assert f"oci:{name}, docker-archive:{name}" in caught.value.hint


def test_one_layer_and_a_part_of_the_files(client: Client, layout: str, tmp_path: Path) -> None:
    client.unpack(layout, tmp_path / "upper", layer=-1)
    assert files(tmp_path / "upper") == {"etc/new": b"two"}
    client.unpack(layout, tmp_path / "lower", layer=1)
    assert files(tmp_path / "lower") == {"etc/motd": b"one", "gone": b"x"}
    with pytest.raises(NotFound, match="no layer 3") as caught:
        client.unpack(layout, tmp_path / "none", layer=3)
    assert "it has 2" in caught.value.hint
    client.unpack(layout, tmp_path / "part", include=["etc"], exclude=["*/new"], strip_components=1)
    assert files(tmp_path / "part") == {"motd": b"one"}


@pytest.mark.parametrize("cache", [None, "copy"])
def test_a_pattern_that_matches_nothing_leaves_nothing(
    client: Client, layout: str, tmp_path: Path, cache: str | None
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for include in (["motd"], ["etc", "gone"]):  # the latter is there, but a whiteout hides it
        with pytest.raises(NotFound, match=f"the pattern '{include[-1]}'") as caught:
            client.unpack(layout, place / "root", include=include, cache=cache)
        assert caught.value.where == (layout,)
        assert f"'*/{include[-1]}'" in caught.value.hint
        for target in (place / "e.tar", io.BytesIO()):
            with pytest.raises(NotFound):
                client.export(layout, target, include=include)
        assert isinstance(target, io.BytesIO)
        assert target.getvalue() == b""
    assert list(place.iterdir()) == []
    client.unpack(layout, place / "root", include=["./etc"], exclude=["none"], cache=cache)
    assert files(place / "root") == CONTENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_ids_are_mapped(client: Client, tmp_path: Path) -> None:
    layer = tar(member("own", uid=3, gid=4), member("implied/root", mode=0o600))
    write_files(tmp_path / "layout", layout_files({"x": build_image([layer])}))
    address = f"oci:{tmp_path / 'layout'}:x"
    ranges = [(0, 100_000, 10)]
    client.unpack(address, tmp_path / "root", uid_map=ranges, gid_map=ranges)
    owners = [(tmp_path / "root" / name).stat() for name in ("own", "implied/root", "implied", ".")]
    assert [(each.st_uid, each.st_gid) for each in owners] == [
        (100_003, 100_004),
        *[(100_000, 100_000)] * 3,
    ]
    with pytest.raises(Unsupported, match="no range of the map has the group 4"):
        client.unpack(address, tmp_path / "other", uid_map=ranges, gid_map=[(0, 1, 1)])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("cache", [None, "copy"])
def test_each_kind_of_warning_comes_once(client: Client, tmp_path: Path, cache: str | None) -> None:
    closed = {"SCHILY.xattr.system.none": "v"}
    files = [member(f"f{number}", pax_headers=closed) for number in range(3)]
    devices = [member(f"d{number}", tarfile.CHRTYPE, devmajor=1) for number in range(3)]
    write_files(
        tmp_path / "layout", layout_files({"x": build_image([tar(*files), tar(*files, *devices)])})
    )
    events: list[Event] = []
    client.unpack(
        f"oci:{tmp_path / 'layout'}:x", tmp_path / "root", cache=cache, on_event=events.append
    )
    warnings = [each.message for each in events if each.status is Status.WARNING]
    attributes, *others = warnings
    assert attributes.startswith("extended attributes system.none cannot be set")
    assert len(others) == (os.geteuid() != 0)
    assert all("devices" in each for each in others)


@pytest.mark.skipif(os.geteuid() == 0, reason="root gives files away")
def test_others_give_no_files_away(client: Client, layout: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="may not give files to 0:0") as caught:
        client.unpack(layout, tmp_path / "root", uid_map=[(0, 0, 10)], gid_map=[(0, 0, 10)])
    assert "--keep-owners" in caught.value.hint
    assert not (tmp_path / "root").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files that even root cannot remove")
def test_an_old_directory_that_stays_is_named(client: Client, layout: str, tmp_path: Path) -> None:
    """A file system that is mounted in it cannot be removed."""
    root = tmp_path / "place" / "root"
    (root / "mounted").mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "none", root / "mounted"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    events: list[Event] = []
    try:
        client.unpack(layout, root, replace=True, on_event=events.append)
        [old] = (each for each in root.parent.iterdir() if each != root)
        assert any(str(old) in each.message for each in events)
    finally:
        [old] = (each for each in root.parent.iterdir() if (each / "mounted").exists())
        subprocess.run(["umount", old / "mounted"], check=True)


def test_what_ranges_the_command_takes(wherry: Wherry, tmp_path: Path) -> None:
    for text in ("0:1", "a:b:c", "0:1:0", "0:4294967295:1"):
        done = wherry("unpack", "--uid-map", text, "x", str(tmp_path / "root"))
        assert done.returncode == 2, text
        assert "range" in done.stderr


@pytest.mark.parametrize("command", ["unpack", "export"])
def test_an_error_does_not_promise_that_anything_is_kept(
    wherry: Wherry, fake: FakeRegistry, tmp_path: Path, command: str
) -> None:
    image = build_image([tar_layer({"big": b"b" * 3_000_000})], compression="none")
    fake.add_image("app", image, "1")
    fake.faults.append(Fault(Cut(1_000_000), path=f"/blobs/{image.layers[0].digest}"))
    target = ["-o", str(tmp_path / "x")] if command == "export" else [str(tmp_path / "x")]
    done = wherry(command, "--retries", "1", f"docker://{fake.host}/app:1", *target)
    assert done.returncode == 6
    assert "kept" not in done.stderr
