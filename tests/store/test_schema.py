"""Versions of the database, and stores that belong to another user."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.errors import StoreError
from wherry.image_store import local_store
from wherry.model.descriptor import Descriptor
from wherry.store.schema import VERSION
from wherry.store.v1_ids import V1Id
from wherry.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = build_image([tar_layer({"a": b"1"})])
NOBODY = 65534

# The tables of version 1 of the database. They must not change.
VERSION_1 = """
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, diff_id TEXT,
    raw_size INTEGER) WITHOUT ROWID;
CREATE TABLE documents (digest TEXT PRIMARY KEY, known_as TEXT NOT NULL, media_type TEXT NOT NULL)
    WITHOUT ROWID;
CREATE INDEX documents_by_name ON documents (known_as);
CREATE TABLE edges (parent TEXT NOT NULL, child TEXT NOT NULL, wanted INTEGER NOT NULL,
    PRIMARY KEY (parent, child)) WITHOUT ROWID;
CREATE TABLE images (manifest TEXT PRIMARY KEY, id TEXT NOT NULL, platform TEXT NOT NULL,
    created TEXT NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX images_by_id ON images (id);
CREATE TABLE refs (name TEXT PRIMARY KEY, root TEXT NOT NULL, manifest TEXT NOT NULL,
    updated INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX refs_by_root ON refs (root);
CREATE TABLE provenance (digest TEXT NOT NULL, repository TEXT NOT NULL, seen INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)) WITHOUT ROWID;
CREATE TABLE leases (lease TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (lease, digest))
    WITHOUT ROWID;
PRAGMA user_version=1;
"""
# What version 2 added.
VERSION_2 = """
ALTER TABLE refs ADD COLUMN kept INTEGER NOT NULL DEFAULT 1;
CREATE INDEX refs_by_manifest ON refs (manifest);
PRAGMA user_version=2;
"""
# What version 3 added.
VERSION_3 = """
CREATE TABLE packed (source TEXT NOT NULL, compression TEXT NOT NULL, digest TEXT NOT NULL,
    size INTEGER NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (source, compression)) WITHOUT ROWID;
PRAGMA user_version=3;
"""
TABLES = ("blobs", "documents", "edges", "images", "provenance")
old_version = pytest.mark.parametrize("old", [1, 2, 3])


def make_old(path: Path, number: int = 1) -> None:
    """Convert a store to an older version of the database, with the same content."""
    new = path / "wherry.db"
    old = path / "old.db"
    with sqlite3.connect(old) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(VERSION_1)
        connection.execute("ATTACH ? AS new", (str(new),))
        for table in TABLES:
            connection.execute(f"INSERT INTO {table} SELECT * FROM new.{table}")  # noqa: S608
        connection.execute("INSERT INTO refs SELECT name, root, manifest, updated FROM new.refs")
        if number > 1:
            connection.executescript(VERSION_2)
            connection.execute(
                "UPDATE refs SET kept = (SELECT kept FROM new.refs AS each"
                " WHERE each.name = refs.name)"
            )
        if number > 2:
            connection.executescript(VERSION_3)
    connection.close()
    old.replace(new)


def version(path: Path, name: str = "wherry.db") -> int:
    with sqlite3.connect(path / name) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return found


@pytest.fixture
def name(fake: FakeRegistry, client: library.Client, store: library.Store) -> str:
    fake.add_image("team/app", IMAGE, "t")
    found = f"{fake.host}/team/app:t"
    client.pull(found)
    store.close()
    return found


@old_version
def test_an_older_store_is_migrated(store: library.Store, name: str, old: int) -> None:
    make_old(store.path, old)
    assert version(store.path) == old
    assert str(store.get(name).id) == IMAGE.id
    store.tag(name, "mine")
    store.untag(name)
    store.gc()
    assert str(store.get("mine").id) == IMAGE.id
    store.close()
    assert version(store.path) == VERSION


@old_version
def test_an_older_store_takes_new_facts(store: library.Store, name: str, old: int) -> None:
    assert name
    make_old(store.path, old)
    layer = Descriptor.of(IMAGE.layers[0].data, "")
    local = local_store(store)
    assert local.find_packed(layer.digest, "gzip:6") is None
    local.record_packed(layer.digest, "gzip:6", layer)
    assert local.find_packed(layer.digest, "gzip:6") == layer
    assert local.v1_layers("v1.example.com", ["a" * 64]) == {}
    local.record_v1_ids("v1.example.com", [V1Id("a" * 64, "", layer.digest)])
    assert local.v1_layers("v1.example.com", ["a" * 64]) == {"a" * 64: layer.digest}
    assert [*local.provenance_of([layer.digest])] == [layer.digest]


@old_version
def test_an_older_store_is_rebuilt(store: library.Store, name: str, old: int) -> None:
    make_old(store.path, old)
    assert store.rebuild().names == 2
    assert str(store.get(name).id) == IMAGE.id
    store.close()
    assert version(store.path) == VERSION
    assert version(store.path, "wherry.db.damaged") == old


def test_processes_may_migrate_a_store_at_once(store: library.Store, name: str) -> None:
    make_old(store.path)
    command = [sys.executable, "-m", "wherry", "--store", str(store.path), "show", name]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        shown, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")
        assert IMAGE.id in shown
    assert version(store.path) == VERSION


def test_a_newer_store_is_refused_and_left_alone(store: library.Store, name: str) -> None:
    with sqlite3.connect(store.path / "wherry.db") as connection:
        connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=f"has version {VERSION + 1}.*up to {VERSION}") as caught:
        store.get(name)
    assert "newer wherry" in caught.value.hint
    with pytest.raises(StoreError, match="has version"):
        store.gc()
    assert version(store.path) == VERSION + 1


# Stores of another user

READ = """
import os, sys
import sqlite3, tempfile, shutil, urllib.parse  # a user may not see an interpreter of root's
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
import wherry
from wherry.image_store import local_store
from wherry.model.descriptor import Descriptor
store = wherry.Store(sys.argv[1])
image = store.get(sys.argv[2])
print(image.id, image.config.os, [name for name, _, _ in local_store(store).named_images()])
for change in (store.gc, lambda: store.tag(sys.argv[2], "mine"), lambda: store.remove(sys.argv[2])):
    try:
        change()
    except wherry.StoreError as error:
        print(error)
local = local_store(store)  # a push goes on without what it would record
local.record_provenance("registry.example.com/app", [image.digest])
with local.upload_sessions() as sessions:
    sessions.save("registry.example.com/app", image.digest, "https://registry.example.com/1")
    sessions.forget("registry.example.com/app", image.digest)
assert sessions.load("registry.example.com/app", image.digest) is None
assert local.provenance_of([image.digest]) == {{}}
store.close()
"""


@pytest.fixture
def visible(store: library.Store, name: str) -> Iterator[library.Store]:
    """Yield a copy of the store in a directory that other users can read."""
    assert name
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        shutil.copytree(store.path, Path(directory) / "store")
        copy = library.Store(Path(directory) / "store")
        yield copy
        copy.close()


def read_as_nobody(store: library.Store, name: str) -> list[str]:
    # Another user may have no access to this checkout, and gets a copy of the library.
    source = store.path.parent / "source"
    shutil.copytree(Path(library.__file__).parent, source / "wherry")
    result = subprocess.run(
        [sys.executable, "-c", READ.format(uid=NOBODY), str(store.path), name],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
    )
    assert result.stderr == ""
    shown, *refusals = result.stdout.splitlines()
    assert len(refusals) == 3
    assert all("cannot be written" in refusal for refusal in refusals)
    assert shown.startswith(f"{IMAGE.id} linux [")
    return [*shown.partition("[")[2].split("'")[1::2]]


as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


@as_root
def test_a_store_of_another_owner_can_be_read(visible: library.Store, name: str) -> None:
    assert name in read_as_nobody(visible, name)


@as_root
def test_a_store_in_use_by_its_owner_is_read_with_its_log(
    visible: library.Store, name: str
) -> None:
    """The last changes are in a log beside the database."""
    visible.tag(name, "new:1")  # the connection stays open, and the log with it
    assert "docker.io/library/new:1" in read_as_nobody(visible, name)


@as_root
def test_a_store_of_a_killed_process_is_read_with_its_log(
    visible: library.Store, name: str
) -> None:
    visible.tag(name, "new:1")
    # As after a crash: there is a log without its index.
    left = visible.path.with_name("left")
    shutil.copytree(visible.path, left, ignore=shutil.ignore_patterns("*-shm"))
    assert (left / "wherry.db-wal").stat().st_size
    assert "docker.io/library/new:1" in read_as_nobody(library.Store(left), name)
    assert sorted(path.name for path in left.glob("wherry.db*")) == ["wherry.db", "wherry.db-wal"]


@as_root
@old_version
def test_an_older_store_of_another_owner_can_be_read(
    visible: library.Store, name: str, old: int
) -> None:
    make_old(visible.path, old)
    assert name in read_as_nobody(visible, name)
    assert version(visible.path) == old


@as_root
def test_a_database_that_only_its_owner_can_write_can_be_read(
    visible: library.Store, name: str
) -> None:
    visible.path.chmod(0o775)  # the other user keeps root's group
    assert name in read_as_nobody(visible, name)


@as_root
@pytest.mark.usefixtures("environment")
def test_files_that_root_creates_belong_to_the_owner(
    fake: FakeRegistry,
) -> None:
    fake.add_image("team/app", IMAGE, "t")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store"
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
        sqlite3.connect(path / "wherry.db").close()
        os.chown(path / "wherry.db", NOBODY, NOBODY)
        store = library.Store(path)
        with library.Client(store=store) as client:
            client.pull(f"{fake.host}/team/app:t")
        with local_store(store).ingest():
            assert [each for each in path.rglob("*") if each.stat().st_uid != NOBODY] == []
        store.rebuild()
        assert [each for each in path.rglob("*") if each.stat().st_uid != NOBODY] == []
        store.close()


@as_root
@pytest.mark.usefixtures("environment")
def test_a_directory_that_root_has_just_made_is_given_to_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    for content in (b"x", b"y"):
        with library.Store(path) as store, library.Client(store=store) as client:
            client.import_(io.BytesIO(tar_layer({"a": content})), "mine:1")
        assert [each for each in path.rglob("*") if each.stat().st_uid != NOBODY] == []
        # As if another thread were between the two system calls that make a directory.
        os.chown(path / "blobs" / "sha256", 0, 0)


@as_root
@pytest.mark.parametrize("planted", ["wherry.lock", "names.new", "names.lock"])
def test_root_does_not_follow_links_in_a_store(
    client: library.Client, store: library.Store, tmp_path: Path, planted: str
) -> None:
    other = tmp_path / "other"
    other.write_text("not of the store")
    store.path.mkdir()
    link = store.path / planted
    link.symlink_to(other)
    os.chown(store.path, NOBODY, NOBODY)
    with contextlib.suppress(StoreError):
        client.import_(io.BytesIO(), "mine")
    assert other.read_text() == "not of the store"
    assert other.stat().st_uid == 0
