"""Checking a store, mending it, and making its database anew."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.errors import NotFound, StoreError
from wherry.image_store import local_store
from wherry.model.reference import Reference
from wherry.ops.listing import Filters, listing
from wherry.store import backup
from wherry.store.blobs import BlobFiles
from wherry.store.check import remove_damaged
from wherry.store.database_file import exclusive
from wherry.store.root_directory import open_store
from wherry.store.schema import VERSION
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    build_image,
    build_index,
    build_schema1,
    make_key,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wherry

BASE = tar_layer({"base": b"shared"})
FIRST = build_image([BASE, tar_layer({"a": b"1"})])
SECOND = build_image([BASE, tar_layer({"a": b"2"})], architecture="arm64")
INDEX = build_index(
    [
        (FIRST, {"os": "linux", "architecture": "amd64"}),
        (SECOND, {"os": "linux", "architecture": "arm64"}),
    ]
)
OLD = build_schema1([tar_layer({"old": b"1"})], keys=[("ES256", make_key("ES256"))])


def file_of(store: library.Store, digest: str) -> Path:
    return store.path / "blobs" / digest.replace(":", "/")


def damage(store: library.Store, digest: str) -> None:
    """Change one byte, as a disk does it."""
    path = file_of(store, digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.fixture
def name(fake: FakeRegistry, client: library.Client) -> str:
    fake.add_image("team/app", FIRST, "t")
    found = f"{fake.host}/team/app:t"
    client.pull(found)
    return found


@pytest.fixture
def multi(fake: FakeRegistry, client: library.Client) -> str:
    fake.add_image("team/multi", INDEX, "t")
    found = f"{fake.host}/team/multi:t"
    client.pull(found, platform="linux/amd64,linux/arm64")
    return found


@pytest.fixture
def old(fake: FakeRegistry, client: library.Client) -> str:
    for layer in OLD.layers:
        fake.add_blob(layer)
    manifest = OLD.manifest
    fake.add_manifest("team/old", manifest.data, manifest.media_type, "t", digest=OLD.digest)
    found = f"{fake.host}/team/old:t"
    client.pull(found)
    return found


def kinds(store: library.Store) -> list[tuple[str, str]]:
    return sorted((problem.kind, problem.digest) for problem in store.check().problems)


# check


def test_a_good_store(store: library.Store, name: str, multi: str, old: str) -> None:
    told: list[tuple[int, int]] = []
    checked = store.check(on_progress=lambda done, total: told.append((done, total)))
    assert checked.problems == []
    assert told == sorted(told)
    assert told[-1] == (checked.size, checked.size)
    files = list((store.path / "blobs").glob("*/*"))
    assert checked.blobs == len(files)
    assert checked.size == sum(path.stat().st_size for path in files)
    assert name
    assert multi
    assert old


def test_no_store_at_all(store: library.Store) -> None:
    assert store.check().problems == []
    assert store.usage().total == 0
    assert not store.path.exists()


def test_what_is_damaged_and_what_is_missing_is_found_with_its_names(
    store: library.Store, name: str, multi: str
) -> None:
    damage(store, FIRST.config.digest)
    file_of(store, FIRST.layers[0].digest).unlink()
    file_of(store, SECOND.digest).unlink()
    assert kinds(store) == sorted(
        [
            ("damaged", FIRST.config.digest),
            ("missing", FIRST.layers[0].digest),
            ("missing", SECOND.digest),
        ]
    )
    concerned = {problem.digest: problem.names for problem in store.check().problems}
    assert {name, multi} <= set(concerned[FIRST.layers[0].digest])
    assert multi in concerned[SECOND.digest]
    assert name not in concerned[SECOND.digest]


def test_what_was_never_wanted_is_not_missing(
    store: library.Store, client: library.Client, fake: FakeRegistry
) -> None:
    fake.add_image("team/multi", INDEX, "t")
    client.pull(f"{fake.host}/team/multi:t", platform="linux/arm64")
    assert kinds(store) == []


def test_a_truncated_and_an_empty_file_are_damaged(store: library.Store, name: str) -> None:
    for digest, size in ((FIRST.layers[0].digest, 10), (FIRST.layers[1].digest, 0)):
        file_of(store, digest).chmod(0o644)
        with file_of(store, digest).open("r+b") as file:
            file.truncate(size)
    assert [kind for kind, _ in kinds(store)] == ["damaged", "damaged"]
    assert name


def test_checking_stops_when_it_is_told_to(store: library.Store, name: str) -> None:
    token = library.CancelToken()
    token.cancel()
    with pytest.raises(library.Cancelled):
        store.check(token)
    assert name


# repair


@pytest.mark.parametrize("how", ["damaged", "missing"])
@pytest.mark.parametrize("which", ["layer", "config", "manifest", "index"])
def test_repair_fetches_again_what_is_not_good(
    store: library.Store, client: library.Client, multi: str, how: str, which: str
) -> None:
    digest = {
        "layer": SECOND.layers[1].digest,
        "config": SECOND.config.digest,
        "manifest": SECOND.digest,
        "index": INDEX.digest,
    }[which]
    names = [name for name, _, _ in local_store(store).named_images()]
    before = file_of(store, digest).read_bytes()
    if how == "damaged":
        damage(store, digest)
    else:
        file_of(store, digest).unlink()
    problems = store.check().problems
    assert [(problem.kind, problem.digest) for problem in problems] == [(how, digest)]
    repaired = client.repair(problems)
    assert (repaired.mended, repaired.left) == (problems, [])
    assert file_of(store, digest).read_bytes() == before
    assert kinds(store) == []
    assert [name for name, _, _ in local_store(store).named_images()] == names
    assert multi in {name for name, _, _ in local_store(store).named_images()}


@pytest.mark.parametrize("place", range(4))
def test_repair_of_schema1(
    store: library.Store, client: library.Client, old: str, place: int
) -> None:
    """Signed document, manifest and config made from it, layer: whatever is not good."""
    image = store.get(old)
    signed = next(
        path.name
        for path in (store.path / "blobs" / "sha256").iterdir()
        if b'"signatures"' in path.read_bytes()
    )
    digests = [
        f"sha256:{signed}",
        str(image.record.manifest),
        str(image.id),
        str(image.layers[0].digest),
    ]
    damage(store, digests[place])
    problems = store.check().problems
    assert [problem.digest for problem in problems] == [digests[place]]
    assert client.repair(problems).left == []
    assert kinds(store) == []
    assert store.get(old).id == image.id


def test_repair_after_the_image_was_given_another_name(
    store: library.Store, client: library.Client, name: str
) -> None:
    store.tag(name, "mine")
    store.remove(name)
    damage(store, FIRST.layers[0].digest)
    assert client.repair(store.check().problems).left == []
    assert kinds(store) == []
    assert [found for found, _, _ in local_store(store).named_images()] == [
        "docker.io/library/mine:latest"
    ]


def test_what_cannot_be_fetched_is_told_and_what_is_bad_is_gone(
    store: library.Store, client: library.Client, fake: FakeRegistry, name: str
) -> None:
    damage(store, FIRST.layers[0].digest)
    del fake.blobs[FIRST.layers[0].digest]
    repaired = client.repair(store.check().problems)
    assert repaired.mended == []
    ((problem, reason),) = repaired.left
    assert problem.digest == FIRST.layers[0].digest
    assert "team/app" in reason
    assert kinds(store) == [("missing", FIRST.layers[0].digest)]
    fake.add_image("team/app", FIRST, "t")
    assert str(client.pull(name).id) == FIRST.id
    assert kinds(store) == []


def test_what_no_name_needs_is_only_removed(
    store: library.Store, client: library.Client, fake: FakeRegistry, name: str
) -> None:
    store.untag(name)
    damage(store, FIRST.layers[0].digest)
    store.gc(dry_run=True)
    with sqlite3.connect(store.path / "wherry.db") as connection:
        connection.execute("DELETE FROM refs")
    connection.close()
    fake.requests.clear()
    assert client.repair(store.check().problems).left == []
    assert not file_of(store, FIRST.layers[0].digest).exists()
    assert fake.requests == []


def test_a_file_that_was_mended_in_the_meantime_stays(store: library.Store, name: str) -> None:
    digest = FIRST.layers[0].digest
    good = file_of(store, digest).read_bytes()
    damage(store, digest)
    file_of(store, digest).write_bytes(good)
    local_store(store).remove_damaged([digest])
    assert file_of(store, digest).exists()
    assert name


# The copy of the names


def rows(store: library.Store) -> list[backup.SavedName | backup.DamagedRow]:
    return list(backup.load(open_store(str(store.path))))


def saved(store: library.Store) -> list[str]:
    return [str(row.reference) for row in rows(store) if isinstance(row, backup.SavedName)]


def names(store: library.Store) -> list[str]:
    return [name for name, _, _ in local_store(store).named_images()]


def test_the_names_are_copied_after_each_change(
    store: library.Store, client: library.Client, name: str
) -> None:
    assert saved(store) == names(store)
    store.tag(name, "mine")
    assert saved(store) == names(store)
    store.untag("mine")
    assert saved(store) == names(store)
    written = (store.path / backup.FILE).stat()
    client.pull(name)  # nothing new
    assert (store.path / backup.FILE).stat() == written
    store.remove(name)
    assert saved(store) == names(store) == []


def test_many_names_are_not_copied_at_each_change(
    store: library.Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "MANY", 1)
    store.tag(name, "mine")
    assert "docker.io/library/mine:latest" not in saved(store)
    monkeypatch.setattr(backup, "INTERVAL", 0.0)
    store.gc()
    assert saved(store) == names(store)


# rebuild


def lose(store: library.Store, how: str) -> None:
    store.close()
    path = store.path / "wherry.db"
    if how == "gone":
        path.unlink()
    elif how == "no database":
        path.write_bytes(b"something else altogether, and long enough to be looked at" * 99)
    else:
        data = bytearray(path.read_bytes())
        data[4096:12288] = bytes(8192)
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["gone", "no database", "zeroed pages"])
def test_a_lost_database_is_made_anew(
    store: library.Store, client: library.Client, name: str, multi: str, old: str, how: str
) -> None:
    store.tag(name, "mine")
    before = names(store)
    ids = {found: str(store.get(found).id) for found in before}
    listed = list(listing(local_store(store), Filters()))
    rebuilt_from = {str(image.record) for image in store.images()}
    lose(store, how)
    if how != "zeroed pages":
        with pytest.raises(StoreError) as caught:
            store.get(name)
        assert "--rebuild" in caught.value.hint
    found = store.rebuild()
    assert (found.images, found.names, found.lost) == (3, len(before), ())
    assert names(store) == before
    assert {found: str(store.get(found).id) for found in before} == ids
    assert list(listing(local_store(store), Filters())) == listed
    assert {str(image.record) for image in store.images()} == rebuilt_from
    assert kinds(store) == []
    assert store.gc().digests == []
    assert str(client.pull(old).id) == ids[old]
    assert client.pull(multi, platform="linux/arm64").platforms
    damage(store, SECOND.layers[1].digest)
    assert client.repair(store.check().problems).left == []


def test_rebuild_without_a_copy_of_the_names_brings_the_images_back(
    store: library.Store, name: str
) -> None:
    lose(store, "gone")
    (store.path / backup.FILE).unlink()
    found = store.rebuild()
    assert (found.images, found.names) == (1, 0)
    assert [row.id for row in listing(local_store(store), Filters())] == [FIRST.id]
    store.tag(FIRST.id, "mine")
    assert store.gc().digests == []
    assert name


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.replace(b"sha256:", b"sha257:"),
        lambda row: row.replace(b"/", b"/\xff\xfe\0"),
        lambda row: row.replace(b'"', b"!"),
        lambda row: row.replace(b",", b",7,"),
        lambda row: b"{" + row[1:],  # these two are damage to what is around it as well
        lambda row: row[:-1] + b"!",
        lambda _: b'["x"]',
        lambda _: b"null",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_name_that_cannot_be_read_is_no_loss_to_the_others(
    wherry: Wherry, store: library.Store, name: str, place: int, spoil: Callable[[bytes], bytes]
) -> None:
    store.tag(name, "mine")
    before = names(store)
    lose(store, "gone")
    copy = store.path / backup.FILE
    text = copy.read_bytes()
    row = re.findall(rb"\[[^\[\]]+\]", text)[place]
    copy.write_bytes(text.replace(row, spoil(row)))
    done = wherry("fsck", "--rebuild")
    assert (done.returncode, done.stdout) == (1, "Rebuilt: 1 image, 2 names\n")
    (told,) = done.stderr.splitlines()
    assert told.startswith("lost: a damaged entry of names.json; pull or tag its image again: ")
    assert names(store) == [known for known in before if known != json.loads(row)[0]]


def test_a_copy_of_the_names_that_is_cut_off(store: library.Store, name: str) -> None:
    store.tag(name, "mine")
    count = len(names(store))
    copy = store.path / backup.FILE
    text = copy.read_bytes()
    for length in range(len(text)):
        copy.write_bytes(text[:length])
        with pytest.raises(StoreError, match="cut off"):
            rows(store)
    copy.write_bytes(text)
    assert len(saved(store)) == len(rows(store)) == count


def test_names_whose_images_are_not_whole_are_lost_and_told(
    store: library.Store, name: str, multi: str
) -> None:
    file_of(store, FIRST.layers[1].digest).unlink()
    lose(store, "gone")
    found = store.rebuild()
    assert found.images == 1
    assert name in found.lost
    assert (
        not list(listing(local_store(store), Filters.build(local_store(store), ["**/multi"])))
        or multi not in found.lost
    )


def test_nobody_may_be_adding_to_the_store_meanwhile(store: library.Store, name: str) -> None:
    other = library.Store(store.path)
    before = (store.path / "wherry.db").read_bytes()
    with local_store(other).ingest(), pytest.raises(StoreError, match="another process is adding"):
        store.rebuild()
    assert (store.path / "wherry.db").read_bytes()[:100] == before[:100]
    assert name in names(store)
    assert not (store.path / "wherry.db.damaged").exists()
    other.close()


def test_whoever_comes_while_it_is_made_anew_waits(store: library.Store, name: str) -> None:
    store.close()
    path = store.path / "wherry.db"
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(names(store)))
    with exclusive(open_store(str(store.path)), path.name):
        path.rename(path.with_suffix(".aside"))
        thread.start()
        time.sleep(0.1)
        path.with_suffix(".aside").rename(path)
    thread.join()
    assert name in found


def test_rebuild_of_nothing(store: library.Store) -> None:
    assert store.rebuild().images == 0
    assert not store.path.exists()


# The command


@pytest.mark.parametrize("open_", [False, True], ids=["closed", "in its log"])
def test_fsck_rebuild_leaves_a_newer_database_alone(
    wherry: Wherry, store: library.Store, name: str, *, open_: bool
) -> None:
    store.close()
    connection = sqlite3.connect(store.path / "wherry.db")
    connection.execute("PRAGMA user_version=9")
    if not open_:
        connection.close()
    refused = wherry("images")
    assert "the store has version 9" in refused.stderr
    done = wherry("fsck", "--rebuild")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", refused.stderr)
    assert not list(store.path.glob("*.damaged*"))
    connection.close()
    with contextlib.closing(sqlite3.connect(store.path / "wherry.db")) as connection:
        connection.execute(f"PRAGMA user_version={VERSION}")
    assert wherry("show", name).returncode == 0


def test_fsck_says_what_is_wrong_and_mends_it(
    wherry: Wherry, store: library.Store, name: str
) -> None:
    done = wherry("fsck")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(": good\n")
    damage(store, FIRST.layers[0].digest)
    done = wherry("fsck")
    assert done.returncode == 5
    first, summary, advice = done.stdout.splitlines()
    assert first.startswith(f"damaged: {FIRST.layers[0].digest}: its content is sha256:")
    assert name in first
    assert summary.endswith("1 problem")
    assert "--repair" in advice
    found = json.loads(wherry("fsck", "--json").stdout)
    assert [each["digest"] for each in found["problems"]] == [FIRST.layers[0].digest]
    done = wherry("fsck", "--repair")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:2] == ["  repaired"]
    assert wherry("fsck").returncode == 0


def test_fsck_advises_what_helps(wherry: Wherry, store: library.Store, name: str) -> None:
    damage(store, FIRST.layers[0].digest)
    store.untag(name)
    done = wherry("fsck")
    assert (done.returncode, "--repair" in done.stdout) == (5, True)  # its name by digest is left
    with local_store(store).ingest() as ingest, ingest.db.write() as connection:
        connection.execute("DELETE FROM refs")
    done = wherry("fsck")
    assert (done.returncode, "--repair" in done.stdout) == (5, False)
    assert done.stdout.splitlines()[-1] == "  `wherry gc` removes content that is in no named image"
    assert wherry("gc").returncode == 0
    assert wherry("fsck").stdout.endswith(": good\n")


def test_fsck_that_cannot_mend(
    wherry: Wherry, store: library.Store, fake: FakeRegistry, name: str
) -> None:
    damage(store, FIRST.layers[0].digest)
    fake.inject(Fault(FixedReply(500), path="/v2/"))
    done = wherry("fsck", "--repair", "--retries=1")
    assert done.returncode == 5
    assert "1 problem" in done.stdout
    assert name


def test_fsck_rebuild(wherry: Wherry, store: library.Store, name: str) -> None:
    lose(store, "no database")
    refused = wherry("images")
    assert refused.returncode == 1
    assert "wherry fsck --rebuild" in refused.stderr
    done = wherry("fsck", "--rebuild")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Rebuilt: 1 image, 2 names\n", "")
    assert wherry("show", name).returncode == 0
    assert wherry("fsck", "--rebuild", "--repair").returncode == 2


def test_df(wherry: Wherry, store: library.Store, name: str) -> None:
    found = json.loads(wherry("df", "--json").stdout)
    sizes = [path.stat().st_size for path in (store.path / "blobs").glob("*/*")]
    assert (found["images"], found["named"], found["blobs"]) == (1, 1, len(sizes))
    assert (found["size"], found["reclaimable"]) == (sum(sizes), 0)
    assert found["layers_size"] == sum(piece.size for piece in FIRST.layers)
    assert found["total"] >= found["size"] + found["database"] > found["size"]
    store.untag(name)
    found = json.loads(wherry("df", "--json").stdout)
    assert (found["named"], found["reclaimable"]) == (0, sum(sizes))
    shown = wherry("df")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "layers" in shown.stdout


def test_checks_beside_somebody_who_removes_find_nothing_wrong(
    store: library.Store, client: library.Client, name: str
) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def come_and_go() -> None:
        try:
            while not stop.is_set():
                client.pull(name)
                store.remove(name)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        found = [problem for _ in range(30) for problem in store.check().problems]
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert found == []


def test_a_copy_of_the_names_that_was_broken_off_is_made_anew(
    client: library.Client, store: library.Store, name: str
) -> None:
    """Who was killed while writing it leaves it behind; the next operation need change nothing."""
    complete = rows(store)
    (store.path / backup.FILE).unlink()
    (store.path / "names.new").write_text("{")
    client.pull(name)
    assert not (store.path / "names.new").exists()
    assert rows(store) == complete != []


def test_no_name_for_what_is_removed_to_be_mended(
    client: library.Client, store: library.Store, name: str
) -> None:
    image = client.pull(name)
    layer = image.layers[1].digest
    damage(store, str(layer))
    with local_store(store).ingest() as ingest:
        assert ingest.hold([layer]) == {layer}
        local_store(store).remove_damaged([str(layer)])
        with pytest.raises(NotFound, match=str(layer)):
            ingest.commit(
                [image.record], image.record.manifest, image.digest, [Reference.parse("mine:1")]
            )
    assert "docker.io/library/mine:1" not in image.names


def test_a_rebuild_that_was_killed_leaves_the_old_database_to_the_next_one(
    client: library.Client, store: library.Store, name: str
) -> None:
    client.pull(name)
    store.close()
    old = store.path / "wherry.db"
    number = old.stat().st_ino
    kept = old.rename(store.path / "wherry.db.damaged")
    assert store.rebuild().names == 2
    assert kept.stat().st_ino == number
    store.rebuild()
    assert kept.stat().st_ino != number


def test_what_cannot_be_read_for_another_reason_is_not_removed(
    client: library.Client, store: library.Store, name: str
) -> None:
    digest = str(client.pull(name).layers[1].digest)
    files = BlobFiles(str(store.path))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with local_store(store).ingest() as ingest, ingest.db.write():
        pass  # the database is open
    last = os.open(os.devnull, os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, hard))
        with pytest.raises(OSError, match="Too many open files"):
            remove_damaged(ingest.db, files, [digest])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(last)
    assert file_of(store, digest).exists()


# Damaged files that are read


def overwrite(store: library.Store, digest: str) -> None:
    path = file_of(store, digest)
    path.chmod(0o644)
    path.write_bytes(b'{"a":1}')


@pytest.mark.parametrize("spoil", [overwrite, damage])
@pytest.mark.parametrize("which", ["config", "manifest"])
def test_a_damaged_document_is_named_wherever_it_is_read(
    wherry: Wherry,
    store: library.Store,
    name: str,
    spoil: Callable[[library.Store, str], None],
    which: str,
    tmp_path: Path,
) -> None:
    digest = FIRST.config.digest if which == "config" else FIRST.digest
    spoil(store, digest)
    (tmp_path / "empty").write_bytes(b"")
    for words in (
        ["history", name],
        ["show", name],
        ["config", f"store:{name}"],
        ["inspect", f"store:{name}"],
        ["save", name, "-o", str(tmp_path / "saved")],
        ["import", "--parent", name, str(tmp_path / "empty"), "made:1"],
    ):
        done = wherry(*words)
        assert done.returncode == 5, (words, done.stderr)
        assert f"wherry: {digest}: the store's copy is damaged" in done.stderr, words
        assert "wherry fsck --repair" in done.stderr, words
        assert file_of(store, digest).exists()  # reading alone removes nothing


@pytest.mark.parametrize("spoil", [overwrite, damage])
@pytest.mark.parametrize("which", ["config", "manifest", "index"])
@pytest.mark.parametrize("how", ["pull", "digest", "other", "incomplete", "load", "load docker"])
def test_pull_and_load_put_a_damaged_document_again(
    client: library.Client,
    store: library.Store,
    fake: FakeRegistry,
    multi: str,
    spoil: Callable[[library.Store, str], None],
    which: str,
    how: str,
    tmp_path: Path,
) -> None:
    form = "docker" if how == "load docker" else "oci"
    client.save(multi, tmp_path / "saved", format=form)  # type: ignore[arg-type]
    if form == "docker":  # else it stays the image of the index that was pulled
        store.remove(multi, force=True)
    client.load(tmp_path / "saved")
    image = store.get(multi)
    digest = {
        "config": str(image.id),
        "manifest": str(image.record.manifest),
        "index": str(image.digest),
    }[which]
    before = file_of(store, digest).read_bytes()
    spoil(store, digest)
    if how == "incomplete":
        file_of(store, FIRST.layers[1].digest).unlink()
    if how.startswith("load"):
        client.load(tmp_path / "saved")
    elif how in {"pull", "incomplete"}:
        client.pull(multi, platform="linux/arm64,linux/amd64")
    elif how == "digest":
        client.pull(
            f"{multi.removesuffix(':t')}@{INDEX.digest}", platform="linux/amd64,linux/arm64"
        )
    else:  # by another name: its documents come along with the answer
        fake.add_image("team/other", INDEX, "t")
        client.pull(f"{fake.host}/team/other:t", platform="linux/amd64,linux/arm64")
    assert file_of(store, digest).read_bytes() == before
    assert kinds(store) == []


def test_a_config_that_is_cut_off_in_a_layout_is_damaged(
    wherry: Wherry, client: library.Client, name: str, tmp_path: Path
) -> None:
    client.save(name, tmp_path / "saved", format="oci")
    file = tmp_path / "saved" / "blobs" / FIRST.config.digest.replace(":", "/")
    file.write_bytes(file.read_bytes()[:7])
    done = wherry("inspect", f"oci:{tmp_path / 'saved'}")
    assert done.returncode == 5
    where = f"{tmp_path / 'saved'}: {FIRST.config.digest}"
    assert done.stderr.startswith(f"wherry: {where}: content does not match its digest")


@pytest.mark.parametrize("spoil", [overwrite, damage])
@pytest.mark.parametrize("which", ["signed", "made", "config"])
def test_pull_puts_a_damaged_document_of_schema1_again(
    client: library.Client,
    store: library.Store,
    old: str,
    spoil: Callable[[library.Store, str], None],
    which: str,
) -> None:
    image = store.get(old)
    signed = next(
        f"sha256:{path.name}"
        for path in (store.path / "blobs" / "sha256").iterdir()
        if b'"signatures"' in path.read_bytes()
    )
    made = {"signed": signed, "made": str(image.record.manifest), "config": str(image.id)}
    spoil(store, made[which])
    assert client.pull(old) == image
    assert kinds(store) == []
