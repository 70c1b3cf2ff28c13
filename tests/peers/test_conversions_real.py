"""Compare converted and recompressed images with those of skopeo, on a real registry."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from peer_images import EMPTY_STEPS, FLAT, INDEXES, TARS
from wherry.content.cancel import CancelToken
from wherry.content.verify import follow_diff_id
from wherry.errors import Unsupported
from wherry.model.manifest import parse
from wherry.model.schema1 import Schema1
from wherry.testing import BuiltImage, Distribution, build_image, build_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wherry import Client
    from wherry.ops.copy_choice import CopyFormat
    from wherry.testing import BuiltIndex

    Peer = Callable[..., str]

pytestmark = pytest.mark.peer("docker-registry", "skopeo")

NAMES: dict[CopyFormat, str] = {"oci": "oci", "docker": "v2s2", "v2s1": "v2s1"}  # skopeo's
ANNOTATED = build_image(TARS, manifest_extra={"annotations": {"a": "1"}})
LINUX = {"os": "linux", "architecture": "amd64"}
ARM = build_image(TARS[:1], architecture="arm64", compression="none")
IMAGES: dict[str, BuiltImage | BuiltIndex] = {
    **FLAT,
    "annotated": ANNOTATED,
    "manifest-list": INDEXES["manifest-list"],
    "index": build_index([(ANNOTATED, LINUX), (ARM, {"os": "linux", "architecture": "arm64"})]),
}
PACKED_WITH_ZSTD = {"oci-zstd", "oci-mixed"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with Distribution(tmp_path_factory.mktemp("conversions"), schema1=True) as found:
        for name, image in IMAGES.items():
            found.push(name, image, "t")
        yield found


class Converted:
    """The same image, converted by both."""

    def __init__(self, registry: Distribution, client: Client, skopeo: Peer, path: Path) -> None:
        self._registry, self._client, self._skopeo, self._path = registry, client, skopeo, path

    def theirs(self, name: str, *options: str) -> dict[str, Any]:
        """Return the root that skopeo writes to a directory."""
        source = f"docker://{self._registry.host}/{name}:t"
        target = self._path / "theirs"
        plain = ("-q", "--src-tls-verify=false")
        self._skopeo("copy", *plain, "--all", *options, source, f"dir:{target}")
        found: dict[str, Any] = json.loads((target / "manifest.json").read_bytes())
        return found

    def ours(self, name: str, **options: Any) -> dict[str, Any]:
        """Return the root that wherry writes to another repository."""
        raw = self.written(f"{self._registry.host}/{name}:t", f"new/{name}", **options)
        found: dict[str, Any] = json.loads(raw)
        return found

    def written(self, source: str, repository: str, **options: Any) -> bytes:
        target = f"{self._registry.host}/{repository}:t"
        result = self._client.copy(f"docker://{source}", target, all_platforms=True, **options)
        return self._client.manifest(f"{target}@{result.root.digest}").raw


@pytest.fixture
def converted(registry: Distribution, client: Client, skopeo: Peer, tmp_path: Path) -> Converted:
    return Converted(registry, client, skopeo, tmp_path)


def without_configs(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without what depends on the bytes of configs.

    Skopeo writes the config anew when it converts to OCI. Wherry keeps the config, and so the
    image id.
    """
    changing = [document["config"]] if "config" in document else document["manifests"]
    for entry in changing:
        entry["digest"] = entry["size"] = None
    return document


@pytest.mark.parametrize("target", ["oci", "docker"])
@pytest.mark.parametrize("name", IMAGES)
def test_documents_are_skopeo_s(converted: Converted, name: str, target: CopyFormat) -> None:
    if target == "docker" and name in PACKED_WITH_ZSTD:
        with pytest.raises(Unsupported, match="zstd"):
            converted.ours(name, convert_to=target)
        return
    ours = converted.ours(name, convert_to=target)
    theirs = converted.theirs(name, "--format", NAMES[target])
    if target == "oci":
        ours, theirs = without_configs(ours), without_configs(theirs)
    assert ours == theirs


@pytest.mark.parametrize("name", ["annotated", "oci-uncompressed", "index"])
def test_schema2_has_skopeo_s_digest(
    registry: Distribution, client: Client, skopeo: Peer, tmp_path: Path, name: str
) -> None:
    """The bytes of the documents are the same, not only their fields.

    Into a directory, skopeo keeps the compression of layers.
    """
    source = f"docker://{registry.host}/{name}:t"
    plain = ("-q", "--src-tls-verify=false", "--all", "--format", "v2s2")
    skopeo("copy", *plain, source, f"dir:{tmp_path}/theirs")
    ours = client.copy(
        source, f"{registry.host}/ours/{name}:t", all_platforms=True, convert_to="docker"
    )
    assert ours.root.digest.matches((tmp_path / "theirs" / "manifest.json").read_bytes())


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
@pytest.mark.parametrize("name", ["oci-gzip", "oci-zstd", "oci-uncompressed", "oci-mixed", "index"])
def test_recompressed_images_have_skopeo_s_types_and_the_same_diff_ids(
    registry: Distribution, converted: Converted, client: Client, name: str, compression: str
) -> None:
    target = f"new/{name}-{compression}"
    raw = converted.written(f"{registry.host}/{name}:t", target, compression=compression)
    report = client.validate(f"docker://{registry.host}/{target}:t")
    assert not [found for found in report.findings if found.error]
    if "manifests" in json.loads(raw):
        return
    theirs = converted.theirs(name, "--dest-compress", "--dest-compress-format", compression)
    ours = json.loads(raw)
    assert ours["config"] == theirs["config"]
    for mine, other in zip(ours["layers"], theirs["layers"], strict=True):
        assert mine["mediaType"] == other["mediaType"]
    found = []
    for layer in ours["layers"]:
        with client.blob(f"{registry.host}/{target}:t", layer["digest"]) as blob:
            found.append(follow_diff_id(blob, 2**30, CancelToken())[0])
    built = IMAGES[name]
    assert isinstance(built, BuiltImage)
    assert found == list(built.diff_ids)


def test_skopeo_reads_what_was_recompressed(
    registry: Distribution, converted: Converted, skopeo: Peer, tmp_path: Path
) -> None:
    converted.written(f"{registry.host}/oci-gzip:t", "new/readable", compression="zstd:9")
    source = f"docker://{registry.host}/new/readable:t"
    skopeo("copy", "-q", "--src-tls-verify=false", "--dest-decompress", source, f"dir:{tmp_path}/d")
    found = json.loads((tmp_path / "d" / "manifest.json").read_bytes())
    expected = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in TARS]
    assert [layer["digest"] for layer in found["layers"]] == expected


@pytest.mark.peer("podman")
@pytest.mark.parametrize("compression", ["zstd", "gzip:9", "none"])
def test_podman_pulls_what_was_recompressed(
    registry: Distribution, converted: Converted, podman: Peer, compression: str
) -> None:
    name = f"new/podman-{compression.partition(':')[0]}"
    raw = converted.written(f"{registry.host}/oci-mixed:t", name, compression=compression)
    found = podman("pull", "-q", "--tls-verify=false", f"{registry.host}/{name}:t").strip()
    assert f"sha256:{found}" == json.loads(raw)["config"]["digest"]


# Schema1

DOCKER_MADE = build_image(
    TARS,
    style="docker",
    env=["A=<b>"],
    cmd=["sh"],
    history=EMPTY_STEPS,
    config_extra={"docker_version": "20.10.7", "container_config": {"Cmd": ["sh", "c"]}},
)


def test_schema1_is_skopeo_s(registry: Distribution, client: Client, converted: Converted) -> None:
    for name, image in {"docker-made": DOCKER_MADE, "buildkit": FLAT["empty-history"]}.items():
        registry.push(name, image, "t")
        raw = converted.written(f"{registry.host}/{name}:t", f"new/{name}", convert_to="v2s1")
        ours = parse(raw, "")
        theirs = converted.theirs(name, "--format", "v2s1")
        del theirs["signatures"]  # they are over other bytes than these
        other = parse(json.dumps(theirs).encode(), "")
        assert isinstance(ours, Schema1)
        assert isinstance(other, Schema1)
        for mine, entry in zip(ours.layers, other.layers, strict=True):
            expected = json.loads(entry.v1_json)
            found = json.loads(mine.v1_json)
            added = found.keys() - expected.keys()
            assert {key: found[key] for key in expected} == expected
            assert mine.blob_sum == entry.blob_sum
            # Docker's configs have what skopeo leaves out of the last step.
            top = mine is ours.layers[0] and name == "buildkit"
            assert added == ({"container_config"} if top else set())
        assert (ours.name, ours.tag) == (f"new/{name}", "t")
        assert client.inspect(f"{registry.host}/new/{name}:t").digest == ours.digest


def test_schema1_is_pulled_by_all(
    registry: Distribution, client: Client, skopeo: Peer, tmp_path: Path
) -> None:
    """The real registry verifies the signature and the name."""
    registry.push("pulled", DOCKER_MADE, "t")
    name = f"{registry.host}/new/pulled:t"
    result = client.copy(f"docker://{registry.host}/pulled:t", name, convert_to="v2s1")
    image = client.pull(name)
    assert image.digest == result.root.digest
    before = parse_history(DOCKER_MADE.config.data)
    assert parse_history(image.config.raw)[:-1] == before[:-1]
    assert dict(image.config.env) == {"A": "<b>"}
    assert [str(each) for each in image.config.diff_ids] == list(DOCKER_MADE.diff_ids)
    skopeo("copy", "-q", "--src-tls-verify=false", "--format", "v2s2", f"docker://{name}",
           f"dir:{tmp_path}/s")  # fmt: skip
    theirs = json.loads((tmp_path / "s" / "manifest.json").read_bytes())
    assert theirs["config"]["digest"] == str(image.id)


def parse_history(config: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(config)["history"]
    return found


@pytest.mark.peer("podman")
def test_podman_pulls_schema1(registry: Distribution, client: Client, podman: Peer) -> None:
    registry.push("podman", DOCKER_MADE, "t")
    name = f"{registry.host}/new/s1-podman:t"
    client.copy(f"docker://{registry.host}/podman:t", name, convert_to="v2s1")
    found = podman("pull", "-q", "--tls-verify=false", name).strip()
    assert f"sha256:{found}" == str(client.pull(name).id)
