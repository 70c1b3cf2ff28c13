"""Rebuilding a lost or damaged database."""

from __future__ import annotations

import threading
import time

import pytest

import wherry as library
from stored_images import FIRST, SECOND, damage, file_of, kinds, lose, names
from wherry.errors import StoreError
from wherry.image_store import local_store
from wherry.ops.listing import Filters, list_rows
from wherry.store import backup
from wherry.store.database_file import exclusive
from wherry.store.root_directory import open_store


@pytest.mark.parametrize("how", ["gone", "no database", "zeroed pages"])
def test_a_lost_database_is_rebuilt(
    store: library.Store, client: library.Client, name: str, multi: str, old: str, how: str
) -> None:
    store.tag(name, "mine")
    before = names(store)
    ids = {found: str(store.get(found).id) for found in before}
    listed = list(list_rows(local_store(store), Filters()))
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
    assert list(list_rows(local_store(store), Filters())) == listed
    assert {str(image.record) for image in store.images()} == rebuilt_from
    assert kinds(store) == []
    assert store.gc().digests == []
    assert str(client.pull(old).id) == ids[old]
    assert client.pull(multi, platform="linux/arm64").platforms
    damage(store, SECOND.layers[1].digest)
    assert client.repair(store.check().problems).left == []


def test_rebuild_without_a_copy_of_the_names_restores_the_images(
    store: library.Store, name: str
) -> None:
    lose(store, "gone")
    (store.path / backup.FILE).unlink()
    found = store.rebuild()
    assert (found.images, found.names) == (1, 0)
    assert [row.id for row in list_rows(local_store(store), Filters())] == [FIRST.id]
    store.tag(FIRST.id, "mine")
    assert store.gc().digests == []
    assert name


def test_rebuild_reports_the_names_of_incomplete_images(
    store: library.Store, name: str, multi: str
) -> None:
    file_of(store, FIRST.layers[1].digest).unlink()
    lose(store, "gone")
    found = store.rebuild()
    assert found.images == 1
    assert name in found.lost
    assert (
        not list(list_rows(local_store(store), Filters.build(local_store(store), ["**/multi"])))
        or multi not in found.lost
    )


def test_rebuild_refuses_a_store_that_another_process_adds_to(
    store: library.Store, name: str
) -> None:
    other = library.Store(store.path)
    before = (store.path / "wherry.db").read_bytes()
    with local_store(other).ingest(), pytest.raises(StoreError, match="another process is adding"):
        store.rebuild()
    assert (store.path / "wherry.db").read_bytes()[:100] == before[:100]
    assert name in names(store)
    assert not (store.path / "wherry.db.damaged").exists()
    other.close()


def test_other_threads_wait_for_a_rebuild(store: library.Store, name: str) -> None:
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


def test_rebuild_of_a_missing_store(store: library.Store) -> None:
    assert store.rebuild().images == 0
    assert not store.path.exists()


def test_a_rebuild_continues_after_one_that_was_killed(
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
