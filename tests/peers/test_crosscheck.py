"""Compare pulls of wherry with those of skopeo and podman."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import zstandard

import wherry
from peer_images import FLAT, INDEXES, make_by_podman, make_by_umoci, remote
from wherry import CancelToken
from wherry.image_store import local_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wherry.testing import BuiltIndex, Distribution

    Peer = Callable[..., str]

pytestmark = pytest.mark.peer("docker-registry", "skopeo")


FOREIGN_MADE = [
    pytest.param("umoci", marks=pytest.mark.peer("umoci")),
    pytest.param("podman", marks=pytest.mark.peer("podman")),
]


@dataclass(frozen=True)
class Case:
    """An image in the registry, and as wherry pulled it."""

    name: str  # host/repository:tag
    image: wherry.Image

    @property
    def docker(self) -> bool:
        return "docker" in self.image.manifest.media_type


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[wherry.Store]:
    store = wherry.Store(tmp_path_factory.mktemp("crosscheck") / "store")
    yield store
    store.close()


@pytest.fixture(scope="module", params=[*FLAT, *FOREIGN_MADE])
def case(
    request: pytest.FixtureRequest,
    distribution: Distribution,
    pulled: wherry.Store,
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    kind: str = request.param
    name = f"{distribution.host}/crosscheck/{kind}:t"
    if kind in FLAT:
        distribution.push(f"crosscheck/{kind}", FLAT[kind], "t")
    else:
        make = make_by_umoci if kind == "umoci" else make_by_podman
        make(request, name, tmp_path_factory.mktemp(kind))
    with wherry.Client(store=pulled) as client:
        return Case(name, client.pull(name, platform="linux/amd64"))


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def copied(skopeo: Peer, name: str, directory: Path, *options: str) -> tuple[bytes, Path]:
    """Copy an image to a flat directory; return its manifest and the directory of its blobs."""
    skopeo(*options, "copy", "--preserve-digests", "--src-tls-verify=false", remote(name),
           f"dir:{directory}")  # fmt: skip
    return (directory / "manifest.json").read_bytes(), directory


def copied_to_layout(skopeo: Peer, name: str, directory: Path) -> tuple[bytes, Path]:
    # Without the option skopeo compresses uncompressed layers.
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", remote(name),
           f"oci:{directory}:t")  # fmt: skip
    blobs = directory / "blobs" / "sha256"
    entry = json.loads((directory / "index.json").read_bytes())["manifests"][0]
    return (blobs / entry["digest"].removeprefix("sha256:")).read_bytes(), blobs


def decompressed(data: bytes) -> bytes:
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as reader:
            return reader.read()
    return data


def same_bytes(image: wherry.Image, manifest: bytes, blobs: Path) -> None:
    """Compare manifest, config and layers of an image with those of a peer."""
    assert image.manifest.raw == manifest
    assert digest_of(manifest) == str(image.record.manifest)
    assert local_store(image.store).read(image.record.manifest) == manifest
    listed = json.loads(manifest)
    assert [str(layer.digest) for layer in image.layers] == [
        entry["digest"] for entry in listed["layers"]
    ]
    assert len(image.layers) > 0
    for entry in (listed["config"], *listed["layers"]):
        theirs = (blobs / entry["digest"].removeprefix("sha256:")).read_bytes()
        assert local_store(image.store).read(wherry.Digest.parse(entry["digest"])) == theirs
        assert len(theirs) == entry["size"]


def test_bytes_are_those_that_skopeo_gets(case: Case, skopeo: Peer, tmp_path: Path) -> None:
    copy = copied if case.docker else copied_to_layout
    same_bytes(case.image, *copy(skopeo, case.name, tmp_path / "copy"))


def test_the_config_is_what_skopeo_inspects(case: Case, skopeo: Peer) -> None:
    raw = skopeo("inspect", "--tls-verify=false", "--config", "--raw", remote(case.name))
    assert case.image.config.raw == raw.encode()
    assert digest_of(case.image.config.raw) == str(case.image.id)


def test_digest_and_layers_are_what_skopeo_inspects(case: Case, skopeo: Peer) -> None:
    found = json.loads(skopeo("inspect", "--tls-verify=false", remote(case.name)))
    assert str(case.image.digest) == found["Digest"]
    assert [str(layer.digest) for layer in case.image.layers] == found["Layers"]
    assert case.image.platform.architecture == found["Architecture"]
    assert [f"{key}={value}" for key, value in case.image.config.env.items()] == (
        found["Env"] or []
    )


@pytest.mark.peer("podman")
def test_the_id_is_podmans(case: Case, podman: Peer) -> None:
    image_id = podman(
        "pull", "--quiet", "--arch=amd64", "--tls-verify=false", remote(case.name)
    ).strip()
    assert str(case.image.id) == f"sha256:{image_id}"


def test_recorded_diff_ids_are_of_the_decompressed_layers(case: Case) -> None:
    store = case.image.store
    descriptors = case.image.manifest.layers
    with local_store(store).ingest() as ingest:
        for place, descriptor in enumerate(descriptors):
            receipt = ingest.find(descriptor, follow=False, cancel=CancelToken())
            assert receipt is not None
            raw = decompressed(local_store(store).read(descriptor.digest))
            assert str(receipt.diff_id) == digest_of(raw)
            assert receipt.raw_size == len(raw)
            assert receipt.diff_id == case.image.layers[place].diff_id


def test_layers_read_as_their_decompressed_bytes(case: Case) -> None:
    for each in case.image.layers:
        with each.open() as stream:
            stored = local_store(case.image.store).read(each.digest)
            assert stream.read() == decompressed(stored)


def test_empty_steps_of_the_history_belong_to_no_layer(
    distribution: Distribution, repository: str, client: wherry.Client
) -> None:
    distribution.push(repository, FLAT["empty-history"], "t")
    image = client.pull(f"{distribution.host}/{repository}:t", platform="linux/amd64")
    assert [each.created_by for each in image.layers] == ["ADD rootfs.tar /", "RUN make"]
    assert [entry.empty_layer for entry in image.config.history] == [False, True, False, True]


class TestIndexes:
    @pytest.fixture(params=INDEXES)
    def index(
        self, request: pytest.FixtureRequest, distribution: Distribution, repository: str
    ) -> tuple[str, BuiltIndex]:
        built = INDEXES[request.param]
        distribution.push(repository, built, "t")
        return f"{distribution.host}/{repository}:t", built

    @pytest.mark.parametrize(
        ("platform", "options"),
        [
            ("linux/amd64", ["--override-arch=amd64"]),
            ("linux/arm64", ["--override-arch=arm64"]),
            ("linux/386", ["--override-arch=386"]),
            ("linux/arm/v7", ["--override-arch=arm", "--override-variant=v7"]),
            ("linux/arm/v6", ["--override-arch=arm", "--override-variant=v6"]),
            ("linux/amd64/v3", ["--override-arch=amd64", "--override-variant=v3"]),
        ],
    )
    def test_the_chosen_manifest_is_skopeos(
        self,
        index: tuple[str, BuiltIndex],
        client: wherry.Client,
        skopeo: Peer,
        tmp_path: Path,
        platform: str,
        options: list[str],
    ) -> None:
        name, built = index
        image = client.pull(name, platform=platform)
        # With --preserve-digests skopeo requires the whole index, so this copies its choice.
        theirs = tmp_path / "copy"
        choice = ["--override-os=linux", *options]
        skopeo(*choice, "copy", "--src-tls-verify=false", remote(name), f"dir:{theirs}")
        same_bytes(image, (theirs / "manifest.json").read_bytes(), theirs)
        assert str(image.digest) == built.digest
        assert local_store(image.store).read(image.digest) == built.index.data
        config = skopeo(*choice, "inspect", "--tls-verify=false", "--config", "--raw", remote(name))
        assert image.config.raw == config.encode()

    @pytest.mark.peer("podman")
    @pytest.mark.parametrize("architecture", ["amd64", "arm64"])
    def test_the_id_is_podmans(
        self,
        index: tuple[str, BuiltIndex],
        client: wherry.Client,
        podman: Peer,
        architecture: str,
    ) -> None:
        name, _ = index
        image = client.pull(name, platform=f"linux/{architecture}")
        found = podman(
            "pull", "--quiet", f"--arch={architecture}", "--tls-verify=false", remote(name)
        )
        assert str(image.id) == f"sha256:{found.strip()}"

    def test_the_index_itself_is_what_skopeo_shows_raw(
        self, index: tuple[str, BuiltIndex], client: wherry.Client, skopeo: Peer
    ) -> None:
        name, _ = index
        image = client.pull(name, platform="linux/arm64")
        raw = skopeo("inspect", "--tls-verify=false", "--raw", remote(name)).encode()
        assert local_store(image.store).read(image.digest) == raw
        assert digest_of(raw) == str(image.digest)

    def test_further_platforms_add_to_the_name(
        self, index: tuple[str, BuiltIndex], client: wherry.Client, store: wherry.Store
    ) -> None:
        name, built = index
        first = client.pull(name, platform="linux/amd64")
        second = client.pull(name, platform="linux/arm64")
        assert first.digest == second.digest
        assert first.id != second.id
        assert set(map(str, second.platforms)) == {"linux/amd64", "linux/arm64"}
        for image in (first, second):
            assert store.get(image.id).id == image.id
        assert str(first.digest) == built.digest
