"""Pushes to registries that speak only version 1: ids, layers, tags, and what is there."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from wherry.image_store import local_store
from wherry.model.config import chain_ids
from wherry.model.digest import Digest
from wherry.store.v1_ids import V1Id
from wherry.testing import (
    Action,
    BuiltImage,
    FakeRegistry,
    FakeV1Registry,
    Fault,
    FixedReply,
    HangUp,
    build_image,
    build_index,
    build_schema1,
    build_v1_image,
    compress,
    tar_layer,
    v1_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TARS = [tar_layer({f"f{number}": b"x" * 3000 * number}) for number in range(3)]
IMAGE = build_image(TARS)
TOP = IMAGE.id.removeprefix("sha256:")
CHAIN = chain_ids([Digest.of(tar) for tar in TARS])
IDS = [*(each.hex for each in CHAIN[:-1]), TOP]
EMPTY = bytes(1024)
SIZE = sum(each.size for each in IMAGE.layers)
MODES: dict[str, dict[str, Any]] = {
    "standalone": {},
    "standalone-session": {"sessions": True},
    "standalone-users": {"users": {"user": "secret"}},
    "index": {"tokens": True},
    "index-session": {"tokens": True, "sessions": True},
    "index-users": {"tokens": True, "sessions": True, "users": {"user": "secret"}},
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[wherry.Client]:
    with wherry.Client(store=tmp_path / "store", legacy=True, retries=2) as client:
        yield client


@pytest.fixture
def v1() -> Iterator[FakeV1Registry]:
    with FakeV1Registry() as registry:
        yield registry


@pytest.fixture
def source() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def pulled(client: wherry.Client, source: FakeRegistry, image: BuiltImage = IMAGE) -> str:
    """Return the name of an image in the store."""
    source.add_image("app", image, "1")
    name = f"{source.host}/app:1"
    client.pull(name)
    return name


def layers_of(registry: FakeV1Registry, image_id: str) -> list[bytes]:
    """Return the decompressed layers of an image, the lowest first, all complete."""
    found = [registry.images[each] for each in reversed(registry.ancestry(image_id))]
    assert all(each.is_complete for each in found)
    packed = [each.layer for each in found if isinstance(each.layer, bytes)]
    return [gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in packed]


def sent_layers(registry: FakeV1Registry) -> list[str]:
    """Return the ids whose layers were sent, in their order."""
    paths = [each.path for each in registry.requests if each.method == "PUT"]
    return [path.split("/")[3] for path in paths if path.endswith("/layer")]


def legacy_paths(registry: FakeV1Registry | FakeRegistry) -> list[str]:
    return [each.path for each in registry.requests if each.path.startswith("/v1/")]


@pytest.mark.parametrize("mode", MODES)
def test_an_image_is_pushed_once(tmp_path: Path, source: FakeRegistry, mode: str) -> None:
    own: dict[str, Any] = {"credentials": ("user", "secret")} if "users" in MODES[mode] else {}
    with (
        FakeV1Registry(**MODES[mode]) as v1,
        wherry.Client(store=tmp_path / "store", legacy=True, retries=1, **own) as client,
    ):
        name = pulled(client, source)
        done = client.push(name, f"{v1.host}/team/app:2", additional_tags=["more"])
        assert (done.v1_id, done.names) == (TOP, ("2", "more"))
        assert done.sent == SIZE
        assert v1.tags == {"team/app": {"2": TOP, "more": TOP}}
        assert layers_of(v1, TOP) == TARS
        assert sent_layers(v1) == IDS
        sums = {each: v1.images[each].checksums[0] for each in IDS}
        assert v1.lists["team/app"] == sums
        v1.requests.clear()
        again = client.push(name, f"{v1.host}/team/app:2")
        assert (again.v1_id, again.sent) == (TOP, 0)
        assert sent_layers(v1) == []
        assert v1.lists["team/app"] == sums


def test_the_layers_are_sent_as_they_are_stored(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    client.push(pulled(client, source), f"{v1.host}/app:1")
    assert [v1.images[each].layer for each in IDS] == [each.data for each in IMAGE.layers]


@pytest.mark.parametrize(
    ("form", "wanted", "starts"),
    [
        ("zstd", None, b"\x1f\x8b"),
        ("none", None, b"\x1f\x8b"),
        ("none", "keep", TARS[1][:2]),
        ("gzip", "none", TARS[1][:2]),
        ("zstd", "gzip:9", b"\x1f\x8b"),
    ],
)
def test_layers_are_compressed_for_old_registries(
    client: wherry.Client,
    source: FakeRegistry,
    v1: FakeV1Registry,
    form: str,
    wanted: str | None,
    starts: bytes,
) -> None:
    image = build_image(TARS[1:2], compression=form)
    name = pulled(client, source, image)
    done = client.push(name, f"{v1.host}/app:1", compression=wanted)
    (layer,) = [each.layer for each in v1.images.values()]
    assert isinstance(layer, bytes)
    assert layer.startswith(starts)
    assert layers_of(v1, done.v1_id) == TARS[1:2]


@pytest.mark.parametrize(("form", "wanted"), [("gzip", "zstd"), ("zstd", "keep")])
def test_zstd_is_refused(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry, form: str, wanted: str
) -> None:
    name = pulled(client, source, build_image(TARS, compression=form))
    with pytest.raises(wherry.Unsupported, match="zstd"):
        client.push(name, f"{v1.host}/app:1", compression=wanted)
    assert not v1.images


def test_a_schema1_image_keeps_its_ids_and_its_json(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    layers = [compress(tar, "gzip") for tar in TARS]
    built = build_schema1(layers, name="app", top={"throwaway": True})
    for layer in layers:
        source.add_blob(layer)
    manifest = built.manifest
    source.add_manifest("app", manifest.data, manifest.media_type, "1", digest=built.digest)
    client.pull(f"{source.host}/app:1")
    done = client.push(f"{source.host}/app:1", f"{v1.host}/app:1")
    assert done.v1_id == v1_id(2)
    history = json.loads(built.payload)["history"]
    kept = [each["v1Compatibility"].encode() for each in reversed(history)]
    assert [v1.images[v1_id(number)].json for number in range(3)] == kept
    assert layers_of(v1, v1_id(2)) == [*TARS[:2], EMPTY]


def test_the_recorded_ids_of_the_registry_are_reused(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    name = pulled(client, source)
    own = [v1_id(number) for number in range(3)]
    local_store(client.store).record_v1_ids(
        v1.host,
        [
            V1Id(*pair, Digest.parse(layer.digest), chain_id, image)
            for pair, layer, chain_id, image in zip(
                zip(own, ["", *own[:2]], strict=True),
                IMAGE.layers,
                CHAIN,
                [None, None, Digest.parse(IMAGE.id)],
                strict=True,
            )
        ],
    )
    assert client.push(name, f"{v1.host}/app:1").v1_id == own[2]
    assert sent_layers(v1) == own
    assert v1.ancestry(own[2]) == own[::-1]
    with FakeV1Registry() as other:
        assert client.push(name, f"{other.host}/app:1").v1_id == TOP


def test_what_was_pulled_is_pushed_back_under_its_ids(
    client: wherry.Client, v1: FakeV1Registry
) -> None:
    built = build_v1_image(TARS)
    v1.add_image("old", built, "1")
    name = f"{v1.host}/old:1"
    client.pull(name)
    assert client.push(name, f"{v1.host}/old:2").sent == 0
    assert v1.tags["library/old"] == {"1": built.id, "2": built.id}
    v1.images.clear()
    assert client.push(name).v1_id == built.id
    assert v1.ancestry(built.id) == built.ancestry
    assert layers_of(v1, built.id) == TARS


def test_what_was_pushed_is_pulled_with_the_same_layers(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry, tmp_path: Path
) -> None:
    image = build_image(TARS, compression=["gzip", "zstd", "none"], env=["A=1"], cmd=["run"])
    client.push(pulled(client, source, image), f"{v1.host}/app:1")
    with wherry.Client(store=tmp_path / "other", legacy=True) as other:
        found = other.pull(f"{v1.host}/app:1")
    assert list(found.config.diff_ids) == list(image.diff_ids)
    assert (found.config.env, found.config.cmd) == ({"A": "1"}, ("run",))


def test_pushed_ids_are_recorded_for_pulls(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    client.push(pulled(client, source), f"{v1.host}/app:1")
    found = local_store(client.store).v1_layers(v1.host, IDS)
    assert [str(found[each]) for each in IDS] == [each.digest for each in IMAGE.layers]


def test_another_config_makes_another_image_on_the_same_images(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    client.push(pulled(client, source), f"{v1.host}/app:1")
    v1.requests.clear()
    other = build_image(TARS, env=["OTHER=1"])
    done = client.push(pulled(client, source, other), f"{v1.host}/app:2")
    assert v1.ancestry(done.v1_id) == [other.id.removeprefix("sha256:"), *IDS[1::-1]]
    assert sent_layers(v1) == [done.v1_id]


def test_shared_layers_of_all_tags_are_sent_once(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    name = pulled(client, source)
    longer = build_image([*TARS, tar_layer({"top": b"1"})])
    source.add_image("app", longer, "2")
    client.pull(f"{source.host}/app:2")
    client.store.tag(name, f"{source.host}/app:again")
    done = client.push_all_tags(f"{source.host}/app", f"{v1.host}/team/app")
    ids = {each.id.removeprefix("sha256:") for each in (IMAGE, longer)}
    assert {each.v1_id for each in done} == ids
    assert sorted(sent_layers(v1)) == sorted({*IDS, CHAIN[2].hex, *ids})
    assert v1.tags["team/app"] == {"1": TOP, "again": TOP, "2": longer.id.removeprefix("sha256:")}


def test_one_platform_of_an_index_is_pushed(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    arm = build_image(TARS[:1], architecture="arm64")
    index = build_index(
        [
            (IMAGE, {"os": "linux", "architecture": "amd64"}),
            (arm, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    source.add_image("app", index, "all")
    origin, target = f"docker://{source.host}/app:all", f"{v1.host}/app:1"
    assert client.push(origin, target, platform="linux/amd64").v1_id == TOP
    assert f"sha256:{client.push(origin, target, platform='linux/arm64').v1_id}" == arm.id
    with pytest.raises(wherry.PlatformMismatch):
        client.push(origin, target, platform="linux/s390x")
    with pytest.raises(wherry.Unsupported, match="no indexes"):
        client.push(origin, target, all_platforms=True)
    with pytest.raises(wherry.Unsupported, match="no indexes"):
        client.push(origin, target, platform="linux/amd64,linux/arm64")
    with pytest.raises(wherry.Unsupported, match="its own format"):
        client.push(origin, target, platform="linux/amd64", convert_to="oci")
    with pytest.raises(wherry.Unsupported, match="no referrers"):
        client.push(origin, target, platform="linux/amd64", referrers=True)


def test_a_tag_is_needed(client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry) -> None:
    name = pulled(client, source)
    with pytest.raises(wherry.Unsupported, match="no digests"):
        client.push(name, f"{v1.host}/app@{IMAGE.digest}")
    assert not v1.lists


@pytest.mark.parametrize("kind", ["oci", "docker-archive", "dir"])
def test_other_places_are_pushed_too(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry, tmp_path: Path, kind: str
) -> None:
    source.add_image("app", IMAGE, "1")
    address = f"{kind}:{tmp_path / 'place'}"
    client.copy(f"docker://{source.host}/app:1", address)
    done = client.push(address, f"{v1.host}/app:1")
    assert done.v1_id == TOP
    assert layers_of(v1, TOP) == TARS


def test_an_image_without_layers_gets_an_empty_one(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    done = client.push(pulled(client, source, build_image([])), f"{v1.host}/app:1")
    assert layers_of(v1, done.v1_id) == [EMPTY]


def test_a_plan_writes_nothing(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    name = pulled(client, source)
    first = client.plan_copy(f"store:{name}", f"{v1.host}/app:1")
    assert str(first) == f"3 layers: 3 to send ({SIZE} B); 1 tag"
    assert {each.method for each in v1.requests} == {"GET"}
    assert first.execute(client).v1_id == TOP
    assert str(client.plan_copy(f"store:{name}", f"{v1.host}/app:1")) == (
        "3 layers: 3 are there; 1 tag"
    )
    assert any("legacy one" in note for note in first.notes)
    assert first.to_json()["v1"] is True


@pytest.mark.parametrize("users", [None, {"user": "secret"}])
def test_a_plan_for_a_new_repository_of_an_index(
    source: FakeRegistry, tmp_path: Path, users: dict[str, str] | None
) -> None:
    own: dict[str, Any] = {"credentials": ("user", "secret")} if users else {}
    with (
        FakeV1Registry(tokens=True, users=users) as v1,
        wherry.Client(store=tmp_path / "store", legacy=True, retries=1, **own) as client,
    ):
        plan = client.plan_copy(f"store:{pulled(client, source)}", f"{v1.host}/app:1")
        assert len(plan.moves) == 3
        assert not v1.lists


def test_without_the_switch_nothing_of_version_1_is_sent(
    source: FakeRegistry, v1: FakeV1Registry, tmp_path: Path
) -> None:
    with wherry.Client(store=tmp_path / "store", retries=1) as client:
        name = pulled(client, source)
        with pytest.raises(wherry.NotFound) as caught:
            client.push(name, f"{v1.host}/app:1")
    assert "--legacy" in (caught.value.hint or "")
    assert legacy_paths(v1) == []


def test_the_host_that_hosts_toml_names_is_pushed_to(
    source: FakeRegistry, v1: FakeV1Registry, tmp_path: Path, environment: dict[str, str]
) -> None:
    settings = Path(environment["XDG_CONFIG_HOME"])
    location = f'prefix = "h.example"\nlocation = "{v1.host}/x"'
    for path, text in {
        "containers/registries.conf": f"[[registry]]\n{location}",
        "wherry/hosts.toml": f'["{v1.host}"]\nlegacy = true\n',
    }.items():
        (settings / path).parent.mkdir()
        (settings / path).write_text(text)
    with wherry.Client(store=tmp_path / "store", retries=1) as client:
        name = pulled(client, source)
        assert client.push(name, "h.example/app:1").v1_id == TOP
        assert v1.tags == {"x/app": {"1": TOP}}
        assert client.push(name, "h.example/app:2").sent == 0


def test_where_version_2_is_there_it_is_used(client: wherry.Client, source: FakeRegistry) -> None:
    name = pulled(client, source)
    with FakeRegistry() as v2, FakeV1Registry(v2=v2) as both:
        done = client.push(name, f"{both.host}/app:1")
        assert str(done.root.digest) == IMAGE.digest
        assert v2.tags["app"]["1"] == IMAGE.digest
        assert done.v1_id == ""
        assert legacy_paths(both) == []


@pytest.mark.parametrize(
    "answer",
    [
        FixedReply(405),
        FixedReply(200, {"Content-Type": "text/html"}, b"<html>nothing</html>"),
        FixedReply(401, {"WWW-Authenticate": 'Basic realm="all"'}),
        HangUp(),
    ],
)
def test_version_1_follows_answers_that_are_not_of_version_2(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry, answer: Action
) -> None:
    name = pulled(client, source)
    v1.inject(Fault(answer, path="^/v2/"))
    assert client.push(name, f"{v1.host}/app:1").v1_id == TOP


@pytest.mark.parametrize("status", [403, 500])
def test_version_1_does_not_follow_a_failure_of_version_2(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry, status: int
) -> None:
    name = pulled(client, source)
    v1.inject(Fault(FixedReply(status, {"Retry-After": "0"}), path="^/v2/"))
    with pytest.raises(wherry.WherryError):
        client.push(name, f"{v1.host}/app:1")
    assert legacy_paths(v1) == []


def test_events_tell_what_happens(
    client: wherry.Client, source: FakeRegistry, v1: FakeV1Registry
) -> None:
    name = pulled(client, source)
    events: list[wherry.Event] = []
    client.push(name, f"{v1.host}/app:1", on_event=events.append)
    target = f"{v1.host}/app:1"
    texts = [each.message for each in events if each.message]
    assert texts[0] == f"{target}: 3 layers: 3 to send ({SIZE} B)"
    assert texts[-1] == f"Pushed {target} (image {TOP[:12]})"
    assert any("legacy one" in text for text in texts[1:-1])
    pushed = [each for each in events if each.status is wherry.Status.PUSHED]
    assert [str(each.digest) for each in pushed] == [each.digest for each in IMAGE.layers]
    assert [each.current for each in pushed] == [len(each.data) for each in IMAGE.layers]
    events.clear()
    client.push(name, target, on_event=events.append)
    assert sum(each.status is wherry.Status.SKIPPED for each in events) == 3
    assert events[-1].message == f"Tagged {target} (image {TOP[:12]})"
