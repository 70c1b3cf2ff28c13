"""Faulty images that skopeo copies are pulled with the same image ID."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from wherry.model import mediatype
from wherry.testing import BuiltImage, FakeRegistry, build_image, build_index, document, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry import Client

pytestmark = pytest.mark.peer("skopeo")

TARS = [tar_layer({f"f{number}": b"x%d" % number * 500}) for number in range(2)]
GOOD = build_image(TARS)
AMD64 = {"os": "linux", "architecture": "amd64"}
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def sized(size: int | None) -> Callable[[FakeRegistry], BuiltImage]:
    """Add an image whose manifest has a wrong size for its first layer."""

    def serve(fake: FakeRegistry) -> BuiltImage:
        manifest = json.loads(GOOD.manifest.data)
        manifest["layers"][0].pop("size")
        if size is not None:
            manifest["layers"][0]["size"] = size
        fake.add_image("app", GOOD)
        fake.add_manifest("app", document(manifest), GOOD.manifest.media_type, "t")
        return GOOD

    return serve


def index(served: str, **options: Any) -> Callable[[FakeRegistry], BuiltImage]:
    """Add an index with a media type."""

    def serve(fake: FakeRegistry) -> BuiltImage:
        fake.add_image("app", GOOD)
        built = build_index([(GOOD, AMD64)], **options)
        fake.add_manifest("app", built.index.data, served, "t")
        return GOOD

    return serve


def untyped(fake: FakeRegistry) -> BuiltImage:
    """Add an index whose entry has no media type."""
    return index(mediatype.OCI_INDEX, entry_extra={"mediaType": None})(fake)


def image(**options: Any) -> Callable[[FakeRegistry], BuiltImage]:
    def serve(fake: FakeRegistry) -> BuiltImage:
        built = build_image(TARS, **options)
        fake.add_image("app", built, "t")
        return built

    return serve


@pytest.mark.parametrize(
    "serve",
    [
        sized(GOOD.layers[0].size + 1),
        sized(GOOD.layers[0].size - 1),
        sized(0),
        sized(-1),
        sized(None),
        index(mediatype.DOCKER_LIST),
        index(mediatype.OCI_INDEX, extra={"mediaType": mediatype.DOCKER_LIST}),
        index(mediatype.OCI_INDEX, entry_extra={"mediaType": mediatype.DOCKER_MANIFEST}),
        untyped,
        image(manifest_extra={"schemaVersion": 0}),
        image(manifest_extra={"schemaVersion": 1}),
        image(manifest_extra={"artifactType": "application/vnd.acme.app"}),
        image(config_extra={"created": "yesterday"}),
        image(config_extra={"config": {"Labels": {"a": 1}}}),
        image(config_extra={"config": {"ExposedPorts": ["80/tcp"], "User": 5}}),
        image(config_extra={"unread": 2**80}),
        image(layer_media_types=[FOREIGN] * 2),
    ],
    ids=range(17),
)
def test_what_skopeo_copies_is_pulled(
    fake: FakeRegistry,
    client: Client,
    tmp_path: Path,
    serve: Callable[[FakeRegistry], BuiltImage],
) -> None:
    built = serve(fake)
    addresses = [f"docker://{fake.host}/app:t", f"dir:{tmp_path}/copy"]
    command = ["skopeo", "copy", "-q", "--src-tls-verify=false", *addresses]
    subprocess.run(command, check=True, capture_output=True)
    copied = json.loads((tmp_path / "copy" / "manifest.json").read_bytes())
    assert copied["config"]["digest"] == built.id
    assert str(client.pull(f"{fake.host}/app:t").id) == built.id
