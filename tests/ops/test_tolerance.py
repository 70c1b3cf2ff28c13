"""Pull faulty images that all other tools pull, with a warning that `validate` repeats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import wherry as library
from wherry.content.events import Status
from wherry.content.pipeline import Limits
from wherry.content.verify import RawLimit
from wherry.errors import IntegrityError, InvalidDocument, PlatformMismatch
from wherry.model import mediatype
from wherry.testing import (
    BuiltImage,
    Corrupt,
    Cut,
    FakeRegistry,
    Fault,
    build_image,
    build_index,
    document,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry import Client, Event, Image, Store

TARS = [tar_layer({f"f{number}": b"x%d" % number * 500}) for number in range(3)]
GOOD = build_image(TARS)
AMD64 = {"os": "linux", "architecture": "amd64"}
DOCKER_LIST, OCI_INDEX = mediatype.DOCKER_LIST, mediatype.OCI_INDEX


def pull(client: Client, name: str, **options: Any) -> tuple[Image, list[str]]:
    """Pull an image and return it with the warnings."""
    events: list[Event] = []
    image = client.pull(name, on_event=events.append, **options)
    return image, [event.message for event in events if event.status is Status.WARNING]


def findings(client: Client, name: str) -> list[str]:
    return [finding.where for finding in client.validate(name).findings]


# Kinds


@pytest.mark.parametrize(
    ("stated", "served"),
    [
        (OCI_INDEX, DOCKER_LIST),
        (DOCKER_LIST, OCI_INDEX),
        (OCI_INDEX, DOCKER_LIST.upper() + "; charset=utf-8"),
    ],
)
def test_an_index_served_as_the_other_type(
    fake: FakeRegistry, client: Client, stated: str, served: str
) -> None:
    index = build_index([(GOOD, AMD64)], extra={"mediaType": stated})
    fake.add_image("app", GOOD)
    fake.add_manifest("app", index.index.data, served, "t")
    name = f"{fake.host}/app:t"
    image, (warning,) = pull(client, name)
    assert str(image.id) == GOOD.id
    assert "mediaType" in warning
    assert findings(client, name) == ["mediaType"]
    assert str(client.inspect(name).digest) == index.digest
    assert findings(client, f"store:{name}") == []


@pytest.mark.parametrize("style", ["oci", "docker"])
def test_entries_of_the_other_type(fake: FakeRegistry, client: Client, style: Any) -> None:
    inside = build_image(TARS, style=style)
    stated = mediatype.DOCKER_MANIFEST if style == "oci" else mediatype.OCI_MANIFEST
    index = build_index([(inside, AMD64)], entry_extra={"mediaType": stated})
    fake.add_image("app", index, "t")
    name = f"{fake.host}/app:t"
    image, (warning,) = pull(client, name)
    assert str(image.id) == inside.id
    assert stated in warning
    assert findings(client, name) == ["manifests[0].mediaType"]


def test_an_entry_of_another_kind_is_refused(fake: FakeRegistry, client: Client) -> None:
    index = build_index([(GOOD, AMD64)], entry_extra={"mediaType": OCI_INDEX})
    fake.add_image("app", index, "t")
    with pytest.raises(InvalidDocument, match="is a manifest, its index says index"):
        client.pull(f"{fake.host}/app:t")


@pytest.mark.parametrize("version", [0, 1, None])
def test_a_schema_version_that_the_type_contradicts(
    fake: FakeRegistry, client: Client, version: int | None
) -> None:
    inside = build_image(TARS, manifest_extra={"schemaVersion": version})
    index = build_index([(inside, AMD64)], extra={"schemaVersion": version})
    fake.add_image("app", index, "t")
    name = f"{fake.host}/app:t"
    image, warnings = pull(client, name)
    assert str(image.id) == inside.id
    assert len(warnings) == 2
    assert findings(client, name) == ["schemaVersion", "manifests[0] > schemaVersion"]


def test_an_artifact_type_beside_an_image_config(fake: FakeRegistry, client: Client) -> None:
    built = build_image(TARS, manifest_extra={"artifactType": "application/vnd.acme.app"})
    fake.add_image("app", built, "t")
    image, warnings = pull(client, f"{fake.host}/app:t")
    assert str(image.id) == built.id
    assert len(warnings) == 1
    report = client.validate(f"{fake.host}/app:t")
    assert [(finding.error, finding.where) for finding in report.findings] == [
        (False, "artifactType")
    ]


@pytest.mark.parametrize(
    "kind",
    ["application/vnd.oci.image.config.v2+json", "APPLICATION/VND.DOCKER.CONTAINER.IMAGE.V1"],
)
def test_config_types_up_to_a_dot(fake: FakeRegistry, client: Client, kind: str) -> None:
    built = build_image(TARS, config_media_type=kind)
    fake.add_image("app", built, "t")
    image, warnings = pull(client, f"{fake.host}/app:t")
    assert str(image.id) == built.id
    assert len(warnings) == 1


# Sizes of layers

BIG = build_image([tar_layer(pseudo_random_files(5, 3_000_000, 3)), *TARS])
SIZES: list[tuple[str, Callable[[int], int | None]]] = [
    ("one too many", lambda size: size + 1),
    ("one too few", lambda size: size - 1),
    ("half", lambda size: size // 2),
    ("0", lambda _: 0),
    ("-1", lambda _: -1),
    ("absent", lambda _: None),
    ("a petabyte", lambda _: 2**50),
]


def resized(built: BuiltImage, change: Callable[[int], int | None]) -> bytes:
    """Return the manifest with another size of its first layer."""
    manifest = json.loads(built.manifest.data)
    size = change(manifest["layers"][0]["size"])
    manifest["layers"][0] |= {"size": size}
    if size is None:
        del manifest["layers"][0]["size"]
    return document(manifest)


def push_resized(fake: FakeRegistry, change: Callable[[int], int | None]) -> str:
    for piece in BIG.blobs():
        fake.add_blob(piece.data)
    fake.add_manifest("app", resized(BIG, change), BIG.manifest.media_type, "t")
    return f"{fake.host}/app:t"


def changes(test: Any) -> Any:
    return pytest.mark.parametrize(
        "change", [change for _, change in SIZES], ids=[name for name, _ in SIZES]
    )(test)


@changes
def test_a_wrong_size_of_a_layer(
    fake: FakeRegistry, client: Client, store: Store, tmp_path: Path, change: Any
) -> None:
    name = push_resized(fake, change)
    image, (warning,) = pull(client, name)
    assert str(image.id) == BIG.id
    assert "size" in warning or "bytes" in warning
    assert [layer.size for layer in image.layers] == [layer.size for layer in BIG.layers]
    assert image.size == sum(piece.size for piece in BIG.blobs())
    assert findings(client, name) == ["layers[0].size"]
    assert store.check().problems == []
    # The second pull fetches nothing, and the image can be saved and loaded.
    fake.requests.clear()
    client.pull(name)
    assert not [each for each in fake.requests if "/blobs/" in each.path]
    for form in ("docker", "oci-archive", "oci", "dir"):
        path = tmp_path / form
        client.save([name], path, format=form)
        with library.Client(store=library.Store(tmp_path / f"store-{form}")) as other:
            assert [str(found.id) for found in other.load(path)] == [BIG.id]


@changes
@pytest.mark.parametrize("form", ["docker", "oci-archive"])
def test_a_wrong_size_is_saved_straight_from_the_registry(
    fake: FakeRegistry, client: Client, tmp_path: Path, form: Any, change: Any
) -> None:
    client.save([f"docker://{push_resized(fake, change)}"], tmp_path / "saved", format=form)
    assert [str(found.id) for found in client.load(tmp_path / "saved")] == [BIG.id]


@changes
def test_a_broken_download_of_a_wrong_size_goes_on_where_it_stood(
    fake: FakeRegistry, client: Client, change: Any
) -> None:
    name = push_resized(fake, change)
    digest = BIG.layers[0].digest
    fake.inject(Fault(Cut(after=1_000_000), path=digest, times=1))
    image, _ = pull(client, name)
    assert str(image.id) == BIG.id
    asked = [each.headers.get("range") for each in fake.requests if digest in each.path]
    assert asked == [None, "bytes=1000000-"]


@changes
@pytest.mark.parametrize("there", [-1, 0, 1, -1_000_000])
def test_a_part_beside_a_wrong_size(
    fake: FakeRegistry, client: Client, store: Store, change: Any, there: int
) -> None:
    """A part file of the stated size is not the blob; one of another size may be."""
    layer = BIG.layers[0]
    part = store.path / "ingest" / f"{layer.digest.replace(':', '-')}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((layer.data + b"x")[: layer.size + there])
    image, _ = pull(client, push_resized(fake, change))
    assert str(image.id) == BIG.id
    asked = [each.headers.get("range") for each in fake.requests if layer.digest in each.path]
    assert (asked == []) == (there == 0)


@changes
def test_several_connections_and_a_wrong_size(
    fake: FakeRegistry, store: Store, change: Any
) -> None:
    large = build_image([tar_layer(pseudo_random_files(6, 40_000_000, 3)), *TARS])
    for piece in large.blobs():
        fake.add_blob(piece.data)
    fake.add_manifest("app", resized(large, change), large.manifest.media_type, "t")
    with library.Client(store=store, split=3) as client:
        assert str(client.pull(f"{fake.host}/app:t").id) == large.id
    assert store.check().problems == []


@pytest.mark.parametrize("size", [2**50, 0, 10])
def test_a_size_does_not_lift_the_limits(fake: FakeRegistry, tmp_path: Path, size: int) -> None:
    name = push_resized(fake, lambda _: size)
    length = BIG.layers[0].size
    for limits in (
        Limits(blob=length - 1),
        Limits(raw=RawLimit(least=1_000_000, ratio=1)),
    ):
        limited = library.Store(tmp_path / f"limited-{limits.blob}", limits=limits)
        with library.Client(store=limited) as client:
            with pytest.raises(IntegrityError, match=r"more than|limit") as caught:
                client.pull(name)
            assert "proxy" not in caught.value.hint
        assert limited.images() == []
    enough = library.Store(tmp_path / "enough", limits=Limits(blob=length))
    with library.Client(store=enough) as client:
        assert str(client.pull(name).id) == BIG.id


def test_wrong_content_is_an_error_whatever_the_size_says(
    fake: FakeRegistry, client: Client
) -> None:
    for change in (lambda size: size + 1, lambda size: size - 1, lambda _: None):
        name = push_resized(fake, change)
        fake.faults.clear()
        fake.inject(Fault(Corrupt(at=2_000), path=BIG.layers[0].digest))
        with pytest.raises(IntegrityError):
            client.pull(name)
    assert client.store.images() == []


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("again", [False, True])
def test_the_size_of_a_config_stays_exact(
    fake: FakeRegistry, client: Client, by: int, *, again: bool
) -> None:
    if again:  # the store has the config already
        fake.add_image("app", GOOD, "good")
        client.pull(f"{fake.host}/app:good")
    config = GOOD.config.descriptor()
    built = build_image(TARS, manifest_extra={"config": config | {"size": config["size"] + by}})
    fake.add_image("app", built, "t")
    with pytest.raises(IntegrityError, match="bytes, expected"):
        client.pull(f"{fake.host}/app:t")


# Configs

ODD_CONFIG = {
    "created": "yesterday",
    "author": 7,
    "config": {
        "User": 1000,
        "Env": ["A=b", 5],
        "Labels": {"number": 5, "text": "x"},
        "ExposedPorts": ["80/tcp"],
        "Volumes": "/data",
        "Healthcheck": {"Test": "curl", "Interval": "30s"},
    },
    "history": [{"created": "never", "created_by": "x"}, 5],
    "unread": 2**80,
}


@pytest.mark.parametrize("style", ["oci", "docker"])
def test_a_config_with_odd_fields(
    fake: FakeRegistry, client: Client, tmp_path: Path, style: Any
) -> None:
    built = build_image(TARS, style=style, config_extra=ODD_CONFIG)
    fake.add_image("app", built, "t")
    name = f"{fake.host}/app:t"
    image, warnings = pull(client, name)
    assert str(image.id) == built.id
    assert len(warnings) == 9
    assert any("config.Labels.number" in warning for warning in warnings)
    assert image.config.labels == {"text": "x"}
    for form in ("docker", "oci-archive", "oci", "dir"):
        path = tmp_path / form
        client.save([name], path, format=form)
        with library.Client(store=library.Store(tmp_path / f"store-{form}")) as other:
            assert [str(found.id) for found in other.load(path)] == [built.id]
    errors = [finding.where for finding in client.validate(name).findings if finding.error]
    assert "config > created" in errors
    assert "config > config.User" in errors


@pytest.mark.parametrize("style", ["oci", "docker"])
def test_inspect_shows_what_it_can(fake: FakeRegistry, client: Client, style: Any) -> None:
    built = build_image(TARS, style=style, config_extra=ODD_CONFIG)
    fake.add_image("app", built, "t")
    events: list[Event] = []
    found = client.inspect(f"{fake.host}/app:t", on_event=events.append)
    assert found.fields()["Labels"] == {"text": "x"}
    assert found.fields()["Env"] == ("A=b",)
    assert found.fields()["Os"] == "linux"
    assert found.oci_config()["rootfs"]["diff_ids"] == list(built.diff_ids)
    warnings = [event.message for event in events if event.status is Status.WARNING]
    assert any("created" in warning for warning in warnings)


def test_a_config_without_rootfs_stays_refused(fake: FakeRegistry, client: Client) -> None:
    built = build_image(TARS, config_extra={"rootfs": None, "created": "yesterday"})
    fake.add_image("app", built, "t")
    with pytest.raises(InvalidDocument, match="rootfs"):
        client.pull(f"{fake.host}/app:t")


# Platforms


@pytest.mark.parametrize("platform", [{"architecture": "amd64"}, AMD64 | {"os": ""}])
def test_an_entry_without_an_os(
    fake: FakeRegistry, client: Client, platform: dict[str, str]
) -> None:
    other = build_image(TARS, os="windows")
    entries = [(other, {"os": "windows", "architecture": "amd64"}), (GOOD, platform)]
    fake.add_image("app", build_index(entries), "t")
    assert str(client.pull(f"{fake.host}/app:t", platform="linux/amd64").id) == GOOD.id
    assert str(client.pull(f"{fake.host}/app:t", platform="windows/amd64").id) == other.id


@pytest.mark.parametrize("first", [False, True])
def test_an_entry_with_features_that_this_machine_lacks(
    fake: FakeRegistry, client: Client, *, first: bool
) -> None:
    erofs = build_image(TARS[:2])
    entries: list[Any] = [(GOOD, AMD64), (erofs, AMD64 | {"os.features": ["erofs"]})]
    fake.add_image("app", build_index(entries[:: -1 if first else 1]), "t")
    name = f"{fake.host}/app:t"
    assert str(client.pull(name, platform="linux/amd64").id) == GOOD.id
    assert client.inspect(name, platform="linux/amd64").raw_config == GOOD.config.data
    fake.add_image("app", build_index(entries[1:]), "only")
    with pytest.raises(PlatformMismatch, match="there is no image for linux/amd64") as caught:
        client.pull(f"{fake.host}/app:only", platform="linux/amd64")
    assert "linux(+erofs)/amd64" in caught.value.hint
    wanted = "linux(+erofs)/amd64"
    assert str(client.pull(f"{fake.host}/app:only", platform=wanted).id) == erofs.id


def test_a_config_with_features_that_this_machine_lacks(fake: FakeRegistry, client: Client) -> None:
    built = build_image(TARS, config_extra={"os.features": ["erofs"]})
    fake.add_image("app", built, "t")
    with pytest.raises(PlatformMismatch, match=r"is for linux\(\+erofs\)/amd64"):
        client.pull(f"{fake.host}/app:t", platform="linux/amd64")
    client.pull(f"{fake.host}/app:t", platform="linux(+erofs)/amd64")
