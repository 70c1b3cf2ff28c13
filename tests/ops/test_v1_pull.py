"""Images are pulled from version 1 registries."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pulls import Snapshot, snapshot
from v1_pulls import HOST, OPTIONS, connected, fetched, pull, pull_all, schema1_with, steps
from wherry.content.cancel import CancelToken
from wherry.content.events import Event, Status
from wherry.errors import (
    Cancelled,
    NetworkError,
    NotFound,
    PlatformMismatch,
    RegistryError,
    Unsupported,
)
from wherry.image_store import local_store
from wherry.model.config import chain_ids, parse_config
from wherry.model.manifest import Manifest
from wherry.model.mediatype import DOCKER_LAYER, DOCKER_MANIFEST, DOCKER_PLAIN_LAYER
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.ops.v1_pull import pull_v1
from wherry.testing import (
    Cut,
    Delay,
    FakeRegistry,
    FakeV1Registry,
    Fault,
    FixedReply,
    IgnoreRange,
    Stall,
    build_image,
    build_v1_image,
    compress,
    sha256,
    tar_layer,
)
from wherry.testing.layers import COMPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import wherry

TARS = [tar_layer({f"file{number}": b"content %d" % number * 50}) for number in range(4)]
BASE = build_v1_image(TARS[:3])
IMAGE = build_v1_image(TARS[3:], below=BASE)
EMPTY_TAR = bytes(1024)
ARM = Platform("linux", "arm64")


@pytest.fixture
def registry() -> Iterator[FakeV1Registry]:
    with FakeV1Registry() as running:
        running.add_image("team/app", IMAGE, "t")
        yield running


def manifest_of(store: wherry.Store, name: str) -> Manifest:
    local = local_store(store)
    found = local.find(Reference.parse(name))
    assert found is not None
    assert found.root == found.manifest
    document = local.document(found.root)
    assert isinstance(document, Manifest)
    return document


# What is stored


def test_an_image_is_stored_as_schema2(registry: FakeV1Registry, store: wherry.Store) -> None:
    result = pull(registry, store)
    name = f"{registry.host}/team/app:t"
    assert (str(result.reference), result.updated) == (name, True)
    manifest = manifest_of(store, name)
    assert (manifest.media_type, result.root) == (DOCKER_MANIFEST, result.image.manifest)
    assert [str(layer.digest) for layer in manifest.layers] == [
        sha256(each.layer) for each in IMAGE.layers
    ]
    assert {layer.media_type for layer in manifest.layers} == {DOCKER_LAYER}
    image = store.get(name)
    assert image.id == result.image.id == manifest.config.digest
    assert [str(each) for each in image.config.diff_ids] == list(IMAGE.diff_ids)
    commands = [entry.created_by for entry in image.config.history]
    assert commands == [f"/bin/sh -c step {number}" for number in range(4)]
    kept = snapshot(store)
    assert kept.names == ((name, str(result.root), str(result.image.id)),)  # none by digest
    assert (kept.parts, kept.leases) == ((), ())
    repository = f"{registry.host}/team/app"
    assert local_store(store).sources(result.image.manifest) == [repository]
    assert store.check().problems == []


@pytest.mark.parametrize(
    "each",
    [
        {},
        {"docker_version": "1.8.2"},
        {"docker_version": None, "unknown": {"b": 1, "a": [1.50, "<&>"]}},
        {"author": "Ann", "comment": "by hand", "parent_id": "sha256:1", "layer_id": "sha256:2"},
    ],
    ids=["1.9", "1.8", "unknown", "more fields"],
)
def test_the_image_id_is_that_of_the_schema1_image(
    fake: FakeRegistry, client: wherry.Client, store: wherry.Store, each: dict[str, object]
) -> None:
    image = build_v1_image(TARS, each=each)
    signed = schema1_with(image)
    for layer in signed.layers:
        fake.add_blob(layer)
    fake.add_manifest("old", signed.manifest.data, signed.manifest.media_type, "t")
    with FakeV1Registry() as registry:
        registry.add_image("team/app", image, "t")
        found = pull(registry, store)
    assert found.image.id == client.pull(f"{fake.host}/old:t").id


def test_v1_and_v2_share_the_layers(
    registry: FakeV1Registry, fake: FakeRegistry, client: wherry.Client, store: wherry.Store
) -> None:
    published = build_image(TARS, style="docker")
    fake.add_image("app", published, "t")
    pull(registry, store)
    image = client.pull(f"{fake.host}/app:t")
    ours = store.get(f"{registry.host}/team/app:t")
    assert ours.config.diff_ids == image.config.diff_ids
    assert [each.digest for each in ours.layers] == [each.digest for each in image.layers]
    assert not any(
        "/blobs/" in each.path and published.id not in each.path for each in fake.requests
    )


def test_layers_that_came_by_v2_are_stored_once(
    registry: FakeV1Registry, fake: FakeRegistry, client: wherry.Client, store: wherry.Store
) -> None:
    fake.add_image("app", build_image(TARS), "t")
    client.pull(f"{fake.host}/app:t")
    before = {path.name for path in (store.path / "blobs" / "sha256").iterdir()}
    result = pull(registry, store)
    added = {path.name for path in (store.path / "blobs" / "sha256").iterdir()} - before
    assert added == {result.image.id.hex, result.root.hex}


def test_every_image_of_a_chain_has_a_layer(store: wherry.Store) -> None:
    """As for engines, an empty tar is a layer, ``throwaway`` means nothing, nor does a size 0."""
    image = build_v1_image([TARS[0], EMPTY_TAR, EMPTY_TAR, b""], compression="none")
    image = build_v1_image([TARS[1]], below=image, each={"throwaway": True, "Size": 0})
    with FakeV1Registry() as registry:
        registry.add_image("team/app", image, "t")
        pull(registry, store)
        config = store.get(f"{registry.host}/team/app:t").config
    assert [str(each) for each in config.diff_ids] == list(image.diff_ids)
    assert not any(entry.empty_layer for entry in config.history)
    assert b"throwaway" not in config.raw


@pytest.mark.parametrize("how", COMPRESSIONS)
def test_every_compression(store: wherry.Store, how: str) -> None:
    image = build_v1_image(TARS, compression=how)
    with FakeV1Registry() as registry:
        registry.add_image("team/app", image, "t")
        pull(registry, store)
        name = f"{registry.host}/team/app:t"
        assert [str(each) for each in store.get(name).config.diff_ids] == list(image.diff_ids)
        kinds = {each.media_type for each in manifest_of(store, name).layers}
    assert kinds == {DOCKER_PLAIN_LAYER if how == "none" else DOCKER_LAYER}


def test_without_names_nothing_is_named(registry: FakeV1Registry, store: wherry.Store) -> None:
    result = pull(registry, store, options=OPTIONS.replace(names=False))
    assert snapshot(store).names == ()
    assert local_store(store).image(result.root) is not None


# What is requested


def test_an_image_takes_two_requests_a_layer(registry: FakeV1Registry, store: wherry.Store) -> None:
    pull(registry, store)
    assert len(registry.requests) == 4 + 2 * len(IMAGE.layers)  # ping, list, tag, ancestry


def test_an_image_that_is_up_to_date_takes_no_layer(
    registry: FakeV1Registry, store: wherry.Store
) -> None:
    pull(registry, store)
    registry.clear()
    events: list[Event] = []
    result = pull(registry, store, listener=events.append)
    assert not result.updated
    assert fetched(registry, "layer") == []
    assert sorted(fetched(registry, "json")) == sorted(IMAGE.ancestry)
    assert events[-1].message == f"Image is up to date for {registry.host}/team/app:t"
    assert steps(events, IMAGE.id) == [Status.PULLING, Status.EXISTS]


def test_known_layers_are_not_fetched(registry: FakeV1Registry, store: wherry.Store) -> None:
    registry.add_image("team/app", BASE, "base")
    pull(registry, store, "base")
    registry.clear()
    assert pull(registry, store).updated
    assert fetched(registry, "layer") == [IMAGE.id]
    store.remove(f"{registry.host}/team/app:t")
    registry.clear()
    assert pull(registry, store).updated
    assert fetched(registry, "layer") == [IMAGE.id]


def test_a_damaged_layer_is_fetched_again(registry: FakeV1Registry, store: wherry.Store) -> None:
    pull(registry, store)
    layer = store.path / "blobs" / "sha256" / sha256(IMAGE.layers[0].layer).partition(":")[2]
    layer.unlink()
    layer.write_bytes(b"shorter")
    registry.clear()
    assert not pull(registry, store).updated
    assert fetched(registry, "layer") == [IMAGE.layers[0].id]
    assert store.check().problems == []


def test_an_id_is_known_at_one_registry_only(registry: FakeV1Registry, store: wherry.Store) -> None:
    """Another registry may have anything by the same id."""
    pull(registry, store)
    with FakeV1Registry() as other:
        other.add_image("team/app", IMAGE, "t")
        other.images[IMAGE.id].layer = compress(TARS[0], "gzip")
        pull(other, store)
        assert sorted(fetched(other, "layer")) == sorted(IMAGE.ancestry)
        found = store.get(f"{other.host}/team/app:t").config.diff_ids
    assert [str(each) for each in found] == [*BASE.diff_ids, sha256(TARS[0])]


def test_the_ids_of_an_image_are_recorded(registry: FakeV1Registry, store: wherry.Store) -> None:
    result = pull(registry, store)
    local = local_store(store)
    config = parse_config(local.read(result.image.id))
    ids = [each.id for each in IMAGE.layers]
    assert local.v1_ids_of(registry.host, chain_ids(config.diff_ids), config.id) == ids


# Concurrent pulls


def test_two_pulls_at_once_fetch_a_layer_once(
    registry: FakeV1Registry, store: wherry.Store
) -> None:
    registry.inject(Fault(Delay(0.2), path="/layer"))
    events: list[Event] = []
    threads = [
        threading.Thread(target=pull, args=(registry, store), kwargs={"listener": events.append})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fetched(registry, "layer")) == sorted(IMAGE.ancestry)
    assert Status.WAITING in steps(events, IMAGE.id)
    assert snapshot(store).parts == ()


PROCESS = """
import sys
import wherry
sys.path.insert(0, {helpers!r})
from v1_pulls import pull
class Registry:
    host = sys.argv[1]
print(pull(Registry, wherry.Store(sys.argv[2])).image.id)
"""


def test_two_processes_fetch_a_layer_once(registry: FakeV1Registry, store: wherry.Store) -> None:
    registry.inject(Fault(Delay(0.3), path="/layer"))
    helpers = str(Path(__file__).parent.parent / "helpers")
    command = [sys.executable, "-c", PROCESS.format(helpers=helpers), registry.host]
    processes = [
        subprocess.Popen([*command, str(store.path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    shown = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert shown[0] == shown[1]
    assert sorted(fetched(registry, "layer")) == sorted(IMAGE.ancestry)


# Faults


@pytest.mark.parametrize("ranges", [True, False])
def test_a_layer_is_resumed(store: wherry.Store, ranges: bool) -> None:
    large = build_v1_image([tar_layer({"large": b"x" * 400_000})], compression="none")
    with FakeV1Registry(ranges=ranges) as registry:
        registry.add_image("team/app", large, "t")
        cut = registry.inject(Fault(Cut(after=300_000), path="/layer", times=1))
        pull(registry, store)
        assert cut.count == 1
        asked = [each for each in registry.requests if each.path.endswith("/layer")]
        assert [each.headers.get("range") for each in asked] == [
            None,
            "bytes=300000-" if ranges else None,
        ]
        found = store.get(f"{registry.host}/team/app:t").config.diff_ids
    assert [str(each) for each in found] == list(large.diff_ids)


def test_a_range_that_is_ignored(registry: FakeV1Registry, store: wherry.Store) -> None:
    registry.inject(Fault(Cut(after=100), path=f"{IMAGE.id}/layer", times=1))
    registry.inject(Fault(IgnoreRange(), path="/layer"))
    pull(registry, store)
    assert store.check().problems == []


@pytest.mark.parametrize("fault", [Cut(after=50), FixedReply(503)], ids=["cut", "unavailable"])
def test_a_layer_that_never_arrives(
    registry: FakeV1Registry, store: wherry.Store, fault: Cut | FixedReply
) -> None:
    failing = registry.inject(Fault(fault, path=f"{BASE.id}/layer"))
    if isinstance(fault, Cut):
        registry.inject(Fault(IgnoreRange(), path="/layer"))
    events: list[Event] = []
    with pytest.raises((NetworkError, RegistryError), match=registry.host) as caught:
        pull(registry, store, listener=events.append)
    assert failing.count == caught.value.attempts == OPTIONS.copy.policy.attempts
    assert snapshot(store) == Snapshot()
    ours = [event for event in events if event.digest and event.digest.hex == BASE.id]
    assert (ours[-1].status, ours[-1].current) == (Status.DOWNLOADING, 0)  # none of it is kept
    registry.faults.clear()
    assert pull(registry, store).updated


def test_a_cancelled_pull_ends_at_once(registry: FakeV1Registry, store: wherry.Store) -> None:
    registry.inject(Fault(Stall(after=50, seconds=30), path=f"{IMAGE.id}/layer"))
    cancel = CancelToken()

    def stop(event: Event) -> None:
        if event.status is Status.COMPLETE:
            cancel.cancel()

    with pytest.raises(Cancelled):
        pull(registry, store, listener=stop, cancel=cancel)
    assert snapshot(store) == Snapshot()


def test_a_tag_that_is_not_there(registry: FakeV1Registry, store: wherry.Store) -> None:
    with pytest.raises(NotFound, match=f"{registry.host}/team/app:other"):
        pull(registry, store, "other")
    assert not store.path.exists() or snapshot(store) == Snapshot()


def test_a_missing_image_of_the_chain(registry: FakeV1Registry, store: wherry.Store) -> None:
    del registry.images[BASE.id]
    registry.images[IMAGE.id].ancestry = IMAGE.ancestry
    with pytest.raises(NotFound, match=BASE.id):
        pull(registry, store)
    assert fetched(registry, "layer") == []
    assert snapshot(store) == Snapshot()


def test_a_digest_is_refused(registry: FakeV1Registry, store: wherry.Store) -> None:
    with connected(registry) as repository:
        registry.clear()
        reference = Reference.parse(f"{registry.host}/team/app@{IMAGE.diff_ids[0]}")
        with pytest.raises(Unsupported, match="v1 protocol, which knows no digests"):
            pull_v1(
                repository,
                local_store(store),
                reference,
                OPTIONS,
                CancelToken(),
                lambda _: None,
            )
    assert registry.requests == []


# Platforms


def test_another_platform_than_the_named_one(registry: FakeV1Registry, store: wherry.Store) -> None:
    with pytest.raises(PlatformMismatch, match="is for linux/amd64, not for linux/arm64") as caught:
        pull(registry, store, options=OPTIONS.replace(platforms=(ARM,), strict=True))
    assert caught.value.available == ("linux/amd64",)
    assert fetched(registry, "layer") == []
    assert snapshot(store) == Snapshot()


def test_another_platform_than_this_machine(registry: FakeV1Registry, store: wherry.Store) -> None:
    events: list[Event] = []
    options = OPTIONS.replace(host=ARM, platforms=(ARM,))
    assert pull(registry, store, options=options, listener=events.append).updated
    warnings = [event.message for event in events if event.status is Status.WARNING]
    assert warnings == ["the image is for linux/amd64, not for linux/arm64"]


def test_another_system(store: wherry.Store) -> None:
    with FakeV1Registry() as registry:
        registry.add_image("team/app", build_v1_image(TARS, top={"os": "windows"}), "t")
        with pytest.raises(PlatformMismatch, match="is for windows/amd64"):
            pull(registry, store)
        everything = OPTIONS.replace(platforms=())
        assert pull(registry, store, options=everything).image.platform == "windows/amd64"


def test_an_image_that_names_no_platform(store: wherry.Store) -> None:
    """Engines before 0.9 wrote neither a system nor an architecture."""
    image = build_v1_image(TARS, each={"os": None, "architecture": None, "docker_version": "0.6"})
    with FakeV1Registry() as registry:
        registry.add_image("team/app", image, "t")
        options = OPTIONS.replace(platforms=(ARM,), strict=True)
        assert pull(registry, store, options=options).updated


# All tags


def test_all_tags(registry: FakeV1Registry, store: wherry.Store) -> None:
    registry.add_image("team/app", BASE, "base", "same")
    registry.add_image("team/app", build_v1_image([b""], top={"os": "windows"}), "windows")
    events: list[Event] = []
    found = pull_all(registry, store, listener=events.append)
    assert [(each.reference.tag, each.updated) for each in found] == [
        ("t", True),
        ("base", True),
        ("same", True),
    ]
    assert len({each.image.id for each in found}) == 2
    assert sorted(fetched(registry, "layer")) == sorted(IMAGE.ancestry)
    assert fetched(registry, "ancestry").count(BASE.id) == 1
    warnings = [event.message for event in events if event.status is Status.WARNING]
    assert warnings == ["windows: the image is for windows/amd64, not for linux/amd64; skipped"]
    with pytest.raises(PlatformMismatch):
        pull_all(registry, store, OPTIONS.replace(strict=True))


def test_no_tag_is_for_the_platform(registry: FakeV1Registry, store: wherry.Store) -> None:
    options = OPTIONS.replace(platforms=(Platform("freebsd", HOST.architecture),))
    with pytest.raises(PlatformMismatch, match="no tag has an image for freebsd/amd64"):
        pull_all(registry, store, options)
    registry.tags["team/app"].clear()
    with pytest.raises(NotFound, match="no tagged images"):
        pull_all(registry, store)


# Events


def test_events(registry: FakeV1Registry, store: wherry.Store) -> None:
    events: list[Event] = []
    pull(registry, store, listener=events.append)
    assert events[0].message == "t: Pulling from team/app"
    for each in IMAGE.layers:
        assert steps(events, each.id) == [
            Status.PULLING,
            Status.VERIFYING,
            Status.DOWNLOADED,
            Status.COMPLETE,
        ]
        assert {
            event.total for event in events if event.digest and event.digest.hex == each.id
        } == {len(each.layer)}
    assert events[-1].message == f"Downloaded newer image for {registry.host}/team/app:t"
    assert not [event for event in events if event.status is Status.DIGEST]  # none is known there
