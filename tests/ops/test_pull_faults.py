"""Faults that a pull survives: it resumes, retries or falls back."""

from __future__ import annotations

import time

import pytest

import wherry as library
from pulls import (
    BIG,
    BLOB,
    GOOD,
    LAYER,
    TIMEOUT,
    Snapshot,
    Watch,
    blob_requests,
    part_size,
    snapshot,
    whole,
)
from wherry import (
    Client,
    Event,
    IntegrityError,
    NetworkError,
    NotFound,
    RateLimited,
    Status,
    WherryError,
)
from wherry.testing import (
    ContentLength,
    ContentRange,
    Corrupt,
    Cut,
    Delay,
    DropHeader,
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    IgnoreRange,
    Replace,
    Stall,
    Trickle,
    build_image,
    tar_layer,
)


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", BIG, "t")
    return f"{fake.host}/app:t"


@pytest.mark.parametrize("offset", [1, 4096, 262_144, 300_001, LAYER.size - 1])
def test_a_cut_is_resumed_at_the_byte(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, offset: int
) -> None:
    fake.inject(Fault(Cut(after=offset), path=BLOB, times=1))
    watch = Watch()
    client.pull(name, on_event=watch)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, f"bytes={offset}-"]
    (retry,) = watch.of(Status.RETRYING)
    assert str(retry.digest) == LAYER.digest
    assert 0 < retry.seconds <= 0.25


def test_cut_after_cut(fake: FakeRegistry, name: str, store: library.Store) -> None:
    # There are more cuts than attempts, but each attempt makes progress.
    for _ in range(7):
        fake.inject(Fault(Cut(after=50_000), path=BLOB, times=1))
    with Client(store=store, retries=2) as patient:
        patient.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [
        None,
        *[f"bytes={50_000 * count}-" for count in range(1, 8)],
    ]


def test_a_reset(fake: FakeRegistry, name: str, client: Client, store: library.Store) -> None:
    fake.inject(Fault(Cut(after=100_000, reset=True), path=BLOB, times=1))
    client.pull(name)
    whole(store, name, BIG)


def test_a_connection_without_an_answer(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(HangUp(), path=BLOB, times=1))
    fake.inject(Fault(HangUp(), path="/manifests/t", times=1))
    client.pull(name)
    whole(store, name, BIG)


def test_a_stall_longer_than_the_time_out(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=70_000), path=BLOB, times=1))
    with Client(store=store, timeout=TIMEOUT) as client:
        client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=70000-"]


def test_a_range_that_is_ignored_starts_over(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(IgnoreRange(), path=BLOB))
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    "value",
    [
        f"bytes 0-{LAYER.size - 1}/{LAYER.size}",
        f"bytes 99999-{LAYER.size - 1}/{LAYER.size}",
        f"bytes 100000-{LAYER.size - 2}/{LAYER.size}",
        f"bytes 100000-{LAYER.size}/{LAYER.size + 1}",
        "bytes */1",
        "nonsense",
        None,
    ],
)
def test_a_wrong_content_range_is_not_appended(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, value: str | None
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(ContentRange(value), path=BLOB))
    client.pull(name)
    whole(store, name, BIG)
    requests = blob_requests(fake, LAYER.digest)
    assert requests[:2] == [None, "bytes=100000-"]
    assert None in requests[2:]  # it was fetched without a range


@pytest.mark.usefixtures("environment")
def test_a_range_that_cannot_be_satisfied_starts_over(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    # The length is wrong, as in responses of Distribution: reading the body takes forever.
    fake.inject(Fault(ContentLength(LAYER.size), path=BLOB, skip=1, times=1))
    fake.inject(Fault(Stall(after=5), path=BLOB, skip=1, times=1))
    fake.inject(Fault(FixedReply(416, body=b"lies and more lies"), path=BLOB, skip=1, times=1))
    with Client(store=store, timeout=600) as client:
        client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-", None]


def test_a_resume_with_wrong_bytes_is_fetched_once_more_from_zero(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(Corrupt(at=10), path=BLOB, skip=1, times=1))
    with Client(store=store, retries=1) as client:
        with pytest.raises(NetworkError):
            client.pull(name)
        assert part_size(store, LAYER.digest) == 100_000
        client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-", None]


def test_wrong_bytes_after_a_cut_are_fetched_once_more_from_zero(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(Corrupt(at=10), path=BLOB, skip=1, times=1))
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-", None]


def test_a_blob_that_is_wrong_twice_is_not_fetched_again(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(Cut(after=200_000), path=BLOB, skip=1, times=1))
    fake.inject(Fault(Corrupt(at=10), path=BLOB, skip=1))
    with pytest.raises(IntegrityError):
        client.pull(name)
    assert snapshot(store).parts == ()
    ranges = blob_requests(fake, LAYER.digest)
    assert ranges == [None, "bytes=100000-", None, "bytes=200000-"]


def test_a_fresh_download_with_wrong_bytes_is_not_tried_again(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fault = fake.inject(Fault(Corrupt(at=10), path=BLOB))
    with pytest.raises(IntegrityError):
        client.pull(name)
    assert fault.count == 1
    assert snapshot(store) == Snapshot()


def test_a_part_that_is_complete_is_verified_without_a_request(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    part = store.path / "ingest" / f"{LAYER.digest.replace(':', '-')}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(LAYER.data)
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == []


@pytest.mark.parametrize("data", [bytes(LAYER.size), LAYER.data + b"x", bytes(100)])
def test_a_part_that_is_wrong_is_fetched_anew(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, data: bytes
) -> None:
    part = store.path / "ingest" / f"{LAYER.digest.replace(':', '-')}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(data)
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest)[-1] is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (BLOB, 503),
        (BLOB, 408),
        (BIG.config.digest, 503),
        ("/manifests/t", 500),
        ("/manifests/sha256", 504),
    ],
)
def test_two_bad_answers_and_then_a_good_one(
    fake: FakeRegistry, name: str, store: library.Store, path: str, status: int
) -> None:
    fault = fake.inject(Fault(FixedReply(status), path=path, times=2))
    watch = Watch()
    with Client(store=store, retries=3) as client:
        client.pull(name, on_event=watch)
    whole(store, name, BIG)
    assert fault.count == 2
    assert len(watch.of(Status.RETRYING)) == 2


@pytest.mark.parametrize("status", [400, 403, 404])
def test_permanent_errors_are_not_retried(
    fake: FakeRegistry, name: str, client: Client, status: int
) -> None:
    fault = fake.inject(Fault(FixedReply(status), path=BLOB))
    with pytest.raises(WherryError):
        client.pull(name)
    assert fault.count == 1


@pytest.mark.parametrize("path", [BLOB, "/manifests/t"])
def test_retry_after_is_obeyed(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, path: str
) -> None:
    fake.inject(Fault(FixedReply(429, {"Retry-After": "1"}), path=path, times=1))
    watch = Watch()
    started = time.monotonic()
    client.pull(name, on_event=watch)
    assert time.monotonic() - started >= 1
    whole(store, name, BIG)
    assert [event.seconds for event in watch.of(Status.RETRYING)] == [1.0]


def test_retry_after_a_day_is_not_waited_for(fake: FakeRegistry, name: str, client: Client) -> None:
    fake.inject(Fault(FixedReply(429, {"Retry-After": "86400"}), path="/manifests/t"))
    with pytest.raises(RateLimited) as caught:
        client.pull(name)
    assert caught.value.retry_after == 86400


@pytest.mark.parametrize(
    "fault",
    [
        FixedReply(405),
        FixedReply(404),
        FixedReply(400),
        DropHeader("Docker-Content-Digest"),
    ],
    ids=["405", "404", "400", "no-digest"],
)
def test_without_head_the_tag_is_fetched_and_hashed(
    fake: FakeRegistry,
    name: str,
    client: Client,
    store: library.Store,
    fault: FixedReply | DropHeader,
) -> None:
    fake.inject(Fault(fault, method="HEAD"))
    client.pull(name)
    whole(store, name, BIG)
    documents = [
        (request.method, request.path.rpartition("/")[2])
        for request in fake.requests
        if "/manifests/" in request.path
    ]
    assert documents == [("HEAD", "t"), ("GET", "t")]


def test_a_registry_that_does_not_know_its_own_digest(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fault = fake.inject(Fault(FixedReply(404), path=f"/manifests/{BIG.digest}"))
    watch = Watch()
    client.pull(name, on_event=watch)
    whole(store, name, BIG)
    assert fault.count == 1
    (warning,) = watch.of(Status.WARNING)
    assert fake.host in warning.message
    documents = [r.path for r in fake.requests if "/manifests/" in r.path]
    assert documents == [
        "/v2/app/manifests/t",
        f"/v2/app/manifests/{BIG.digest}",
        "/v2/app/manifests/t",
    ]


def test_a_registry_whose_head_lies_is_believed_by_its_bytes(
    fake: FakeRegistry, name: str, client: Client
) -> None:
    """The manifest is fetched by tag instead, and named by its own digest."""
    events: list[Event] = []
    fake.add_image("app", GOOD)
    fake.inject(Fault(FixedReply(404), path=f"/manifests/{BIG.digest}"))
    fake.inject(Fault(Replace(GOOD.manifest.data), method="GET", path="/manifests/t"))
    image = client.pull(name, on_event=events.append)
    assert str(image.digest) == GOOD.digest
    warnings = [event.message for event in events if event.status is Status.WARNING]
    assert any(fake.host in message for message in warnings)


def test_a_digest_that_was_asked_for_has_no_fall_back(
    fake: FakeRegistry, name: str, client: Client
) -> None:
    fake.inject(Fault(FixedReply(404), path=f"/manifests/{BIG.digest}"))
    with pytest.raises(NotFound):
        client.pull(f"{name}@{BIG.digest}")
    assert len(fake.requests) == 1


def test_a_token_that_ends_halfway_is_replaced(store: library.Store) -> None:
    with FakeRegistry(tokens=True, expires_in=1) as registry:
        registry.add_image("app", BIG, "t")
        registry.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
        registry.inject(Fault(Delay(1.3), path=BLOB, times=1))
        with Client(store=store) as client:
            client.pull(f"{registry.host}/app:t")
        whole(store, f"{registry.host}/app:t", BIG)
        assert registry.tokens_issued == 2
        assert blob_requests(registry, LAYER.digest)[-1] == "bytes=100000-"


def test_a_slow_registry_does_not_count_as_silent(fake: FakeRegistry, store: library.Store) -> None:
    # Every byte restarts the timeout. The whole body takes twice as long.
    slow = build_image([tar_layer({"a": bytes(range(256)) * 4})], compression="none")
    fake.add_image("app", slow, "t")
    fake.inject(Fault(Trickle(slow.layers[0].size / 2 / TIMEOUT), path=slow.layers[0].digest))
    with Client(store=store, timeout=TIMEOUT, retries=1) as client:
        assert str(client.pull(f"{fake.host}/app:t").id) == slow.id
    assert len(blob_requests(fake, slow.layers[0].digest)) == 1
