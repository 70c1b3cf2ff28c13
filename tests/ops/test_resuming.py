"""Resume pulls of blobs whose size is unknown."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING

import pytest

from wherry import Client, Event, RegistryError, Status
from wherry.testing import (
    Cut,
    FakeRegistry,
    Fault,
    FixedReply,
    build_schema1,
    compress,
    pseudo_random_files,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    from pathlib import Path

    import wherry as library

LAYER = compress(tar_layer(pseudo_random_files(31, 1_500_000, 2)), "gzip")
BUILT = build_schema1([LAYER])
DIGEST = sha256(LAYER)


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_blob(LAYER)
    piece = BUILT.manifest
    fake.add_manifest("app", piece.data, piece.media_type, "t", digest=BUILT.digest)
    return f"{fake.host}/app:t"


@pytest.fixture
def part(store: library.Store) -> Path:
    path = store.path / "ingest" / f"{DIGEST.replace(':', '-')}.part"
    path.parent.mkdir(parents=True)
    return path


def asked(fake: FakeRegistry) -> list[str | None]:
    return [r.headers.get("range") for r in fake.requests if DIGEST in r.path]


def is_whole(store: library.Store) -> bool:
    blob = store.path / "blobs" / "sha256" / DIGEST[7:]
    return blob.read_bytes() == LAYER and not list((store.path / "ingest").iterdir())


def test_a_complete_part_needs_no_request(
    fake: FakeRegistry, name: str, client: library.Client, store: library.Store, part: Path
) -> None:
    """A part file of the blob's size is verified by its digest, without a request."""
    part.write_bytes(LAYER)
    client.pull(name)
    assert asked(fake) == []
    assert is_whole(store)


@pytest.mark.parametrize("there", [1, 700_000, len(LAYER) - 1])
def test_a_part_is_continued(
    fake: FakeRegistry,
    name: str,
    client: library.Client,
    store: library.Store,
    part: Path,
    there: int,
) -> None:
    part.write_bytes(LAYER[:there])
    client.pull(name)
    assert asked(fake) == [f"bytes={there}-"]
    assert is_whole(store)


@pytest.mark.parametrize(
    "wrong", [LAYER + b"more", bytes(len(LAYER)), bytes(100)], ids=["long", "other", "begun"]
)
def test_a_part_of_something_else_starts_over(
    fake: FakeRegistry,
    name: str,
    client: library.Client,
    store: library.Store,
    part: Path,
    wrong: bytes,
) -> None:
    part.write_bytes(wrong)
    client.pull(name)
    assert asked(fake)[-1] is None
    assert len(asked(fake)) <= 3
    assert is_whole(store)


def test_a_cut_at_the_last_byte_is_continued(
    fake: FakeRegistry, name: str, client: library.Client, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=len(LAYER) - 1), path=DIGEST, times=1))
    client.pull(name)
    assert asked(fake) == [None, f"bytes={len(LAYER) - 1}-"]
    assert is_whole(store)


def test_a_registry_that_fails_for_good_leaves_the_part(
    fake: FakeRegistry, name: str, client: library.Client, part: Path
) -> None:
    part.write_bytes(LAYER[:1000])
    fake.inject(Fault(FixedReply(403), path=DIGEST))
    with pytest.raises(Exception, match="403"):
        client.pull(name)
    assert part.read_bytes() == LAYER[:1000]


# Retries


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_token_is_part_of_the_attempt_that_needs_it(store: library.Store, attempts: int) -> None:
    """Nested retries would multiply, and the inner retries would not be reported."""
    pauses: list[float] = []

    def hear(event: Event) -> None:
        if event.status is Status.RETRYING:
            pauses.append(event.seconds)

    with FakeRegistry(tokens=True) as registry, Client(store=store, retries=attempts) as client:
        fault = registry.inject(Fault(FixedReply(503), path="/token"))
        with pytest.raises(RegistryError, match="token server"):
            client.pull(f"{registry.host}/app:t", on_event=hear)
        assert fault.count == attempts
        assert len(pauses) == attempts - 1


def test_retry_after_may_be_a_date(fake: FakeRegistry, name: str, client: Client) -> None:
    """Retry-After is a number of seconds or a date (RFC 9110, 10.2.3)."""
    later = email.utils.formatdate(time.time() + 2, usegmt=True)
    fake.inject(Fault(FixedReply(503, {"Retry-After": later}), path=DIGEST, times=1))
    heard: list[Event] = []
    client.pull(name, on_event=heard.append)
    (pause,) = [event.seconds for event in heard if event.status is Status.RETRYING]
    assert 0.3 < pause <= 2  # longer than the first pause without the header


def test_a_registry_that_breaks_after_each_piece_is_not_given_up(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    """Progress between failures does not use up attempts."""
    for _ in range(6):
        fake.inject(Fault(Cut(after=100_000), path=DIGEST, times=1))
    with Client(store=store, retries=2) as client:
        client.pull(name)
    assert len(asked(fake)) == 7
    assert is_whole(store)
