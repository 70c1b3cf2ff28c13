"""Compare schema1 images of a real registry with skopeo and podman."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from wherry import Client, Store, Unsupported
from wherry.testing import BuiltImage, Distribution, build_image, build_schema1, make_key, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TARS = [tar_layer({f"f{number}": b"x%d" % number * 500}) for number in range(3)]
HISTORY: list[dict[str, object]] = [
    {"created": "2024-01-02T03:04:05.1200Z", "created_by": "ADD <x> & y"},
    {"created": "2024-01-02T03:04:05Z", "created_by": "ENV", "empty_layer": True},
    {"created": "2024-01-02T03:04:05+02:00", "created_by": "b \u2028", "comment": "hi"},
    {"created": "2024-01-02T03:04:05Z", "created_by": "c", "author": "me <x@y>"},
]

pytestmark = pytest.mark.peer("docker-registry", "skopeo", "podman")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with Distribution(tmp_path_factory.mktemp("schema1"), schema1=True) as found:
        yield found


def image(version: str) -> BuiltImage:
    return build_image(
        TARS,
        style="docker",
        cmd=["/bin/sh", "-c", "<a & b>"],
        env=["A=1"],
        labels={"z": "<1>", "a": "2"},
        history=HISTORY,
        config_extra={"docker_version": version, "odd": {"x": 1.50, "big": 12345678901234567}},
    )


def convert(skopeo: Callable[..., str], registry: Distribution, built: BuiltImage, tag: str) -> str:
    """Push an image as schema1 with skopeo, which signs it with its own key."""
    registry.push("app", built, tag)
    source, target = f"docker://{registry.host}/app:{tag}", f"docker://{registry.host}/app:{tag}-s1"
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo("copy", "-q", *plain, "--format", "v2s1", source, target)
    return f"{registry.host}/app:{tag}-s1"


def test_it_is_refused_before_layers_are_fetched(
    registry: Distribution, store: Store, environment: dict[str, str], skopeo: Callable[..., str]
) -> None:
    name = convert(skopeo, registry, image("19.03.1"), "refused")
    assert environment["WHERRY_STORE"] == str(store.path)
    registry.clear()
    with Client(store=store, schema1="deny") as client, pytest.raises(Unsupported, match="schema1"):
        client.pull(name)
    assert not any("/blobs/" in path for _, path, _ in registry.requests())
    assert store.images() == []


# Since 1.8.3 engines keep the JSON unchanged.
@pytest.mark.parametrize("version", ["19.03.1", "1.8.3", "1.8.2", "1.7.0-rc1"])
def test_the_id_is_skopeo_s_and_podman_s(
    registry: Distribution,
    client: Client,
    skopeo: Callable[..., str],
    podman: Callable[..., str],
    tmp_path: Path,
    version: str,
) -> None:
    name = convert(skopeo, registry, image(version), f"v{version}")
    pulled = client.pull(name)
    skopeo(
        "copy", "-q", "--src-tls-verify=false", "--format", "v2s2", f"docker://{name}",
        f"dir:{tmp_path}/dir",
    )  # fmt: skip
    theirs = (tmp_path / "dir" / "manifest.json").read_bytes()
    assert str(pulled.id) == json.loads(theirs)["config"]["digest"]
    assert pulled.manifest.raw == theirs
    assert f"sha256:{podman('pull', '-q', '--tls-verify=false', name).strip()}" == str(pulled.id)


def test_one_head_when_up_to_date_and_the_digest_is_the_registry_s(
    registry: Distribution, client: Client, skopeo: Callable[..., str]
) -> None:
    name = convert(skopeo, registry, image("19.03.1"), "again")
    pulled = client.pull(name)
    registry.clear()
    assert client.pull(name).id == pulled.id
    assert [method for method, _, _ in registry.requests()] == ["HEAD"]
    inspected: dict[str, Any] = json.loads(
        skopeo("inspect", "--tls-verify=false", f"docker://{name}")
    )
    assert str(pulled.digest) == inspected["Digest"]
    assert client.pull(f"{registry.host}/app@{pulled.digest}").id == pulled.id


def test_a_registry_takes_what_the_builder_signs(registry: Distribution, client: Client) -> None:
    """A real registry accepts the signatures of `build_schema1`."""
    layers = [piece.data for piece in image("19.03.1").layers]
    built = build_schema1(layers, name="built", tag="t", keys=[("ES256", make_key("ES256"))])
    pusher = registry.pusher("built")
    for layer in layers:
        pusher.push_blob(layer)
    pusher.push_manifest(built.manifest.data, built.manifest.media_type, "t")
    assert str(client.pull(f"{registry.host}/built:t").digest) == built.digest
