"""What every peer pulls is pulled here too, with a warning, and `validate` reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dray.content.events import Status
from dray.errors import InvalidDocument
from dray.model import mediatype
from dray.testing import FakeRegistry, build_image, build_index, tar_layer

if TYPE_CHECKING:
    from dray import Client, Event, Image

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
):
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
def test_entries_of_the_other_type(fake: FakeRegistry, client: Client, style: Any):
    inside = build_image(TARS, style=style)
    stated = mediatype.DOCKER_MANIFEST if style == "oci" else mediatype.OCI_MANIFEST
    index = build_index([(inside, AMD64)], entry_extra={"mediaType": stated})
    fake.add_image("app", index, "t")
    name = f"{fake.host}/app:t"
    image, (warning,) = pull(client, name)
    assert str(image.id) == inside.id
    assert stated in warning
    assert findings(client, name) == ["manifests[0].mediaType"]


def test_an_entry_of_another_kind_is_refused(fake: FakeRegistry, client: Client):
    index = build_index([(GOOD, AMD64)], entry_extra={"mediaType": OCI_INDEX})
    fake.add_image("app", index, "t")
    with pytest.raises(InvalidDocument, match="is a manifest, its index says index"):
        client.pull(f"{fake.host}/app:t")


@pytest.mark.parametrize("version", [0, 1, None])
def test_a_schema_version_that_the_type_contradicts(
    fake: FakeRegistry, client: Client, version: int | None
):
    inside = build_image(TARS, manifest_extra={"schemaVersion": version})
    index = build_index([(inside, AMD64)], extra={"schemaVersion": version})
    fake.add_image("app", index, "t")
    name = f"{fake.host}/app:t"
    image, warnings = pull(client, name)
    assert str(image.id) == inside.id
    assert len(warnings) == 2
    assert findings(client, name) == ["schemaVersion", "manifests[0] > schemaVersion"]


def test_an_artifact_type_beside_an_image_config(fake: FakeRegistry, client: Client):
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
def test_config_types_up_to_a_dot(fake: FakeRegistry, client: Client, kind: str):
    built = build_image(TARS, config_media_type=kind)
    fake.add_image("app", built, "t")
    image, warnings = pull(client, f"{fake.host}/app:t")
    assert str(image.id) == built.id
    assert len(warnings) == 1
