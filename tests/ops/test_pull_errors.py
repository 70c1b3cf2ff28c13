"""Errors of a pull: class, exit code, message and what the store keeps."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import wherry as library
from pulls import (
    BIG,
    BLOB,
    GOOD,
    LAYER,
    SHORT,
    TARS,
    TIMEOUT,
    Snapshot,
    Watch,
    blob_path,
    part_size,
    snapshot,
)
from refused_pulls import CASES, Case, Place, missing
from wherry import (
    Cancelled,
    Client,
    IntegrityError,
    InvalidReference,
    NetworkError,
    NotFound,
    PlatformMismatch,
    Status,
    WherryError,
)
from wherry.content.pipeline import Limits
from wherry.content.verify import RawLimit
from wherry.testing import Cut, Delay, FakeRegistry, Fault, Stall, build_image, compress, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conftest import Wherry


def check_parts(store: library.Store, registry: FakeRegistry) -> None:
    """Check that each part file is a prefix of its blob, and remove it.

    A config that fails stops the layers; the bytes that have arrived stay.
    """
    for part in (store.path / "ingest").glob("*"):
        data, blob = part.read_bytes(), registry.blobs[part.stem.replace("-", ":", 1)]
        assert isinstance(blob, bytes)
        assert 0 < len(data) <= len(blob)
        assert blob.startswith(data)
        assert part.stem != LAYER.digest.replace(":", "-") or blob == LAYER.data
        part.unlink()


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def place(fake: FakeRegistry, tmp_path: Path) -> Place:
    return Place(fake, ExitStack(), tmp_path, f"{fake.host}/app:t")


def one_line_and_hints(text: str) -> tuple[str, list[str]]:
    """Check the form of an error; return its line and the hints below it."""
    first, *hints = text.splitlines()
    assert first.startswith("wherry: ")
    assert all(hint.startswith("  ") for hint in hints), text
    assert "Traceback" not in text
    return first, [hint.strip() for hint in hints]


def test_bad_input_raises_its_error_and_leaves_the_store_as_it_was(
    case: Case, place: Place, client: Client, store: library.Store
) -> None:
    # The tag stood for a good image before, and has to stay.
    place.registry.add_image("app", GOOD, "t")
    client.pull(place.reference)
    place.registry.clear()
    before = snapshot(store)
    assert len(before.names) == 2
    with place.stack:
        case.setup(place)
        with (
            Client(
                store=store,
                timeout=TIMEOUT,
                retries=1,
                credentials=place.credentials,
                insecure="--insecure" in place.arguments,
            ) as once,
            pytest.raises(case.kind) as caught,
        ):
            once.pull(place.reference, platform=place.platform)
    assert type(caught.value) is case.kind
    assert re.search(case.says, str(caught.value))
    assert re.search(case.hint, caught.value.hint)
    assert "\n" not in str(caught.value)
    check_parts(store, place.registry)
    assert snapshot(store) == before
    store.close()


def test_bad_input_exits_with_its_code_and_one_line(
    case: Case, place: Place, wherry: Wherry, store: library.Store
) -> None:
    with place.stack:
        case.setup(place)
        arguments = [*place.arguments, f"--timeout={TIMEOUT}", "--retries=1"]
        if place.credentials:
            arguments.append(f"--creds={':'.join(place.credentials)}")
        if place.platform:
            arguments.append(f"--platform={place.platform}")
        done = wherry("pull", "-q", *arguments, place.reference)
    assert done.returncode == case.code, done.stderr
    assert done.stdout == ""
    first, hints = one_line_and_hints(done.stderr)
    assert re.search(case.says, first)
    assert re.search(case.hint, " ".join(hints))
    # The error names the image or the registry.
    host, _, rest = place.reference.partition("/")
    assert host in first or rest in first
    check_parts(store, place.registry)
    assert snapshot(store) == Snapshot()


def test_every_error_that_a_pull_raises_is_here() -> None:
    kinds = {case.kind for case in CASES} | {InvalidReference, Cancelled, library.StoreError}
    kinds.add(library.StoreFull)
    every = {
        found
        for found in vars(library.errors).values()
        if isinstance(found, type) and issubclass(found, WherryError)
    }
    others = {library.InvalidDigest, library.Ambiguous, library.UnsafeArchive, library.StillTagged}
    assert every - kinds == {WherryError, *others}


@pytest.mark.parametrize(
    ("reference", "position", "says"),
    [
        ("Alpine", 0, "lower-case"),
        ("library/alPine:t", 10, "lower-case"),
        ("localhost:5000/a//b", 17, ""),
        ("a:b c", 3, "tag"),
        ("alpine:", 7, "tag"),
        ("alpine@sha256:0123", 14, ""),
        ("alpine@sha256:" + "A" * 64, 14, ""),
        ("-x/y", 0, ""),
        ("a" * 64, 0, "image id"),
        ("a" * 256, 255 - len("library/"), "255"),
        ("ghcr.io/" + "a/" * 127 + "bc", 8 + 255, "255"),
    ],
)
def test_references_that_do_not_parse_get_a_caret(
    wherry: Wherry, client: Client, reference: str, position: int, says: str
) -> None:
    with pytest.raises(InvalidReference) as caught:
        client.pull(reference)
    assert caught.value.position == position
    done = wherry("pull", "--", reference)
    assert done.returncode == 2
    assert done.stdout == ""
    first, text, caret = done.stderr.splitlines()
    assert first.startswith("wherry: invalid reference: ")
    assert says in first
    assert text == f"  {reference}"
    assert caret == "  " + " " * position + "^"


def test_an_error_of_one_name_keeps_what_came_before_it(
    fake: FakeRegistry, wherry: Wherry, store: library.Store
) -> None:
    fake.add_image("app", GOOD, "t")
    done = wherry("pull", f"{fake.host}/app:t", f"{fake.host}/app:none")
    assert done.returncode == 3
    assert done.stdout == f"{GOOD.id}\n"
    assert str(store.get(f"{fake.host}/app:t").id) == GOOD.id


def test_nothing_is_pulled_if_one_name_does_not_parse(fake: FakeRegistry, wherry: Wherry) -> None:
    fake.add_image("app", GOOD, "t")
    assert wherry("pull", f"{fake.host}/app:t", "Bad").returncode == 2
    assert fake.requests == []


def test_a_blob_that_is_always_cut_is_a_network_error_and_keeps_its_part(
    fake: FakeRegistry, store: library.Store
) -> None:
    fake.add_image("app", BIG, "t")
    fake.inject(Fault(Cut(after=0), path=BLOB, skip=1))
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    with Client(store=store, retries=2) as client, pytest.raises(NetworkError) as caught:
        client.pull(f"{fake.host}/app:t")
    assert caught.value.host == fake.host
    assert part_size(store, LAYER.digest) == 100_000
    assert snapshot(store).names == ()
    ranges = [request.headers.get("range") for request in fake.requests if BLOB in request.path]
    assert ranges[:2] == [None, "bytes=100000-"]
    assert set(ranges[1:]) == {"bytes=100000-"}


def test_a_blob_that_is_always_cut_exits_with_6(fake: FakeRegistry, wherry: Wherry) -> None:
    fake.add_image("app", BIG, "t")
    fake.inject(Fault(Cut(after=0), path=BLOB))
    done = wherry("pull", "-q", "--retries=2", f"{fake.host}/app:t")
    assert done.returncode == 6
    one_line_and_hints(done.stderr)


def test_a_layer_that_claims_too_much_is_refused(fake: FakeRegistry, tmp_path: Path) -> None:
    small = compress(bytes(5_000_000), "zstd")
    image = build_image(
        [small],
        compression="none",
        layer_media_types=["application/vnd.oci.image.layer.v1.tar+zstd"],
        diff_ids=[sha256(bytes(5_000_000))],
    )
    fake.add_image("app", image, "t")
    limited = library.Store(tmp_path / "limited", limits=Limits(RawLimit(1_000_000, ratio=10)))
    with Client(store=limited) as client, pytest.raises(IntegrityError) as caught:
        client.pull(f"{fake.host}/app:t")
    assert "1,000,000" in str(caught.value)
    assert snapshot(limited) == Snapshot()
    assert not blob_path(limited, image.layers[0].digest).exists()
    limited.close()
    allowed = library.Store(tmp_path / "allowed", limits=Limits(RawLimit(5_000_000, ratio=10)))
    with Client(store=allowed) as client:
        assert str(client.pull(f"{fake.host}/app:t").id) == image.id
    allowed.close()


def test_another_architecture_is_a_warning_without_a_platform(
    fake: FakeRegistry, wherry: Wherry, client: Client
) -> None:
    image = build_image(TARS[:1], architecture="s390x")
    fake.add_image("app", image, "t")
    watch = Watch()
    assert str(client.pull(f"{fake.host}/app:t", on_event=watch).id) == image.id
    assert len(watch.of(Status.WARNING)) == 1
    done = wherry("pull", "-q", f"{fake.host}/app:t")
    assert done.returncode == 0
    assert done.stdout == f"{image.id}\n"
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("Warning: ")
    assert "linux/s390x" in warning


def test_another_system_is_refused_before_its_layers_are_stored(
    fake: FakeRegistry, store: library.Store, client: Client
) -> None:
    image = build_image([LAYER.data], os="windows", compression="none")
    fake.add_image("app", image, "t")
    fake.inject(Fault(Stall(after=1000), path=image.layers[0].digest))
    with pytest.raises(PlatformMismatch):
        client.pull(f"{fake.host}/app:t")
    assert not blob_path(store, image.layers[0].digest).exists()


def test_a_layer_that_fails_does_not_stop_the_config(
    fake: FakeRegistry, store: library.Store, client: Client
) -> None:
    missing("layer")(Place(fake, ExitStack(), store.path, ""))
    fake.inject(Fault(Delay(0.4), path=BIG.config.digest))
    with pytest.raises(NotFound, match=SHORT):
        client.pull(f"{fake.host}/app:t")
    assert blob_path(store, BIG.config.digest).read_bytes() == BIG.config.data


def test_a_config_that_fails_stops_the_layers(fake: FakeRegistry, client: Client) -> None:
    missing("config")(Place(fake, ExitStack(), client.store.path, ""))
    fake.inject(Fault(Stall(after=1000), path=BLOB))
    with pytest.raises(NotFound, match=r"^\S+/app:t: error pulling image configuration: "):
        client.pull(f"{fake.host}/app:t")


def test_limits_of_a_client() -> None:
    for wrong in ({"jobs": 0}, {"retries": 0}, {"timeout": 0}):
        options: Mapping[str, int] = wrong
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            Client(**options)  # type: ignore[arg-type]
