"""Unpacking by way of layers that are unpacked once into the store."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stored_images import OLD
from trees import describe, member, tar, tree_layers
from unpack_images import CACHED
from wherry.errors import IntegrityError, StoreError, UnsafeArchive, Unsupported
from wherry.testing import Corrupt, Fault, build_image, layout_files, tar_layer, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Wherry
    from wherry import Client
    from wherry.testing import FakeRegistry

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def layout(tmp_path: Path) -> str:
    write_files(tmp_path / "layout", layout_files({"x": build_image(CACHED)}))
    return f"oci:{tmp_path / 'layout'}:x"


@pytest.fixture
def cache(client: Client) -> Path:
    return client.store.path / "unpacked" / str(os.geteuid())


def read_only(tree: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    """Return a description in which no file can be written."""
    return {
        name: (str(mode).replace("w", "-"), *rest) if str(mode).startswith("-") else (mode, *rest)
        for name, (mode, *rest) in tree.items()
    }


def without_times(tree: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    """Drop what has the time of unpacking, and what tells links within the image from others."""
    return {
        name: (*about[:3], *about[4:7]) if name in {b"", b"/run"} else about[:7]
        for name, about in tree.items()
    }


@pytest.mark.parametrize("way", ["copy", "link"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keep_owners": True},
        {"keep_dirlinks": True, "include": ["lib", "usr", "etc", "opaque", "below"]},
        {"layer": 1},
        {"strip_components": 1, "exclude": ["usr/lib/libc.so.6", "hard", "below"]},
        pytest.param(
            {"uid_map": [(0, 5000, 99)], "gid_map": [(0, 6000, 99)]},
            marks=pytest.mark.skipif(not IS_ROOT, reason="only root gives files away"),
        ),
    ],
    ids=str,
)
def test_trees_are_those_without_a_cache(
    client: Client, layout: str, tmp_path: Path, way: str, options: dict[str, Any]
) -> None:
    client.unpack(layout, tmp_path / "plain", **options)
    expected = describe(tmp_path / "plain")
    for name in ("first", "second"):
        client.unpack(layout, tmp_path / name, cache=way, **options)
        found = describe(tmp_path / name)
        if way == "copy":
            assert [each[7] for each in found.values()] == [each[7] for each in expected.values()]
            assert without_times(found) == without_times(expected)
        else:
            assert without_times(found) == without_times(read_only(expected))


@pytest.mark.skipif(not IS_ROOT, reason="owners and devices need root")
def test_attributes_of_all_kinds(client: Client, tmp_path: Path) -> None:
    image = build_image(tree_layers())
    write_files(tmp_path / "layout", layout_files({"x": image}))
    address = f"oci:{tmp_path / 'layout'}:x"
    client.unpack(address, tmp_path / "plain")
    client.unpack(address, tmp_path / "copy", cache="copy")
    expected, found = describe(tmp_path / "plain"), describe(tmp_path / "copy")
    assert without_times(found) == without_times(expected)


def test_sparse_files_keep_their_holes(client: Client, tmp_path: Path) -> None:
    header = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "900003"}
    stored = b"1\n900000\n3\n".ljust(512, b"\0") + b"end"
    layer = tar((member("sparse", pax_headers=header), stored))
    write_files(tmp_path / "layout", layout_files({"x": build_image([layer])}))
    for cache in ("copy", "link"):
        client.unpack(f"oci:{tmp_path / 'layout'}:x", tmp_path / cache, cache=cache)
        file = tmp_path / cache / "sparse"
        assert file.read_bytes() == bytes(900_000) + b"end"
        assert file.stat().st_blocks * 512 < 100_000


def test_copies_are_files_of_their_own_and_links_are_not(
    client: Client, layout: str, tmp_path: Path, cache: Path
) -> None:
    for way, links in (("copy", 1), ("link", 2)):
        client.unpack(layout, tmp_path / way, cache=way)
        about = (tmp_path / way / "opaque" / "new").stat()
        assert (about.st_nlink, bool(about.st_mode & 0o222)) == (links, way == "copy")
    # Files with other owners or attributes are others.
    client.unpack(layout, tmp_path / "owners", cache="link", keep_owners=True)
    assert len(list(cache.iterdir())) == 3 * len(CACHED)
    assert (tmp_path / "owners" / "opaque" / "new").stat().st_nlink == 2


def test_a_layer_in_the_cache_is_not_fetched(
    client: Client, fake: FakeRegistry, tmp_path: Path
) -> None:
    shared, first, second = (tar_layer({name: name.encode()}) for name in ("a", "b", "c"))
    fake.add_image("app", build_image([shared, first]), "1")
    image = build_image([shared, second])
    fake.add_image("app", image, "2")
    layers = [each.digest for each in image.layers]

    def fetched(name: str) -> list[str]:
        fake.requests.clear()
        client.unpack(f"{fake.host}/app:{name}", tmp_path / "root", cache="copy", replace=True)
        paths = [each.path for each in fake.requests]
        return [layer for layer in layers if any(path.endswith(layer) for path in paths)]

    assert fetched("1") == layers[:1]
    assert fetched("2") == layers[1:]
    assert sorted(each.name for each in (tmp_path / "root").iterdir()) == ["a", "c"]
    assert fetched("2") == []


def test_layers_without_diff_ids_are_unpacked_themselves(
    client: Client, fake: FakeRegistry, tmp_path: Path, cache: Path
) -> None:
    for layer in OLD.layers:
        fake.add_blob(layer)
    fake.add_manifest("old", OLD.manifest.data, OLD.manifest.media_type, "1", digest=OLD.digest)
    for name, way in (("plain", None), ("cached", "copy")):
        client.unpack(f"{fake.host}/old:1", tmp_path / name, cache=way)
    assert without_times(describe(tmp_path / "cached")) == without_times(
        describe(tmp_path / "plain")
    )
    assert list(cache.iterdir()) == []


def test_a_fill_that_fails_leaves_nothing(
    client: Client, fake: FakeRegistry, layout: str, tmp_path: Path, cache: Path
) -> None:
    image = build_image([tar_layer({"big": bytes(300_000)})], compression="none")
    fake.add_image("app", image, "1")
    fake.faults.append(Fault(Corrupt(2000), path=f"/blobs/{image.layers[0].digest}"))
    with pytest.raises(IntegrityError):
        client.unpack(f"{fake.host}/app:1", tmp_path / "root", cache="copy")
    with pytest.raises(UnsafeArchive) as caught:
        client.unpack(layout, tmp_path / "root", cache="copy", max_size=50)
    assert caught.value.hint == "allow more with --max-size"
    with pytest.raises(UnsafeArchive) as caught:
        client.unpack(layout, tmp_path / "root", cache="copy", max_files=5)
    assert caught.value.hint == "allow more with --max-files"
    assert list(cache.iterdir()) == []
    assert not (tmp_path / "root").exists()


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_an_owner_without_a_range(client: Client, layout: str, tmp_path: Path) -> None:
    ranges = [(0, 1000, 5)]
    with pytest.raises(Unsupported, match="owned/file: no range of the map has the user 7"):
        client.unpack(layout, tmp_path / "root", cache="link", uid_map=ranges, gid_map=ranges)


def test_two_at_once(client: Client, layout: str, tmp_path: Path, cache: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        done = [
            threads.submit(client.unpack, layout, tmp_path / name, cache="copy") for name in "ab"
        ]
        for each in done:
            each.result()
    assert without_times(describe(tmp_path / "a")) == without_times(describe(tmp_path / "b"))
    assert len(list(cache.iterdir())) == len(CACHED)


@pytest.mark.parametrize("way", ["copy", "link"])
@pytest.mark.parametrize("damage", ["a file is gone", "a file is cut off", "the list"])
def test_damage_is_found(
    client: Client, layout: str, tmp_path: Path, cache: Path, way: str, damage: str
) -> None:
    client.unpack(layout, tmp_path / "first", cache=way)
    for layer in cache.iterdir():
        if damage == "the list":
            (layer / "entries").write_bytes(b"[1]\n")
        for file in layer.glob("[0-9]*"):
            if damage == "a file is gone":
                file.unlink()
            elif damage == "a file is cut off":
                file.chmod(0o600)
                os.truncate(file, 0)
    if (way, damage) == ("link", "a file is cut off"):
        return  # links are not read
    with pytest.raises(IntegrityError, match=r"layer sha256.*the cached layer is damaged"):
        client.unpack(layout, tmp_path / "second", cache=way)


def test_a_cache_that_others_can_use_is_refused(
    client: Client, layout: str, tmp_path: Path, cache: Path
) -> None:
    client.unpack(layout, tmp_path / "first", cache="copy")
    cache.chmod(0o755)
    with pytest.raises(StoreError, match="not private"):
        client.unpack(layout, tmp_path / "second", cache="copy")


def test_links_need_one_file_system(client: Client, layout: str) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        place = Path(other)
        client.store.path.mkdir(exist_ok=True)
        if place.stat().st_dev == client.store.path.stat().st_dev:
            pytest.skip("there is one file system only")
        client.unpack(layout, place / "copy", cache="copy")
        assert without_times(describe(place / "copy"))[b"/etc/passwd"][5] == b"root:x:0:0:root\n"
        with pytest.raises(StoreError, match="file system of the store") as caught:
            client.unpack(layout, place / "link", cache="link")
        assert "--cache=copy" in caught.value.hint
        assert not (place / "link").exists()


def test_gc_and_df(client: Client, fake: FakeRegistry, tmp_path: Path, cache: Path) -> None:
    fake.add_image("app", build_image(CACHED, compression="gzip"), "1")
    name = f"{fake.host}/app:1"
    client.pull(name)
    client.unpack(f"store:{name}", tmp_path / "root", cache="copy")
    before = client.store.usage()
    assert (before.unpacked, before.unpacked_size > 70_000) == (len(CACHED), True)
    assert (before.reclaimable, client.store.gc().unpacked) == (0, 0)
    assert client.store.check().problems == []

    client.store.untag(name)
    used = min(cache.iterdir())
    (cache / ".wherry-0123456789abcdef.part").mkdir()
    with locked(used):
        assert client.store.gc(dry_run=True).unpacked == len(CACHED)  # all but one, and a left-over
        assert len(list(cache.iterdir())) == len(CACHED) + 1
        found = client.store.gc()
        assert (found.unpacked, found.unpacked_size > 0) == (len(CACHED), True)
        assert list(cache.iterdir()) == [used]
    assert client.store.usage().reclaimable > 0
    assert client.store.gc().unpacked == 1
    assert list(cache.iterdir()) == []


def test_the_command(wherry: Wherry, layout: str, tmp_path: Path) -> None:
    done = wherry("unpack", "--cache", layout, str(tmp_path / "a"))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    wrong = wherry("unpack", "--cache=all", layout, str(tmp_path / "d"))
    assert wrong.returncode == 2
    assert f"{len(CACHED)} unpacked layers" in wherry("gc").stdout


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Use a directory of the cache as another process does."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


# Overlays


def unmount(directory: Path) -> None:
    subprocess.run(["umount", directory], check=True)


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts")
def test_an_overlay(client: Client, layout: str, tmp_path: Path) -> None:
    client.unpack(layout, tmp_path / "plain")
    expected = without_times(describe(tmp_path / "plain"))
    root = tmp_path / "a,b:c"
    try:
        client.unpack(layout, root, cache="overlay")
    except Unsupported as error:
        pytest.skip(str(error))
    try:
        assert without_times(describe(root)) == expected
        (root / "etc" / "passwd").write_text("changed", encoding="utf-8")
        (root / "user").unlink()
        with pytest.raises(StoreError, match="mounted") as caught:
            client.unpack(layout, root, replace=True)
        assert caught.value.hint == f"umount {root}"
    finally:
        unmount(root)
    assert sorted(each.name for each in root.iterdir()) == ["lower", "upper", "work"]
    assert (root / "upper" / "etc" / "passwd").read_text() == "changed"
    # The cache is unchanged.
    client.unpack(layout, root, cache="overlay", replace=True)
    try:
        assert without_times(describe(root)) == expected
    finally:
        unmount(root)


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts")
def test_an_image_cannot_direct_an_overlay_to_other_files(client: Client, tmp_path: Path) -> None:
    redirect = {"SCHILY.xattr.trusted.overlay.redirect": "/other", "SCHILY.xattr.user.k": "v"}
    layer = tar(member("d", tarfile.DIRTYPE, mode=0o755, pax_headers=redirect))
    write_files(tmp_path / "layout", layout_files({"x": build_image([layer])}))
    root = tmp_path / "root"
    try:
        client.unpack(f"oci:{tmp_path / 'layout'}:x", root, cache="overlay")
    except Unsupported as error:
        pytest.skip(str(error))
    unmount(root)
    assert os.listxattr(root / "lower" / "d") == ["user.k"]


def test_who_may_not_mount_is_told(client: Client, layout: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wherry", "--store", str(tmp_path / "store"), "unpack"]
    command += ["--cache=overlay", layout, str(tmp_path / "root")]
    if IS_ROOT:  # root that may not mount, as in a container
        command = ["setpriv", "--bounding-set=-sys_admin", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert ("may not mount" if IS_ROOT else "only root mounts") in done.stderr
    assert "--cache=link" in done.stderr
    assert not (tmp_path / "root").exists()
    assert not list(tmp_path.glob(".wherry*"))
    with pytest.raises(ValueError, match="cannot be an overlay"):
        client.unpack(layout, tmp_path / "root", bundle=True, cache="overlay")
