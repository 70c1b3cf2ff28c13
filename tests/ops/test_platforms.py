"""Pull one, several or all platforms of an index, and another one later."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from wherry import Status
from wherry.errors import PlatformMismatch, Unsupported
from wherry.testing import BuiltImage, BuiltIndex, FakeRegistry, build_image, build_index, tar_layer

if TYPE_CHECKING:
    from conftest import Wherry
    from wherry import Client, Event, Store

PLATFORMS = {
    "amd64": {"os": "linux", "architecture": "amd64"},
    "arm64": {"os": "linux", "architecture": "arm64", "variant": "v8"},
    "arm": {"os": "linux", "architecture": "arm", "variant": "v7"},
}


def image(architecture: str) -> BuiltImage:
    layers = [tar_layer({"common": b"same everywhere"}), tar_layer({architecture: b"x"})]
    variant = str(PLATFORMS[architecture].get("variant", ""))
    return build_image(layers, architecture=architecture, variant=variant)


IMAGES = {name: image(name) for name in PLATFORMS}
ATTESTATION = build_image(
    [b'{"_type":"statement"}'],
    compression="none",
    layer_media_types=["application/vnd.in-toto+json"],
)


def index(style: str = "oci") -> BuiltIndex:
    entries = [(IMAGES[name], platform) for name, platform in PLATFORMS.items()]
    attested = (ATTESTATION, {"os": "unknown", "architecture": "unknown"})
    return build_index([*entries, attested], style=style)  # type: ignore[arg-type]


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", index(), "t")
    return f"{fake.host}/app:t"


def test_all_platforms_brings_all_images_and_no_attestation(
    client: Client, store: Store, name: str
) -> None:
    pulled = client.pull(name, all_platforms=True)
    assert str(pulled.digest) == index().digest
    assert str(pulled.id) == IMAGES["amd64"].id
    assert tuple(map(str, pulled.platforms)) == ("linux/amd64", "linux/arm64", "linux/arm/v7")
    for built in IMAGES.values():
        assert str(store.get(built.id).id) == built.id


def test_several_platforms_by_name(client: Client, name: str) -> None:
    pulled = client.pull(name, platform="linux/arm/v7,linux/arm64")
    assert set(map(str, pulled.platforms)) == {"linux/arm64", "linux/arm/v7"}


def test_the_layer_that_all_have_is_fetched_once(
    fake: FakeRegistry, client: Client, name: str
) -> None:
    client.pull(name, all_platforms=True)
    gets = [request.path for request in fake.requests if "/blobs/" in request.path]
    attestation = 2  # its config and its one layer
    assert len(gets) == len(set(gets)) == 3 + 1 + 3 + attestation


def test_a_platform_that_is_pulled_later_joins_the_others(
    client: Client, store: Store, name: str
) -> None:
    first = client.pull(name, platform="linux/amd64")
    assert tuple(map(str, first.platforms)) == ("linux/amd64",)
    client.pull(name, platform="linux/arm64")
    again = store.get(name)
    assert set(map(str, again.platforms)) == {"linux/amd64", "linux/arm64"}
    assert str(again.id) == IMAGES["arm64"].id  # the platform of the last pull
    assert str(store.get(IMAGES["amd64"].id).id) == IMAGES["amd64"].id


def test_a_platform_in_the_list_that_is_not_there_is_an_error(
    client: Client, store: Store, name: str
) -> None:
    with pytest.raises(PlatformMismatch) as caught:
        client.pull(name, platform="linux/amd64,linux/s390x")
    assert caught.value.available == ("linux/amd64", "linux/arm64/v8", "linux/arm/v7")
    assert store.images() == []


def test_all_platforms_of_a_plain_image_is_that_image(fake: FakeRegistry, client: Client) -> None:
    fake.add_image("app", IMAGES["arm"], "plain")
    pulled = client.pull(f"{fake.host}/app:plain", all_platforms=True)
    assert str(pulled.id) == IMAGES["arm"].id


def test_an_index_of_attestations_alone_holds_no_image(fake: FakeRegistry, client: Client) -> None:
    fake.add_image("app", build_index([(ATTESTATION, None)]), "t")
    with pytest.raises(Unsupported, match="no image"):
        client.pull(f"{fake.host}/app:t", all_platforms=True)


def test_nested_indexes_are_searched_and_all_kept(
    fake: FakeRegistry, client: Client, store: Store
) -> None:
    inner = build_index([(IMAGES["arm64"], PLATFORMS["arm64"])])
    outer = build_index([(IMAGES["amd64"], PLATFORMS["amd64"]), (inner, None)])
    fake.add_image("app", outer, "nested")
    pulled = client.pull(f"{fake.host}/app:nested", platform="linux/arm64")
    assert str(pulled.id) == IMAGES["arm64"].id
    assert str(pulled.digest) == outer.digest
    every = client.pull(f"{fake.host}/app:nested", all_platforms=True)
    assert str(store.get(IMAGES["amd64"].id).id) == IMAGES["amd64"].id
    assert str(every.id) == IMAGES["amd64"].id


# All tags, some without an image for this machine

S390X = build_image([tar_layer({"s": b"390x"})], architecture="s390x")
FOREIGN = build_index([(S390X, {"os": "linux", "architecture": "s390x"})])
WINDOWS = build_image([tar_layer({"w": b"x" * 5000})], os="windows")


@pytest.fixture
def repository(fake: FakeRegistry) -> str:
    """A repository whose first, third and last tags are for other machines."""
    fake.add_image("app", FOREIGN, "a", "z")
    fake.add_image("app", WINDOWS, "c")
    fake.add_image("app", index(), "b", "d")
    return f"{fake.host}/app"


def test_all_tags_skip_tags_without_an_image_for_this_machine(
    client: Client, store: Store, repository: str
) -> None:
    heard: list[Event] = []
    pulled = client.pull_all_tags(repository, on_event=heard.append)
    assert [str(each.id) for each in pulled] == [IMAGES["amd64"].id] * 2
    tagged = {name for each in store.images() for name in each.names if "@" not in name}
    assert tagged == {f"{repository}:b", f"{repository}:d"}
    warnings = [event.message for event in heard if event.status is Status.WARNING]
    assert [text[:3] for text in warnings] == ["a: ", "c: ", "z: "]
    assert all(text.endswith("; skipped") for text in warnings)
    assert f"{repository}:" not in "".join(warnings)  # the event names its digest
    assert heard[-1].status is Status.DONE


def test_all_tags_of_other_machines_are_an_error(
    client: Client, fake: FakeRegistry, wherry: Wherry
) -> None:
    fake.add_image("app", FOREIGN, "a", "z")
    fake.add_image("app", WINDOWS, "c")
    name = f"{fake.host}/app"
    with pytest.raises(
        PlatformMismatch, match=f"^{name}: no tag has an image for linux/"
    ) as caught:
        client.pull_all_tags(name)
    assert caught.value.available == ("linux/s390x", "windows/amd64")
    done = wherry("pull", "-q", "--all-tags", name)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1] == "  they have: linux/s390x windows/amd64"


def test_a_platform_that_was_asked_for_is_there_in_all_tags(
    client: Client, store: Store, fake: FakeRegistry
) -> None:
    fake.add_image("app", index(), "a")
    fake.add_image("app", FOREIGN, "b")
    with pytest.raises(PlatformMismatch, match=f"^{fake.host}/app:b: there is no image for"):
        client.pull_all_tags(f"{fake.host}/app", platform="linux/arm64")
    assert str(store.get(f"{fake.host}/app:a").id) == IMAGES["arm64"].id


@pytest.mark.parametrize("call", ["pull", "inspect", "config", "history", "digest"])
def test_the_error_of_a_call_names_the_image(client: Client, name: str, call: str) -> None:
    with pytest.raises(PlatformMismatch, match=f"^{name}: there is no image for linux/s390x$"):
        getattr(client, call)(name, platform="linux/s390x")


def test_the_error_names_the_parent_of_an_import(client: Client, name: str, wherry: Wherry) -> None:
    layer, said = tar_layer({"a": b"1"}), f"{name}: there is no image for linux/s390x"
    with pytest.raises(PlatformMismatch, match=f"^docker://{said}$"):
        client.import_(io.BytesIO(layer), parent=f"docker://{name}", platform="linux/s390x")
    done = wherry("inspect", "--no-tags", "--platform=linux/s390x", name)
    assert done.returncode == 3
    assert done.stderr == f"wherry: {said}\n  it has: linux/amd64 linux/arm64/v8 linux/arm/v7\n"
