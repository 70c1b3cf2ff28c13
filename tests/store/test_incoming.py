"""Uploads to the server: files in the store that become blobs."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from wherry.content.protocols import Busy
from wherry.errors import Cancelled, IntegrityError, NotFound
from wherry.model.digest import Digest
from wherry.store import LocalStore
from wherry.store.incoming_files import EXPIRY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPOSITORY = "localhost:5000/team/app"
DATA = os.urandom(3000)
BLOB = Digest.of(DATA)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStore]:
    with contextlib.closing(LocalStore(tmp_path / "store")) as found:
        yield found


@pytest.fixture
def other(tmp_path: Path) -> Iterator[LocalStore]:
    """The same store, as another server process has it."""
    with contextlib.closing(LocalStore(tmp_path / "store")) as found:
        yield found


def push(store: LocalStore, data: bytes, repository: str = REPOSITORY) -> Digest:
    digest = Digest.of(data)
    upload = store.incoming.start(repository)
    with store.incoming.open(repository, upload) as incoming:
        incoming.append([data])
        incoming.finish(digest)
    return digest


def waiting(store: LocalStore) -> list[str]:
    return sorted(file.name for file in (store.path / "ingest").iterdir())


def test_an_upload_becomes_a_blob_of_its_repository(local: LocalStore) -> None:
    assert push(local, DATA) == BLOB
    assert local.read(BLOB) == DATA
    assert local.repositories.find_blob(REPOSITORY, BLOB) == len(DATA)
    assert local.repositories.find_blob("localhost:5000/other", BLOB) is None
    assert waiting(local) == []
    file = local.path / "blobs" / "sha256" / BLOB.hex
    assert file.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_processes_take_turns_at_an_upload(
    local: LocalStore, other: LocalStore, algorithm: str
) -> None:
    digest = Digest.of(DATA, algorithm)
    upload = local.incoming.start(REPOSITORY)
    for start in range(0, 3000, 500):
        store = (local, other)[start // 500 % 2]
        assert store.incoming.size(REPOSITORY, upload) == start
        with store.incoming.open(REPOSITORY, upload) as incoming:
            incoming.append([DATA[start : start + 200], DATA[start + 200 : start + 500]])
    with local.incoming.open(REPOSITORY, upload, algorithm) as incoming:
        incoming.finish(digest)
    assert other.read(digest) == DATA


def test_wrong_content_is_discarded(local: LocalStore) -> None:
    upload = local.incoming.start(REPOSITORY)
    with local.incoming.open(REPOSITORY, upload) as incoming:
        incoming.append([DATA, b"!"])
        with pytest.raises(IntegrityError) as caught:
            incoming.finish(BLOB)
    assert caught.value.actual == Digest.of(DATA + b"!")
    assert not local.holds(BLOB)
    assert local.repositories.find_blob(REPOSITORY, BLOB) is None
    assert waiting(local) == []


def test_truncated_content_is_hashed_again(local: LocalStore) -> None:
    upload = local.incoming.start(REPOSITORY)
    with local.incoming.open(REPOSITORY, upload) as incoming:
        incoming.append([DATA[:1000]])
    with local.incoming.open(REPOSITORY, upload) as incoming:
        incoming.append([b"wrong"])
        incoming.truncate(1000)
        incoming.append([DATA[1000:]])
        incoming.finish(BLOB)
    assert local.read(BLOB) == DATA


def test_an_upload_has_one_writer(local: LocalStore, other: LocalStore) -> None:
    upload = local.incoming.start(REPOSITORY)
    with local.incoming.open(REPOSITORY, upload) as incoming:
        incoming.append([DATA])
        for store in (local, other):
            with pytest.raises(Busy) as caught:
                store.incoming.open(REPOSITORY, upload)
            assert caught.value.size == len(DATA)
    other.incoming.open(REPOSITORY, upload).close()


def test_an_unknown_upload_is_not_found(local: LocalStore) -> None:
    absent = "0" * 32
    with pytest.raises(NotFound):
        local.incoming.size(REPOSITORY, absent)  # there is no store yet
    upload = local.incoming.start(REPOSITORY)
    for repository, name in [
        ("localhost:5000/other", upload),
        (REPOSITORY, absent),
        (REPOSITORY, upload.upper()),
        (REPOSITORY, f"../ingest/{upload}"),
        (REPOSITORY, ""),
    ]:
        for call in (local.incoming.size, local.incoming.open, local.incoming.cancel):
            with pytest.raises(NotFound):
                call(repository, name)
    assert local.incoming.size(REPOSITORY, upload) == 0


def test_a_cancelled_upload_stores_nothing(local: LocalStore, other: LocalStore) -> None:
    upload = local.incoming.start(REPOSITORY)
    with local.incoming.open(REPOSITORY, upload) as incoming:
        incoming.append([DATA])
        other.incoming.cancel(REPOSITORY, upload)
        with pytest.raises(NotFound):
            incoming.finish(BLOB)
    assert not local.holds(BLOB)
    assert local.repositories.find_blob(REPOSITORY, BLOB) is None
    assert waiting(local) == []


def test_an_aborted_request_writes_no_more(local: LocalStore) -> None:
    upload = local.incoming.start(REPOSITORY)
    incoming = local.incoming.open(REPOSITORY, upload)
    incoming.append([DATA[:5]])
    incoming.close()
    with pytest.raises(Cancelled):
        incoming.append([DATA[5:]])
    assert local.incoming.size(REPOSITORY, upload) == 5


def test_a_damaged_blob_is_replaced(local: LocalStore) -> None:
    push(local, DATA)
    file = local.path / "blobs" / "sha256" / BLOB.hex
    file.chmod(0o644)
    file.write_bytes(DATA[:-1])
    push(local, DATA)
    assert local.read(BLOB) == DATA


def test_pushes_of_one_blob_at_once_end_in_one_blob(local: LocalStore) -> None:
    names = [f"localhost:5000/team/app{number}" for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda name: push(local, DATA, name), names)) == {BLOB}
    assert all(local.repositories.find_blob(name, BLOB) for name in names)
    assert local.read(BLOB) == DATA
    assert waiting(local) == []


def test_gc_removes_nothing_of_a_push(local: LocalStore, other: LocalStore) -> None:
    ended = threading.Event()

    def collect() -> int:
        count = 0
        while not ended.is_set():
            count += len(other.gc().digests)
        return count

    with ThreadPoolExecutor(1) as pool:
        collected = pool.submit(collect)
        try:
            # Half of the blobs are pushed twice: a collection may come between the two.
            digests = [push(local, b"%d" % (number // 2)) for number in range(24)]
        finally:
            ended.set()
        assert collected.result() == 0
    assert all(local.holds(digest) for digest in digests)


def expire(store: LocalStore) -> None:
    for name in waiting(store):
        os.utime(store.path / "ingest" / name, (0, time.time() - EXPIRY_SECONDS - 60))


def test_gc_and_the_server_remove_what_has_expired(local: LocalStore, other: LocalStore) -> None:
    for _ in range(2):
        upload = local.incoming.start(REPOSITORY)
        with local.incoming.open(REPOSITORY, upload) as incoming:
            incoming.append([DATA])
    usage = local.usage()
    assert (usage.parts, usage.parts_size, usage.reclaimable) == (2, 2 * len(DATA), 0)
    assert (local.gc().parts, len(waiting(local))) == (0, 2)

    expire(local)
    assert local.usage().reclaimable == 2 * len(DATA)
    with local.incoming.open(REPOSITORY, upload):  # in use by a request
        found = local.gc()
    assert (found.parts, found.part_size) == (1, len(DATA))
    expire(local)
    new = other.incoming.start(REPOSITORY)
    other.incoming.sweep()
    assert [name.split("-")[1] for name in waiting(local)] == [new]


def test_blobs_are_mounted_from_where_they_are(local: LocalStore) -> None:
    push(local, DATA)
    mount = local.repositories.mount
    target, absent = "localhost:5000/target", "localhost:5000/absent"
    assert not mount(target, BLOB, [absent])
    assert local.repositories.find_blob(target, BLOB) is None
    assert mount(target, BLOB, [absent, REPOSITORY])
    assert local.repositories.find_blob(target, BLOB) == len(DATA)
    assert mount(absent, BLOB, None)
    for repository in (REPOSITORY, target, absent):
        assert local.repositories.remove(repository, BLOB)
        assert not local.repositories.remove(repository, BLOB)
    assert local.holds(BLOB)  # until it is collected
    assert not mount(target, BLOB, None)
    assert local.gc().digests == [BLOB]
