"""Names and what they hold: tagging, removing, and collecting what nothing holds any more."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.content.protocols import blob_of
from wherry.errors import InvalidReference, NotFound, StoreError
from wherry.image_store import local_store
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.store import LocalStore, gc
from wherry.testing import BuiltImage, BuiltIndex, FakeRegistry, build_image, build_index, tar_layer

if TYPE_CHECKING:
    import wherry as library

BASE = tar_layer({"base": b"shared"})
FIRST = build_image([BASE, tar_layer({"a": b"1"})])
SECOND = build_image([BASE, tar_layer({"a": b"2"})])


def blobs(store: library.Store) -> set[str]:
    """Return the digests of the files that are there."""
    return {
        f"{path.parent.name}:{path.name}"
        for path in (store.path / "blobs").glob("*/*")
        if path.is_file()
    }


def all_of(image: BuiltImage) -> set[str]:
    return {image.digest, *(piece.digest for piece in image.blobs())}


def names(store: library.Store) -> list[str]:
    return [name for name, _, _ in local_store(store).named_images()]


def tags(store: library.Store) -> list[str]:
    return [name.rpartition("/")[2] for name in names(store) if "@" not in name]


@pytest.fixture
def host(fake: FakeRegistry) -> str:
    fake.add_image("team/app", FIRST, "1", "latest")
    fake.add_image("team/app", SECOND, "2")
    return f"{fake.host}/team/app"


# Names


def test_an_image_may_have_many_names(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    assert str(store.tag(f"{host}:1", "mine").id) == FIRST.id
    store.tag(FIRST.id[7:13], "other.example/x:y")
    assert str(store.get("mine").id) == str(store.get("other.example/x:y").id) == FIRST.id
    assert str(store.get("mine").digest) == FIRST.digest


def test_an_image_that_was_collected_gets_no_name_while_somebody_stores_it_again(
    store: library.Store, client: library.Client, host: str
) -> None:
    """Its files are there again, one by one; it is whole when it is recorded."""
    found = client.pull(f"{host}:1")
    store.remove(f"{host}:1")
    store.gc()
    with local_store(store).ingest() as ingest:
        manifest = Descriptor("", Digest.parse(FIRST.digest), len(FIRST.manifest.data))
        ingest.put_bytes(manifest, FIRST.manifest.data, CancelToken())
        with pytest.raises(NotFound, match="is missing from the image"):
            local_store(store).pin(Reference.parse("mine:1"), found.digest, found.record.manifest)
    assert not names(store)


def test_a_name_moves_to_another_image(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:2")
    store.tag(f"{host}:1", "mine")
    store.tag(f"{host}:2", "mine")
    assert str(store.get("mine").id) == SECOND.id


@pytest.mark.parametrize("name", ["Upper", "a@" + FIRST.digest, ""])
def test_names_that_cannot_be_given(
    store: library.Store, client: library.Client, host: str, name: str
) -> None:
    client.pull(f"{host}:1")
    before = names(store)
    with pytest.raises(InvalidReference):
        store.tag(f"{host}:1", name)
    assert names(store) == before


def test_an_image_that_is_not_whole_gets_no_name(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    (store.path / "blobs" / FIRST.layers[1].digest.replace(":", "/")).unlink()
    with pytest.raises(NotFound, match=FIRST.layers[1].digest):
        store.tag(f"{host}:1", "mine")
    assert tags(store) == ["app:1"]


def test_untag_leaves_the_image_to_gc(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    store.untag(f"{host}:1")
    assert tags(store) == []
    assert all_of(FIRST) <= blobs(store)
    with pytest.raises(NotFound):
        store.untag(f"{host}:1")
    assert store.gc().images == [FIRST.id]
    assert blobs(store) == set()
    assert names(store) == []


def test_nothing_can_be_untagged_where_no_store_is(store: library.Store) -> None:
    with pytest.raises(NotFound):
        store.untag("alpine")
    with pytest.raises(NotFound):
        store.remove("alpine")
    assert not store.path.exists()


# rm


def test_rm_takes_the_last_name_and_the_image_but_not_what_others_share(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:2")
    removed = store.remove(f"{host}:1")
    assert [str(name) for name in removed.names] == [f"{host}:1", f"{host}@{FIRST.digest}"]
    assert removed.collected.images == [FIRST.id]
    assert set(removed.collected.layers) == {FIRST.layers[1].digest}
    assert blobs(store) == all_of(SECOND)
    assert removed.collected.size == sum(
        piece.size for piece in (FIRST.manifest, FIRST.config, FIRST.layers[1])
    )
    with pytest.raises(NotFound):
        store.get(FIRST.id)


def test_rm_of_one_of_several_names_leaves_the_image(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:latest")
    removed = store.remove(host)
    assert [name.tag for name in removed.names] == ["latest"]
    assert removed.collected.digests == []
    assert str(store.get(f"{host}:1").id) == FIRST.id
    assert f"{host}@{FIRST.digest}" in names(store)


def test_rm_by_id_takes_all_names(store: library.Store, client: library.Client, host: str) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:latest")
    assert len(store.remove(FIRST.id[7:12]).names) == 3
    assert blobs(store) == set()


def test_rm_by_id_of_an_image_of_several_repositories_wants_force(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    store.tag(f"{host}:1", "mine")
    with pytest.raises(StoreError, match=r"several repositories.*mine"):
        store.remove(FIRST.id)
    assert len(names(store)) == 3
    assert len(store.remove(FIRST.id, force=True).names) == 3
    assert blobs(store) == set()


def test_rm_of_one_platform_of_an_index_names_the_whole(
    store: library.Store, client: library.Client, fake: FakeRegistry
) -> None:
    arm = build_image([BASE], architecture="arm64")
    index = build_index(
        [
            (FIRST, {"os": "linux", "architecture": "amd64"}),
            (arm, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    fake.add_image("multi", index, "t")
    name = f"{fake.host}/multi:t"
    client.pull(name, platform="linux/amd64,linux/arm64")
    shown = str(store.get(name).id)
    other = ({FIRST.id, arm.id} - {shown}).pop()
    with pytest.raises(StoreError, match="platforms of"):
        store.remove(other)
    store.gc()
    assert all_of(FIRST) | all_of(arm) <= blobs(store)
    store.remove(name)
    assert blobs(store) == set()


def test_rm_leaves_images_without_a_name_whole(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:2")
    store.untag(f"{host}:2")
    store.remove(f"{host}:1")
    assert blobs(store) == all_of(SECOND)
    assert store.check().problems == []
    store.tag(SECOND.id, "again")
    assert store.gc().digests == []


def test_rm_with_a_digest_of_another_repository_left(
    store: library.Store, client: library.Client, fake: FakeRegistry, host: str
) -> None:
    fake.add_image("team/other", FIRST, "1")
    client.pull(f"{host}:1")
    client.pull(f"{fake.host}/team/other:1")
    store.untag(f"{host}:1")
    store.remove(f"{fake.host}/team/other:1")
    assert names(store) == [f"{host}@{FIRST.digest}"]
    assert blobs(store) == all_of(FIRST)
    store.gc()
    assert names(store) == []
    assert blobs(store) == set()


# gc


def test_gc_keeps_what_names_hold(store: library.Store, client: library.Client, host: str) -> None:
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


def test_gc_takes_files_that_no_database_knows(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    stray = "ab" * 32
    (store.path / "blobs" / "sha256" / stray).write_bytes(b"left by a crash")
    found = store.gc()
    assert (found.digests, found.size) == ([f"sha256:{stray}"], 15)
    assert all_of(FIRST) <= blobs(store)


def test_gc_forgets_rows_whose_files_are_gone(
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


def test_what_an_operation_has_put_or_found_stays_as_long_as_it_lasts(store: library.Store) -> None:
    found = put(store, b"found")
    with local_store(store).ingest() as ingest:
        assert ingest.has(Descriptor.of(b"found", ""))
        ingest.put_bytes(Descriptor.of(b"new", ""), b"new", CancelToken())
        assert store.gc().digests == []
        assert blobs(store) == {found, str(Digest.of(b"new"))}
    assert set(store.gc().digests) == {found, str(Digest.of(b"new"))}


def test_an_image_that_is_being_read_stays_to_the_end(
    store: library.Store, client: library.Client, host: str
) -> None:
    image = client.pull(f"{host}:1")
    with local_store(store).held(image.digest):
        store.remove(f"{host}:1")
        store.gc()
        assert all_of(FIRST) <= blobs(store)
    store.gc()
    assert blobs(store) == set()


def test_a_file_that_a_killed_process_left_unknown_is_known_when_it_is_found(
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


def test_more_than_one_batch(store: library.Store) -> None:
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


def test_the_lease_of_a_killed_process_holds_nothing_and_is_swept(store: library.Store) -> None:
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


def test_gc_where_no_store_is(store: library.Store) -> None:
    assert store.gc() == gc.GarbageReport([], 0, [])
    assert not store.path.exists()


def test_a_database_that_was_replaced_is_opened_anew(
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
def test_a_store_whose_database_is_gone_is_not_taken_for_a_new_one(
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
    """Put an image for two platforms into a registry; the first is `FIRST`."""
    arm = build_image([BASE, tar_layer({"a": b"3"})], architecture="arm64")
    index = build_index(
        [
            (FIRST, {"os": "linux", "architecture": "amd64"}),
            (arm, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    fake.add_image("team/app", index, "multi")
    return f"{fake.host}/team/app:multi", index


def test_an_image_of_an_index_without_a_name_is_removed(
    store: library.Store, client: library.Client, fake: FakeRegistry
) -> None:
    """The index goes with it; other platforms stay for `gc`, as other unnamed images do."""
    name, index = multi(fake)
    client.pull(name, all_platforms=True)
    store.untag(name)
    store.untag(f"{name.rpartition(':')[0]}@{index.digest}")
    removed = store.remove(FIRST.id)
    assert removed.collected.images == [FIRST.id]
    (other,) = store.images()
    assert other.record.platform == "linux/arm64"
    assert not store.check().problems
    store.gc()
    assert not blobs(store)


def test_an_index_over_what_another_name_holds_stays(
    store: library.Store, client: library.Client, fake: FakeRegistry
) -> None:
    name, index = multi(fake)
    client.pull(name, all_platforms=True)
    store.tag(FIRST.id, "one:1")
    fake.add_image("team/app", FIRST, "1")
    client.pull(f"{fake.host}/team/app:1")
    store.untag(name)
    store.untag(f"{name.rpartition(':')[0]}@{index.digest}")
    removed = store.remove(f"{fake.host}/team/app:1").collected
    assert (removed.digests, removed.documents) == ([], frozenset())
    assert local_store(store).document(Digest.parse(index.digest)).raw == index.index.data


def test_no_name_for_an_index_that_was_collected_beside_its_image(
    store: library.Store, client: library.Client, fake: FakeRegistry
) -> None:
    name, index = multi(fake)
    found = client.pull(name, platform="linux/amd64")
    fake.add_image("team/app", FIRST, "1")
    client.pull(f"{fake.host}/team/app:1")  # holds the image, not the index
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
def test_nothing_speaks_of_what_a_killed_collection_has_removed(
    store: library.Store, client: library.Client, fake: FakeRegistry, removed: int
) -> None:
    """Files do not come back when a transaction does: nothing is to be half there."""
    name, index = multi(fake)
    client.pull(name, all_platforms=True)
    store.untag(name)
    before = blobs(store)
    killed = subprocess.run(
        [sys.executable, "-c", COLLECTING, str(store.path), str(removed)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(before - blobs(store)) in {removed - 1, removed}  # two threads are at it
    assert not names(store)
    assert not store.images()
    pulled = client.pull(name, platform="linux/amd64")
    assert list(map(str, pulled.platforms)) == ["linux/amd64"]
    assert not store.check().problems
    store.gc()
    # What the index lists and is still there belongs to it.
    assert all_of(FIRST) | {index.digest} <= blobs(store) <= before


def test_a_document_that_comes_during_a_collection_does_not_outlive_its_layers(
    store: library.Store,
) -> None:
    """Somebody stores it after the files were listed, and dies; its layers were there before."""
    layers = [piece.data for piece in FIRST.blobs()]
    with local_store(store).ingest() as ingest:
        for data in layers:
            ingest.put_bytes(Descriptor.of(data, ""), data, CancelToken())
    manifest = Digest.parse(FIRST.digest)
    with local_store(store).ingest() as ingest, ingest.db.write() as connection:
        collecting = threading.Thread(target=store.gc)
        collecting.start()
        wait_for(lambda: len(list((store.path / "leases").iterdir())) == 2)
        time.sleep(0.3)  # it lists files now, and then waits for this transaction
        (store.path / "blobs" / "sha256" / manifest.hex).write_bytes(FIRST.manifest.data)
        connection.execute("INSERT INTO documents VALUES (?, ?, 'x')", [FIRST.digest] * 2)
        for piece in FIRST.blobs():
            connection.execute("INSERT INTO edges VALUES (?, ?, 1)", (FIRST.digest, piece.digest))
    collecting.join()
    assert not blobs(store)
    with pytest.raises(NotFound):
        local_store(store).document(manifest)
