"""Garbage collection: it removes what no name and no operation keeps."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from stored_images import names
from tagged_images import BASE, FIRST, SECOND, all_of, blobs, tags
from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.content.streams import blob_of
from wherry.errors import NotFound, StoreError
from wherry.image_store import local_store
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.store import LocalStore, gc
from wherry.testing import BuiltIndex, FakeRegistry, build_image, build_index, tar_layer

if TYPE_CHECKING:
    import wherry as library


def test_gc_keeps_named_images(store: library.Store, client: library.Client, host: str) -> None:
    client.pull(f"{host}:1")
    before = blobs(store)
    assert store.gc() == gc.GarbageReport([], 0, [])
    assert blobs(store) == before
    assert len(names(store)) == 2


def test_a_tag_that_moves_leaves_the_old_image_to_gc(
    store: library.Store, client: library.Client, fake: FakeRegistry, host: str
) -> None:
    client.pull(f"{host}:latest")
    fake.add_image("team/app", SECOND, "latest")
    client.pull(f"{host}:latest")
    assert all_of(FIRST) <= blobs(store)
    planned = store.gc(dry_run=True)
    assert all_of(FIRST) <= blobs(store)
    assert store.gc().replace(digests=sorted(planned.digests)) == planned.replace(
        digests=sorted(planned.digests)
    )
    assert blobs(store) == all_of(SECOND)
    assert names(store) == sorted([f"{host}:latest", f"{host}@{SECOND.digest}"])


def test_an_image_pulled_by_digest_stays(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}@{FIRST.digest}")
    client.pull(f"{host}:1")
    store.untag(f"{host}:1")
    store.gc()
    assert all_of(FIRST) <= blobs(store)
    store.remove(f"{host}@{FIRST.digest}")
    assert blobs(store) == set()


def test_gc_removes_files_without_a_row(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    stray = "ab" * 32
    (store.path / "blobs" / "sha256" / stray).write_bytes(b"left by a crash")
    found = store.gc()
    assert (found.digests, found.size) == ([f"sha256:{stray}"], 15)
    assert all_of(FIRST) <= blobs(store)


def test_gc_deletes_rows_without_a_file(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    store.untag(f"{host}:1")
    for digest in blobs(store):
        (store.path / "blobs" / digest.replace(":", "/")).unlink()
    store.gc()
    with sqlite3.connect(store.path / "wherry.db") as connection:
        for table in ("blobs", "documents", "edges", "images", "refs", "provenance", "leases"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table  # noqa: S608


def put(store: library.Store, data: bytes) -> str:
    descriptor = Descriptor.of(data, "")
    with local_store(store).ingest() as ingest:
        ingest.put(blob_of(descriptor, data), cancel=CancelToken(), on_bytes=lambda _: None)
    return str(descriptor.digest)


def test_blobs_of_a_running_operation_stay(store: library.Store) -> None:
    found = put(store, b"found")
    with local_store(store).ingest() as ingest:
        assert ingest.has(Descriptor.of(b"found", ""))
        ingest.put_bytes(Descriptor.of(b"new", ""), b"new", CancelToken())
        assert store.gc().digests == []
        assert blobs(store) == {found, str(Digest.of(b"new"))}
    assert set(store.gc().digests) == {found, str(Digest.of(b"new"))}


def test_an_image_that_is_being_read_stays(
    store: library.Store, client: library.Client, host: str
) -> None:
    image = client.pull(f"{host}:1")
    with local_store(store).hold(image.digest):
        store.remove(f"{host}:1")
        store.gc()
        assert all_of(FIRST) <= blobs(store)
    store.gc()
    assert blobs(store) == set()


def test_a_file_without_a_row_gets_one_when_it_is_found(
    store: library.Store,
) -> None:
    digest = put(store, b"content")
    with sqlite3.connect(store.path / "wherry.db") as connection:
        connection.execute("DELETE FROM blobs")
    connection.close()
    put(store, b"content")
    with sqlite3.connect(store.path / "wherry.db") as connection:
        assert connection.execute("SELECT digest, size FROM blobs").fetchall() == [(digest, 7)]
    connection.close()


def test_gc_of_more_than_one_batch(store: library.Store) -> None:
    directory = store.path / "blobs" / "sha256"
    put(store, b"makes the directories")
    for number in range(2 * gc.BATCH + 10):
        (directory / f"{number:064x}").write_bytes(b"x")
    found = store.gc()
    assert len(found.digests) == len(set(found.digests)) == 2 * gc.BATCH + 11
    assert blobs(store) == set()


KILLED = """
import sys, time
from pathlib import Path
from wherry.content.cancel import CancelToken
from wherry.model.descriptor import Descriptor
from wherry.store import LocalStore

with LocalStore(Path(sys.argv[1])).ingest() as ingest:
    ingest.put_bytes(Descriptor.of(b"leased", ""), b"leased", CancelToken())
    (Path(sys.argv[1]) / "ingest" / f"sha256-{'0':064}.part").write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_the_lease_of_a_killed_process_is_removed(store: library.Store) -> None:
    leased = str(Digest.of(b"leased"))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == "ready\n"
        assert store.gc() == gc.GarbageReport([], 0, [])
        assert len(list((store.path / "leases").iterdir())) == 1
        process.send_signal(signal.SIGKILL)
    planned = store.gc(dry_run=True)
    assert blobs(store) == {leased}
    found = store.gc()
    assert planned == found
    assert (found.digests, found.parts, found.part_size) == ([leased], 1, 4)
    assert list((store.path / "leases").iterdir()) == []
    assert list((store.path / "ingest").iterdir()) == []
    with sqlite3.connect(store.path / "wherry.db") as connection:
        assert connection.execute("SELECT count(*) FROM leases").fetchone() == (0,)


def test_gc_of_a_missing_store(store: library.Store) -> None:
    assert store.gc() == gc.GarbageReport([], 0, [])
    assert not store.path.exists()


def test_a_database_that_was_replaced_is_opened_again(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    begun = local_store(store).ingest()
    other = LocalStore(store.path)
    other.rebuild()
    with pytest.raises(StoreError, match="replaced"), begun:
        pass
    store.tag(f"{host}:1", "mine")
    assert sorted(tags(store)) == ["app:1", "mine:latest"]
    assert names(store) == [name for name, _, _ in other.named_images()]
    other.close()


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_store_whose_database_is_gone_is_refused(
    store: library.Store, client: library.Client, host: str, how: str
) -> None:
    client.pull(f"{host}:1")
    store.close()
    if how == "empty":  # as after a crash, or on a full disk
        (store.path / "wherry.db").write_bytes(b"")
    else:
        (store.path / "wherry.db").unlink()
    for change in (store.gc, store.images, lambda: client.pull(f"{host}:2")):
        with pytest.raises(StoreError, match="database is gone") as caught:
            change()
        assert "--rebuild" in caught.value.hint
    assert all_of(FIRST) <= blobs(store)
    store.rebuild()
    assert tags(store) == ["app:1"]


def multi(fake: FakeRegistry) -> tuple[str, BuiltIndex]:
    """Add an index with two platforms to a registry; the first is `FIRST`."""
    arm = build_image([BASE, tar_layer({"a": b"3"})], architecture="arm64")
    index = build_index(
        [
            (FIRST, {"os": "linux", "architecture": "amd64"}),
            (arm, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    fake.add_image("team/app", index, "multi")
    return f"{fake.host}/team/app:multi", index


def test_no_name_for_an_index_that_was_collected_beside_its_image(
    store: library.Store, client: library.Client, fake: FakeRegistry
) -> None:
    name, index = multi(fake)
    found = client.pull(name, platform="linux/amd64")
    fake.add_image("team/app", FIRST, "1")
    client.pull(f"{fake.host}/team/app:1")  # keeps the image, not the index
    store.untag(name)
    store.gc()
    with local_store(store).ingest() as ingest:
        raw = index.index.data
        ingest.put_bytes(Descriptor("", found.digest, len(raw)), raw, CancelToken())
        with pytest.raises(NotFound, match="is missing from the image"):
            local_store(store).pin(Reference.parse("mine:1"), found.digest, found.record.manifest)


COLLECTING = """
import os, signal, sys
from pathlib import Path
from wherry.store import LocalStore

left = int(sys.argv[2])

def look(event, arguments):
    global left
    if event == "os.remove" and len(str(arguments[0]).rpartition("/")[2]) == 64:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(look)
LocalStore(Path(sys.argv[1])).gc()
"""


@pytest.mark.parametrize("removed", [2, 3, 6])
def test_no_row_mentions_what_a_killed_collection_removed(
    store: library.Store, client: library.Client, fake: FakeRegistry, removed: int
) -> None:
    """A rollback does not bring files back, so no row may mention a file that is gone."""
    name, index = multi(fake)
    client.pull(name, all_platforms=True)
    store.untag(name)
    before = blobs(store)
    killed = subprocess.run(
        [sys.executable, "-c", COLLECTING, str(store.path), str(removed)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(before - blobs(store)) in {removed - 1, removed}  # two threads unlink
    assert not names(store)
    assert not store.images()
    pulled = client.pull(name, platform="linux/amd64")
    assert list(map(str, pulled.platforms)) == ["linux/amd64"]
    assert not store.check().problems
    store.gc()
    # What the index lists and is still stored belongs to the index.
    assert all_of(FIRST) | {index.digest} <= blobs(store) <= before


def test_a_document_stored_during_a_collection_goes_with_its_layers(
    store: library.Store,
) -> None:
    """A process stores it after the files were listed, and is killed; its layers are older."""
    layers = [piece.data for piece in FIRST.blobs()]
    with local_store(store).ingest() as ingest:
        for data in layers:
            ingest.put_bytes(Descriptor.of(data, ""), data, CancelToken())
    manifest = Digest.parse(FIRST.digest)
    with local_store(store).ingest() as ingest, ingest.db.write() as connection:
        collecting = threading.Thread(target=store.gc)
        collecting.start()
        wait_for(lambda: len(list((store.path / "leases").iterdir())) == 2)
        time.sleep(0.3)  # the collection lists files, and then waits for this transaction
        (store.path / "blobs" / "sha256" / manifest.hex).write_bytes(FIRST.manifest.data)
        connection.execute("INSERT INTO documents VALUES (?, ?, 'x')", [FIRST.digest] * 2)
        for piece in FIRST.blobs():
            connection.execute("INSERT INTO edges VALUES (?, ?, 1)", (FIRST.digest, piece.digest))
    collecting.join()
    assert not blobs(store)
    with pytest.raises(NotFound):
        local_store(store).document(manifest)
