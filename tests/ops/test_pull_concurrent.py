"""Concurrent pulls of one image: each blob is fetched once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import wherry as library
from pulls import BIG, BLOB, LAYER, Watch, blob_requests, part_size, whole
from waiting import wait_for
from wherry import Client, Status
from wherry.testing import (
    BuiltImage,
    Delay,
    FakeRegistry,
    Fault,
    Stall,
    build_image,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from conftest import Wherry


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", BIG, "t")
    return f"{fake.host}/app:t"


MANY = build_image([tar_layer(pseudo_random_files(30 + seed, 80_000, 2)) for seed in range(4)])


def each_blob_once(fake: FakeRegistry, image: BuiltImage) -> None:
    got = Counter(
        request.path.rpartition("/")[2]
        for request in fake.requests
        if request.method == "GET" and "/blobs/" in request.path
    )
    assert got == Counter(piece.digest for piece in image.blobs())


def test_two_threads_fetch_each_blob_once(fake: FakeRegistry, store: library.Store) -> None:
    fake.add_image("app", MANY, "t")
    fake.inject(Fault(Delay(0.3), path="/blobs/"))
    ids: list[str] = []
    watches = [Watch(), Watch()]

    def pull(client: Client, watch: Watch) -> None:
        ids.append(str(client.pull(f"{fake.host}/app:t", on_event=watch).id))

    with Client(store=store) as first, Client(store=store) as second:
        pairs = zip((first, second), watches, strict=True)
        threads = [threading.Thread(target=pull, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert ids == [MANY.id] * 2
    each_blob_once(fake, MANY)
    whole(store, f"{fake.host}/app:t", MANY)
    for watch in watches:
        ended = watch.of(Status.COMPLETE) + watch.of(Status.EXISTS)
        assert {str(event.digest) for event in ended} == {piece.digest for piece in MANY.layers}


def test_two_processes_fetch_each_blob_once(
    fake: FakeRegistry, wherry: Wherry, store: library.Store
) -> None:
    fake.add_image("app", MANY, "t")
    fake.inject(Fault(Delay(0.7), path="/blobs/"))
    running = [wherry.start("pull", f"{fake.host}/app:t") for _ in range(2)]
    for process in running:
        output, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert output == f"{MANY.id}\n"
    each_blob_once(fake, MANY)
    whole(store, f"{fake.host}/app:t", MANY)


def test_a_waiting_process_continues_when_the_other_is_killed(
    fake: FakeRegistry, name: str, wherry: Wherry, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=100_000), path=BLOB, times=1))
    first = wherry.start("pull", name)
    wait_for(lambda: part_size(store, LAYER.digest) == 100_000)
    second = wherry.start("pull", name)
    wait_for(lambda: len([r for r in fake.requests if r.method == "HEAD"]) == 2)
    time.sleep(0.3)
    assert blob_requests(fake, LAYER.digest) == [None]
    first.kill()
    first.communicate(timeout=5)
    output, errors = second.communicate(timeout=10)
    assert second.returncode == 0, errors
    assert output == f"{BIG.id}\n"
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-"]
    whole(store, name, BIG)
