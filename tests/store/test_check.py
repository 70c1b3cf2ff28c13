"""Checks of a store: damaged and missing blobs."""

from __future__ import annotations

import os
import resource
import threading
from typing import TYPE_CHECKING

import pytest

import wherry as library
from stored_images import FIRST, INDEX, SECOND, damage, file_of, kinds
from wherry.errors import NotFound
from wherry.image_store import local_store
from wherry.model.reference import Reference
from wherry.store.blobs import BlobFiles
from wherry.store.check import remove_damaged

if TYPE_CHECKING:
    from wherry.testing import (
        FakeRegistry,
    )


def test_an_intact_store_has_no_problems(
    store: library.Store, name: str, multi: str, old: str
) -> None:
    calls: list[tuple[int, int]] = []
    checked = store.check(on_progress=lambda done, total: calls.append((done, total)))
    assert checked.problems == []
    assert calls == sorted(calls)
    assert calls[-1] == (checked.size, checked.size)
    files = list((store.path / "blobs").glob("*/*"))
    assert checked.blobs == len(files)
    assert checked.size == sum(path.stat().st_size for path in files)
    assert name
    assert multi
    assert old


def test_a_missing_store_has_no_problems(store: library.Store) -> None:
    assert store.check().problems == []
    assert store.usage().total == 0
    assert not store.path.exists()


def test_damaged_and_missing_blobs_are_found_with_their_names(
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


def test_platforms_that_were_not_pulled_are_not_missing(
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


def test_a_check_can_be_cancelled(store: library.Store, name: str) -> None:
    token = library.CancelToken()
    token.cancel()
    with pytest.raises(library.Cancelled):
        store.check(token)
    assert name


def test_checks_find_no_problems_while_images_are_removed(
    store: library.Store, client: library.Client, name: str
) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def pull_and_remove() -> None:
        try:
            while not stop.is_set():
                client.pull(name)
                store.remove(name)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    thread = threading.Thread(target=pull_and_remove)
    thread.start()
    try:
        found = [problem for _ in range(30) for problem in store.check().problems]
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert found == []


def test_a_file_that_was_repaired_in_the_meantime_stays(store: library.Store, name: str) -> None:
    digest = FIRST.layers[0].digest
    good = file_of(store, digest).read_bytes()
    damage(store, digest)
    file_of(store, digest).write_bytes(good)
    local_store(store).remove_damaged([digest])
    assert file_of(store, digest).exists()
    assert name


def test_a_file_that_cannot_be_opened_for_another_reason_stays(
    client: library.Client, store: library.Store, name: str
) -> None:
    digest = str(client.pull(name).layers[1].digest)
    files = BlobFiles(str(store.path))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with local_store(store).ingest() as ingest, ingest.db.write():
        pass  # opens the database
    last = os.open(os.devnull, os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, hard))
        with pytest.raises(OSError, match="Too many open files"):
            remove_damaged(ingest.db, files, [digest])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(last)
    assert file_of(store, digest).exists()


def test_no_name_is_set_while_a_damaged_blob_is_removed(
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
