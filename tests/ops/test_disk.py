"""Stores on full and read-only disks, of another user, and on several file systems."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.errors import StoreError, StoreFull
from wherry.image_store import local_store
from wherry.model.digest import Digest
from wherry.ops.listing import Filters, list_lines
from wherry.store import reserve
from wherry.store.os_errors import translate_os_errors
from wherry.testing import FakeRegistry, SilentPort, build_image, pseudo_random_files, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Wherry

BIG = build_image(
    [tar_layer(pseudo_random_files(40 + n, size, 2)) for n, size in enumerate((3_000_000, 200_000))]
)
LAYER = BIG.layers[0]
SMALL = build_image([tar_layer({"a": b"a"})])
KEPT = {".part", ".db", ".db-wal", ".db-shm", ".lock", ".reserve"}


def read_only(place: Path) -> None:
    """Remount; a thread that has just ended may still be closing its file."""
    command = ["mount", "-o", "remount,ro", str(place)]
    for _ in range(50):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(command, check=True)


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", BIG, "t")
    return f"{fake.host}/app:t"


def failed(wherry: Wherry, *arguments: str, says: str) -> str:
    """Run a command that fails with one line, and return its hint."""
    done = wherry(*arguments)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    first, *hints = done.stderr.splitlines()
    assert first.startswith("wherry: ")
    assert says in first
    assert all(hint.startswith("  ") for hint in hints)
    return " ".join(hints)


def leftovers(store: Path) -> list[str]:
    """Return the files of a store besides blobs, parts and the database."""
    return [
        str(path.relative_to(store))
        for path in store.rglob("*")
        if path.is_file()
        and path.parts[len(store.parts)] != "blobs"
        and path.suffix not in KEPT
        and not path.name.startswith(".")
    ]


def asked(fake: FakeRegistry) -> list[str | None]:
    return [r.headers.get("range") for r in fake.requests if LAYER.digest in r.path]


def test_a_full_disk(
    wherry: Wherry, fake: FakeRegistry, name: str, mount: Callable[..., Path], store: library.Store
) -> None:
    store.close()
    place = mount("store", "1m")
    # Either the blob or the database may find no room.
    hint = failed(wherry, "pull", "-q", name, says=str(place))
    assert "make room" in hint
    part = place / "ingest" / f"{LAYER.digest.replace(':', '-')}.part"
    kept = part.stat().st_size if part.exists() else 0
    assert kept > 0
    assert leftovers(place) == []
    # No mirror is asked after that, and there is no retry.
    assert asked(fake) == [None]
    subprocess.run(["mount", "-o", "remount,size=20m", str(place)], check=True)
    done = wherry("pull", "-q", name)
    assert (done.returncode, done.stdout) == (0, f"{BIG.id}\n")
    assert asked(fake) == [None, f"bytes={kept}-"]


def fill(place: Path, free: int) -> None:
    """Leave ``free`` bytes of a file system."""
    with (place / "ballast").open("wb", buffering=0) as file:
        for _ in range(3):  # space that was freed may return late
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            time.sleep(0.02)
        file.truncate(file.tell() - free)


def many_images(store: library.Store, count: int) -> None:
    """Put documents with two small blobs each into a store, without names."""
    with local_store(store).ingest() as ingest, ingest.db.write() as connection:
        directory = store.path / "blobs" / "sha256"
        directory.mkdir(parents=True)
        for number in range(count):
            parts = [f"{number} {part}".encode() for part in range(3)]
            manifest, *children = [str(Digest.of(data)) for data in parts]
            for digest, data in zip((manifest, *children), parts, strict=True):
                (directory / digest.partition(":")[2]).write_bytes(data)
                connection.execute("INSERT INTO blobs VALUES (?, 5, NULL, NULL)", (digest,))
            connection.execute("INSERT INTO documents VALUES (?, ?, 'x')", (manifest, manifest))
            connection.executemany(
                "INSERT INTO edges VALUES (?, ?, 1)", [(manifest, child) for child in children]
            )
    store.close()


@pytest.mark.parametrize("kind", ["images", "blobs"])
@pytest.mark.parametrize("free", [56, 64, 96, 128, 192])
def test_a_disk_that_is_nearly_full_is_collected(
    mount: Callable[..., Path], store: library.Store, free: int, kind: str
) -> None:
    """The database's log grows with each removal, so space is freed step by step."""
    place = mount("store", "20m")
    many_images(store, 600)
    if kind == "blobs":
        with local_store(store).ingest() as ingest, ingest.db.write() as connection:
            connection.execute("DELETE FROM documents")
            connection.execute("DELETE FROM edges")
        store.close()
    (place / reserve.FILE).unlink()
    fill(place, free * 1024)
    found = store.gc()
    assert (len(set(found.digests)), len(found.digests)) == (1800, 1800)
    assert not list((place / "blobs" / "sha256").iterdir())
    with local_store(store).ingest() as ingest, ingest.db.read() as connection:
        assert connection.execute("SELECT count(*) FROM blobs").fetchone() == (0,)


def test_a_store_that_was_opened_while_the_disk_was_full(
    client: library.Client, fake: FakeRegistry, mount: Callable[..., Path], store: library.Store
) -> None:
    fake.add_image("small", SMALL, "t")
    name = f"{fake.host}/small:t"
    place = mount("store", "2m")
    client.pull(name)
    store.close()
    fill(place, 0)
    assert store.images()
    with pytest.raises(StoreFull, match="no space left"):
        store.tag(name, "mine")
    (place / "ballast").unlink()
    store.tag(name, "mine")
    assert [
        name
        for name, *_ in list_lines(local_store(store), Filters.build(local_store(store), ["mine"]))
    ] == ["docker.io/library/mine:latest"]


def test_a_broken_download_on_a_disk_that_cannot_be_written(
    client: library.Client, fake: FakeRegistry, mount: Callable[..., Path], store: library.Store
) -> None:
    fake.add_image("small", SMALL, "t")
    place = mount("store", "2m")
    client.pull(f"{fake.host}/small:t")
    store.close()
    (place / "ingest" / f"sha256-{'0' * 64}.part").write_bytes(bytes(1000))
    read_only(place)
    assert store.usage().parts == 1
    with pytest.raises(StoreError, match="cannot be written"):
        store.gc()


@pytest.mark.timeout(20)
def test_a_store_that_does_not_open_waits_for_no_registry(tmp_path: Path) -> None:
    """The request to the registry runs at the same time, and is abandoned."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "wherry.db").write_bytes(b"no database" * 1000)
    with SilentPort() as port, library.Client(store=store) as client:
        with pytest.raises(StoreError, match="database"):
            client.pull(f"{port.host}/small:t")
        for thread in threading.enumerate():
            if thread.name.startswith("wherry-"):
                thread.join()


def test_a_full_disk_can_be_listed_and_freed_of_broken_downloads(
    wherry: Wherry, fake: FakeRegistry, mount: Callable[..., Path], store: library.Store
) -> None:
    store.close()
    fake.add_image("small", SMALL, "t")
    place = mount("store", "2m")
    assert wherry("pull", "-q", f"{fake.host}/small:t").returncode == 0
    (place / "ingest" / f"sha256-{'0' * 64}.part").write_bytes(bytes(100_000))
    fill(place, 0)
    assert SMALL.id[7:19] in wherry("images").stdout
    assert "no space left" in wherry("rm", f"{fake.host}/small:t").stderr
    done = wherry("gc")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 unfinished transfer" in done.stdout
    assert wherry("rm", f"{fake.host}/small:t").returncode == 0


@pytest.mark.parametrize("opened", [False, True], ids=["closed", "open elsewhere"])
@pytest.mark.parametrize("how", ["gc", "rm"])
def test_a_disk_without_any_room_is_collected(
    wherry: Wherry,
    fake: FakeRegistry,
    mount: Callable[..., Path],
    store: library.Store,
    how: str,
    *,
    opened: bool,
) -> None:
    store.close()
    place = mount("store", "20m")
    fake.add_image("small", SMALL, "t")
    fake.add_image("big", BIG, "t")
    for name in ("small", "big"):
        assert wherry("pull", "-q", f"{fake.host}/{name}:t").returncode == 0
    if how == "gc":
        wherry("untag", f"{fake.host}/big:t")
    if opened:
        assert store.images()
    fill(place, 0)
    laid = (place / reserve.FILE).stat()
    refused = failed(wherry, "tag", f"{fake.host}/small:t", "mine", says="no space left")
    assert "wherry gc" in refused
    done = wherry("gc") if how == "gc" else wherry("rm", f"{fake.host}/big:t")
    assert (done.returncode, done.stderr) == (0, "")
    assert BIG.id in done.stdout
    for digest in (BIG.id, LAYER.digest):
        assert not (place / "blobs" / "sha256" / digest.removeprefix("sha256:")).exists()
    # There is too little room for a new reserve; later there is enough. (A page that the
    # system frees late may have been enough: then the old reserve is still there.)
    with contextlib.suppress(FileNotFoundError):
        assert os.path.samestat((place / reserve.FILE).stat(), laid)
    (place / "ballast").unlink()
    assert wherry("gc").returncode == 0
    assert (place / reserve.FILE).stat().st_size == reserve.SIZE
    assert wherry("fsck").returncode == 0


def test_errors_on_a_full_disk_say_what_helps(
    wherry: Wherry,
    fake: FakeRegistry,
    mount: Callable[..., Path],
    store: library.Store,
    tmp_path: Path,
) -> None:
    store.close()
    fake.add_image("small", SMALL, "t")
    place = mount("store", "2m")  # too little for a reserve
    name = f"{fake.host}/small:t"
    assert wherry("pull", "-q", name).returncode == 0
    assert not (place / reserve.FILE).exists()
    (tmp_path / "tar").write_bytes(tar_layer({"b": b"b"}))
    fill(place, 0)
    changes: list[tuple[str, ...]] = [
        ("tag", name, "mine"),
        ("untag", name),
        ("import", str(tmp_path / "tar"), "x"),
    ]
    for change in changes:
        assert "nothing was" in failed(wherry, *change, says="no space left")
    removals: list[tuple[str, ...]] = [("gc",), ("rm", name)]
    for removal in removals:
        assert "128 KB" in failed(wherry, *removal, says="no space left")
    assert name.removesuffix(":t") in wherry("images").stdout
    (place / "ballast").unlink()
    assert wherry("rm", name).returncode == 0


def test_a_disk_that_is_full_from_the_start(
    wherry: Wherry, name: str, mount: Callable[..., Path], store: library.Store
) -> None:
    store.close()
    place = mount("store", "1m")
    (place / "ballast").write_bytes(bytes(2**20 - 4096 * 3))
    failed(wherry, "pull", "-q", name, says=str(place))
    (place / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(place)], check=True)
    assert wherry("pull", "-q", name).stdout == f"{BIG.id}\n"


def test_a_disk_that_fills_up_while_names_are_set(
    wherry: Wherry, fake: FakeRegistry, mount: Callable[..., Path], store: library.Store
) -> None:
    """No name points at a missing blob, wherever the space ends."""
    store.close()
    fake.add_image("small", SMALL, "t")
    name = f"{fake.host}/small:t"
    place = mount("store", "1m")
    assert wherry("images").returncode == 0
    for room in range(0, 60, 6):
        ballast = place / "ballast"
        ballast.unlink(missing_ok=True)
        free = os.statvfs(place).f_bavail
        ballast.write_bytes(bytes(max(0, free - room) * 4096))
        done = wherry("pull", "-q", name)
        if done.returncode == 0:
            break
        assert done.returncode == 1
        assert done.stderr.startswith("wherry: ")
        assert "internal error" not in done.stderr
    ballast.unlink()
    assert wherry("pull", "-q", name).stdout == f"{SMALL.id}\n"
    assert wherry("validate", f"store:{name}").returncode == 0


def test_a_read_only_disk(
    wherry: Wherry, fake: FakeRegistry, name: str, mount: Callable[..., Path], store: library.Store
) -> None:
    store.close()
    fake.add_image("small", SMALL, "t")
    place = mount("store", "20m")
    assert wherry("pull", "-q", f"{fake.host}/small:t").returncode == 0
    read_only(place)
    before = len(fake.requests)
    assert "--store" in failed(wherry, "pull", "-q", name, says="cannot be written")
    assert len(fake.requests) == before
    assert "small" in wherry("images").stdout
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
    assert wherry("pull", "-q", name).stdout == f"{BIG.id}\n"


@pytest.mark.parametrize("part", ["blobs", "ingest"])
def test_a_store_of_two_file_systems_is_refused(
    wherry: Wherry,
    fake: FakeRegistry,
    name: str,
    mount: Callable[..., Path],
    store: library.Store,
    part: str,
) -> None:
    with local_store(store).ingest():
        pass  # so that there is a database
    store.close()
    place = mount(f"store/{part}", "20m")
    hint = failed(wherry, "pull", "-q", name, says="ross-device link")
    assert "one file system" in hint
    assert asked(fake) == []  # the error comes before any request
    assert not list((place.parent / "blobs").rglob("sha256/*"))


def test_a_store_on_another_file_system_than_the_rest(
    wherry: Wherry, name: str, mount: Callable[..., Path], tmp_path: Path
) -> None:
    """No data goes through TMPDIR or the home directory."""
    place = mount("elsewhere", "20m")
    nowhere = str(tmp_path / "nowhere")
    done = wherry("--store", str(place / "s"), "pull", "-q", name, env={"TMPDIR": nowhere})
    assert (done.returncode, done.stdout) == (0, f"{BIG.id}\n")
    assert not Path(nowhere).exists()


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EFBIG, "make room"),
        (errno.EACCES, "WHERRY_STORE"),
        (errno.EROFS, "WHERRY_STORE"),
        (errno.EXDEV, "one file system"),
        (errno.EIO, ""),
    ],
)
def test_errors_of_the_file_system_have_hints(number: int, hint: str, tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "f"))

    with pytest.raises(StoreError) as caught, translate_os_errors(tmp_path):
        fail()
    assert isinstance(caught.value, StoreFull) == (hint == "make room")
    assert str(tmp_path / "f") in str(caught.value)
    assert os.strerror(number) in caught.value.message
    assert hint in caught.value.hint
    assert bool(caught.value.hint) == bool(hint)
