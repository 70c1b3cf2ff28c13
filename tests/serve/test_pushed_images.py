"""What was pushed to the server, as the other commands see it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import wherry
from artifacts import SBOM, refer_to
from pushes import HOST, push, put_blob, put_blobs, put_manifest
from wherry.cli.main import cli
from wherry.testing import BuiltImage, build_image, build_index, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asgi_client import AsgiClient
    from wherry.store import LocalStore

FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
NAME = f"{HOST}/acme/app:1.0"
IMAGE = build_image([tar_layer({"a": b"1" * 999})])
OTHER = build_image([tar_layer({"a": b"2"})], architecture="arm64")
INDEX = build_index(
    [
        (OTHER, {"os": "linux", "architecture": "arm64"}),
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
    ]
)
CHART = build_image([b"chart"], config_media_type="application/vnd.cncf.helm.config.v1+json")


@pytest.fixture
def client(local: LocalStore) -> Iterator[wherry.Client]:
    with wherry.Client(store=local.path) as found:
        yield found


def listed(client: wherry.Client) -> dict[str, str]:
    return {str(name): image.digest for image in client.store.images() for name in image.names}


def test_a_pushed_image_is_an_image_of_the_store(
    api: AsgiClient, local: LocalStore, client: wherry.Client, tmp_path: Path
) -> None:
    push(api, local, "acme/app", IMAGE, "1.0")
    assert client.store.get(NAME).id == IMAGE.id
    assert client.inspect(f"store:{NAME}").digest == IMAGE.digest
    client.unpack(f"store:{NAME}", tmp_path / "tree")
    assert (tmp_path / "tree" / "a").read_bytes() == b"1" * 999
    client.store.tag(NAME, "mine:1")
    client.store.remove(NAME)
    assert [str(name) for name in client.store.get("mine:1").names] == ["docker.io/library/mine:1"]


def test_an_index_shows_the_image_for_the_host(
    api: AsgiClient, local: LocalStore, client: wherry.Client
) -> None:
    push(api, local, "acme/app", INDEX, "1.0")
    image = client.store.get(NAME)
    assert (image.digest, image.record.manifest) == (INDEX.digest, IMAGE.digest)
    assert client.inspect(f"store:{NAME}", platform="linux/arm64").architecture == "arm64"


def test_an_index_may_come_before_its_images(
    api: AsgiClient, local: LocalStore, client: wherry.Client
) -> None:
    assert put_manifest(api, "acme/app", INDEX, "1.0").status == 201
    with pytest.raises(wherry.NotFound, match="no image is stored"):
        client.store.get(NAME)
    assert client.store.check().problems == []
    push(api, local, "acme/app", IMAGE)
    assert client.store.get(NAME).id == IMAGE.id
    assert client.store.check().problems == []


@pytest.mark.parametrize("tagged_first", [True, False])
def test_removing_the_name_frees_all_bytes(
    api: AsgiClient, local: LocalStore, client: wherry.Client, *, tagged_first: bool
) -> None:
    push(api, local, "acme/app", INDEX, "1.0" if tagged_first else "")
    put_manifest(api, "acme/app", INDEX, "1.0")
    assert client.store.gc().size == 0
    client.store.remove(NAME)
    client.store.gc()
    usage = client.store.usage()
    assert (usage.blobs, usage.reclaimable) == (0, 0)
    assert api("GET", "/v2/acme/app/manifests/1.0").status == 404


def test_blobs_wait_for_their_manifest(
    api: AsgiClient, local: LocalStore, client: wherry.Client
) -> None:
    put_blobs(local, "acme/app", IMAGE)
    assert client.store.gc().size == 0
    assert put_manifest(api, "acme/app", IMAGE, "1.0").status == 201


def test_an_artifact_is_kept_copied_and_removed_by_its_name(
    api: AsgiClient, local: LocalStore, client: wherry.Client, tmp_path: Path
) -> None:
    push(api, local, "acme/app", CHART, "1.0")
    assert client.store.gc().size == 0
    with pytest.raises(wherry.NotFound, match="is an artifact"):
        client.store.get(NAME)
    with pytest.raises(wherry.Unsupported, match="a helm chart"):
        client.inspect(f"store:{NAME}")
    client.copy(f"store:{NAME}", f"oci:{tmp_path / 'layout'}")
    index = json.loads((tmp_path / "layout" / "index.json").read_bytes())
    assert index["manifests"][0]["digest"] == CHART.digest
    client.store.remove(NAME)
    assert client.store.usage().blobs == 0


def odd_images() -> dict[str, tuple[BuiltImage, list[bytes]]]:
    """Return images that registries take though they are no complete images, with their blobs."""
    foreign = build_image([tar_layer({"f": b"1"})], layer_media_types=[FOREIGN])
    empty = build_image([])
    other = build_image([tar_layer({"x": b"1"})], config_extra={"rootfs": None})
    large = build_image([], config_extra={"padding": "x" * (4 * 2**20)})
    return {
        "large config": (large, [large.config.data]),
        "foreign": (foreign, [foreign.config.data]),
        "no layers": (empty, [empty.config.data]),
        "odd config": (other, [other.config.data, other.layers[0].data]),
    }


@pytest.mark.parametrize("kind", list(odd_images()))
def test_odd_images_survive(
    api: AsgiClient, local: LocalStore, client: wherry.Client, kind: str
) -> None:
    image, blobs = odd_images()[kind]
    for data in blobs:
        put_blob(local, "acme/app", data)
    assert put_manifest(api, "acme/app", image, "1.0").status == 201
    assert client.store.gc().size == 0
    assert client.store.check().problems == []
    assert client.store.rebuild().lost == ()
    assert client.store.check().problems == []
    assert api("GET", "/v2/acme/app/manifests/1.0").body == image.manifest.data


def test_a_rebuilt_store_serves_what_was_pushed(
    api: AsgiClient, local: LocalStore, client: wherry.Client
) -> None:
    bill = refer_to(IMAGE, SBOM, b"bill")
    push(api, local, "acme/app", CHART, "chart")
    push(api, local, "acme/app", bill)
    push(api, local, "acme/app", INDEX, "1.0")
    waiting = put_blob(local, "acme/app", b"a blob without a manifest")
    assert api("DELETE", f"/v2/acme/app/manifests/{OTHER.digest}").status == 202
    report = client.store.rebuild()
    assert (report.lost, report.names) == ((), 5)
    assert api("HEAD", f"/v2/acme/app/blobs/{waiting}").status == 200
    assert api("HEAD", f"/v2/acme/app/manifests/{OTHER.digest}").status == 404
    for reference in ("chart", "1.0", bill.digest, IMAGE.digest):
        assert api("HEAD", f"/v2/acme/app/manifests/{reference}").status == 200
    found: dict[str, Any] = json.loads(api("GET", f"/v2/acme/app/referrers/{IMAGE.digest}").body)
    assert [entry["digest"] for entry in found["manifests"]] == [bill.digest]


def test_an_artifact_without_its_blobs_is_lost_by_a_rebuild(
    api: AsgiClient, local: LocalStore, client: wherry.Client
) -> None:
    push(api, local, "acme/app", CHART, "1.0")
    (local.path / "blobs" / CHART.layers[0].digest.replace(":", "/")).unlink()
    assert client.store.rebuild().lost == (NAME, f"{HOST}/acme/app@{CHART.digest}")


def test_artifacts_are_listed_by_name(
    api: AsgiClient, local: LocalStore, client: wherry.Client
) -> None:
    bill = refer_to(IMAGE, SBOM, b"bill")
    push(api, local, "acme/app", bill)
    push(api, local, "acme/app", IMAGE, "1.0")
    push(api, local, "acme/chart", CHART, "1.0")
    assert put_manifest(api, "acme/sparse", INDEX, "1.0").status == 201
    found = {each.name: each for each in client.store.artifacts()}
    assert list(found) == [
        f"{HOST}/acme/app@{bill.digest}",
        f"{HOST}/acme/chart:1.0",
        # An image of the index is stored, for another repository.
    ]
    chart = found[f"{HOST}/acme/chart:1.0"]
    assert (chart.digest, chart.type) == (CHART.digest, CHART.config.media_type)
    pieces = (CHART.manifest, CHART.config, *CHART.layers)
    assert chart.size == sum(len(piece.data) for piece in pieces)
    assert [each.type for each in client.store.artifacts("**/app")] == [SBOM]
    client.store.remove(f"{HOST}/acme/app@{bill.digest}")
    assert api("HEAD", f"/v2/acme/app/manifests/{bill.digest}").status == 404
    assert not list(client.store.artifacts("**/app"))


def test_the_command_lists_artifacts(api: AsgiClient, local: LocalStore) -> None:
    push(api, local, "acme/chart", CHART, "1.0")

    def run(*options: str) -> str:
        arguments = ["--store", str(local.path), "images", "--artifacts", *options]
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    title, row = run().splitlines()
    assert title.split() == ["NAME", "TAG", "DIGEST", "TYPE", "SIZE"]
    assert row.split()[:4] == [
        *(f"{HOST}/acme/chart", "1.0"),
        *(CHART.digest, CHART.config.media_type),
    ]
    assert run("-q") == f"{HOST}/acme/chart:1.0\n"
    assert run("-q", "other/*") == ""
    (entry,) = json.loads(run("--json"))
    assert entry["name"] == f"{HOST}/acme/chart:1.0"
    refused = CliRunner().invoke(cli, ["images", "--artifacts", "--digests"])
    assert refused.exit_code == 2
    assert "--artifacts cannot be combined" in refused.output
