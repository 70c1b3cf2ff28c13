"""Pull, save and load indexes that list artifacts besides images."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry.image_store import local_store
from wherry.testing import (
    BuiltImage,
    BuiltIndex,
    FakeRegistry,
    Piece,
    build_image,
    build_index,
    document,
    layout_files,
    sha256,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry import Client, Store
    from wherry.ops.save_options import Format

    Peer = Callable[..., str]

TARS = [tar_layer({f"f{number}": b"x" * 99 * number}) for number in range(3)]
AMD = build_image(TARS[:2])
ARM = build_image(TARS[2:], architecture="arm64")
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
UNKNOWN = {"os": "unknown", "architecture": "unknown"}


def artifact(config: Piece, *layers: Piece) -> BuiltImage:
    """Build a manifest that is not an image."""
    fields = {"config": config.descriptor(), "layers": [layer.descriptor() for layer in layers]}
    kind = AMD.manifest.media_type
    raw = document({"schemaVersion": 2, "mediaType": kind, **fields})
    return BuiltImage(Piece(kind, raw), config, layers, ())


def attestation(number: int) -> BuiltImage:
    """Build an attestation of an image (BuildKit, attestation-storage.md)."""
    statement = Piece("application/vnd.in-toto+json", b'{"_type":"statement %d"}' % number)
    config = {
        **UNKNOWN,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [statement.digest]},
    }
    return artifact(Piece(AMD.config.media_type, document(config)), statement)


ATTESTED = [attestation(1), attestation(2)]
CHART = artifact(
    Piece("application/vnd.cncf.helm.config.v1+json", b"not even JSON"),
    Piece("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"not even gzip"),
)


def buildkit() -> BuiltIndex:
    """Build an index as BuildKit writes it: two images and an attestation of each."""
    index = build_index(
        [(AMD, AMD64), (ARM, ARM64), (ATTESTED[0], UNKNOWN), (ATTESTED[1], UNKNOWN)]
    )
    value = json.loads(index.index.data)
    for entry, image in zip(value["manifests"][2:], (AMD, ARM), strict=True):
        entry["annotations"] = {
            "vnd.docker.reference.digest": image.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        }
    return BuiltIndex(Piece(index.index.media_type, document(value)), index.images)


INDEX = buildkit()
NESTED = build_index([(INDEX, None), (CHART, None)])
DOCKER = build_index(
    [
        (build_image(TARS[:2], style="docker"), AMD64),
        (build_image(TARS[2:], style="docker", architecture="arm64"), ARM64),
        (ATTESTED[0], UNKNOWN),
    ],
    style="docker",
)
WITH_CHART = build_index([(AMD, AMD64), (CHART, None), (ATTESTED[0], UNKNOWN)])
WHOLE = {"buildkit": INDEX, "nested": NESTED, "docker": DOCKER, "chart": WITH_CHART}
FORMATS: list[Format] = ["oci-archive", "oci", "dir"]


def files_of(place: Path) -> dict[str, bytes]:
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


def complete(layout: Path, digest: str) -> int:
    """Check that a layout holds all that a document lists; count the documents."""
    raw = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
    assert sha256(raw) == digest
    value = json.loads(raw)
    if "manifests" in value:
        return 1 + sum(complete(layout, entry["digest"]) for entry in value["manifests"])
    for blob in (value["config"], *value["layers"]):
        assert (layout / "blobs" / blob["digest"].replace(":", "/")).exists()
    return 1


@pytest.mark.parametrize("index", WHOLE.values(), ids=WHOLE)
def test_all_platforms_bring_what_the_index_lists(
    fake: FakeRegistry, client: Client, tmp_path: Path, index: BuiltIndex
) -> None:
    fake.add_image("app", index, "t")
    name = f"{fake.host}/app:t"
    image = client.pull(name, all_platforms=True)
    assert str(image.digest) == index.digest
    client.save(name, tmp_path / "layout", format="oci")
    for child in index.every_image():
        complete(tmp_path / "layout", child.digest)
    for entry in json.loads((tmp_path / "layout" / "index.json").read_bytes())["manifests"]:
        complete(tmp_path / "layout", entry["digest"])
    complete(tmp_path / "layout", index.digest)
    assert client.store.check().problems == []
    client.store.gc()
    findings = client.validate(f"store:{name}").findings
    assert [found for found in findings if found.error] == []
    (loaded,) = client.load(tmp_path / "layout", store=(other := wherry.Store(tmp_path / "other")))
    assert str(loaded.digest) == index.digest
    other.gc()
    client.save(name, tmp_path / "again", format="oci", store=other)
    assert files_of(tmp_path / "again") == files_of(tmp_path / "layout")
    client.store.remove(name)
    assert list((tmp_path / "store" / "blobs").rglob("*/*")) == []


def test_one_platform_does_not_bring_them(fake: FakeRegistry, client: Client, store: Store) -> None:
    fake.add_image("app", INDEX, "t")
    client.pull(f"{fake.host}/app:t")
    assert not local_store(store).holds(wherry.Digest.parse(ATTESTED[0].digest))


def test_they_are_no_images(fake: FakeRegistry, client: Client, store: Store) -> None:
    fake.add_image("app", INDEX, "t")
    client.pull(f"{fake.host}/app:t", all_platforms=True)
    assert {str(image.id) for image in store.images()} <= {AMD.id, ARM.id}
    assert tuple(map(str, store.get(f"{fake.host}/app:t").platforms)) == (
        "linux/amd64",
        "linux/arm64",
    )


@pytest.mark.parametrize("form", FORMATS)
def test_missing_attestations_are_not_listed(
    fake: FakeRegistry, client: Client, tmp_path: Path, form: Format
) -> None:
    """The images were pulled one by one, so the attestations are missing."""
    fake.add_image("app", INDEX, "t")
    name = f"{fake.host}/app:t"
    client.pull(name, platform="linux/amd64,linux/arm64")
    events: list[wherry.Event] = []
    place = tmp_path / "saved"
    (saved,) = client.save(name, place, format=form, on_event=events.append)
    (warning,) = [event.message for event in events if event.status is wherry.Status.WARNING]
    assert str(saved.root) != INDEX.digest
    assert warning == (
        f"saved as {saved.root}: without 2 entries of the index, attestations or the like,"
        " not there"
    )
    address = f"{form}:{place}"
    report = client.validate(address)
    assert (report.findings, report.root, report.documents) == ([], saved.root, 3)
    (_, platforms) = client.platforms(address)
    assert [str(each.digest) for each in platforms] == [AMD.digest, ARM.digest]


def test_a_part_of_the_images_is_saved_as_one(
    fake: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    fake.add_image("app", INDEX, "t")
    client.pull(f"{fake.host}/app:t", platform="linux/arm64")
    (saved,) = client.save(f"{fake.host}/app:t", tmp_path / "saved", format="oci")
    assert str(saved.root) == ARM.digest


def test_an_entry_of_an_unknown_type_is_not_listed(client: Client, tmp_path: Path) -> None:
    index = build_index([(AMD, AMD64), (CHART, None)])
    value = json.loads(index.index.data)
    value["manifests"][1]["mediaType"] = "application/vnd.example.manifest"
    odd = BuiltIndex(Piece(index.index.media_type, document(value)), index.images)
    layout = write_files(tmp_path / "layout", layout_files({"app:1": odd}))
    (saved,) = client.save(f"oci:{layout}", tmp_path / "saved", format="oci")
    assert complete(tmp_path / "saved", str(saved.root)) == 2
    (loaded,) = client.load(layout)
    assert str(loaded.digest) == odd.digest
    (saved,) = client.save("app:1", tmp_path / "again", format="oci")
    assert complete(tmp_path / "again", str(saved.root)) == 2


def test_an_attestation_that_the_registry_lacks_costs_no_image(
    fake: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    fake.add_image("app", INDEX, "t")
    del fake.manifests["app"][ATTESTED[1].digest]
    del fake.blobs[ATTESTED[0].layers[0].digest]
    events: list[wherry.Event] = []
    name = f"{fake.host}/app:t"
    client.pull(name, all_platforms=True, on_event=events.append)
    warnings = [event.message for event in events if event.status is wherry.Status.WARNING]
    assert len(warnings) == 2
    assert all(warning.endswith("; skipped") for warning in warnings)
    (saved,) = client.save(name, tmp_path / "saved", format="oci")
    assert complete(tmp_path / "saved", str(saved.root)) == 3
    assert client.store.check().problems == []


def test_a_stream_keeps_them(client: Client, tmp_path: Path) -> None:
    data = tar_layer(dict(layout_files({"app:1": INDEX})))
    (loaded,) = client.load(io.BytesIO(data))
    assert str(loaded.digest) == INDEX.digest
    client.save("app:1", tmp_path / "saved", format="oci")
    assert complete(tmp_path / "saved", INDEX.digest) == 5


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize(
    ("index", "platforms"),
    [
        (INDEX, None),
        (INDEX, "linux/amd64,linux/arm64"),
        (DOCKER, None),
        (DOCKER, "linux/amd64,linux/arm64"),
        (WITH_CHART, None),
    ],
    ids=["buildkit", "its images", "docker", "docker's images", "chart"],
)
def test_skopeo_copies_all_of_it(
    fake: FakeRegistry,
    client: Client,
    skopeo: Peer,
    tmp_path: Path,
    index: BuiltIndex,
    platforms: str | None,
) -> None:
    fake.add_image("app", index, "t")
    name = f"{fake.host}/app:t"
    if platforms is None:
        client.pull(name, all_platforms=True)
    else:
        client.pull(name, platform=platforms)
    (saved,) = client.save(name, tmp_path / "saved.tar", format="oci-archive")
    assert (str(saved.root) == index.digest) == (platforms is None)
    for number, address in enumerate((f"{tmp_path}/saved.tar", f"{tmp_path}/saved.tar:{name}")):
        copied = tmp_path / f"copy{number}"
        skopeo("copy", "--all", f"oci-archive:{address}", f"dir:{copied}")
        report = client.validate(f"dir:{copied}")
        assert [found for found in report.findings if found.error] == []
