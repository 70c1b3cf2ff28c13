"""Deleting from Distribution, compared with skopeo."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.errors import NotFound, RegistryError, StillTagged, Unauthorized
from wherry.testing import Distribution, TokenServer, build_image, build_index, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry import Client

IMAGE = build_image([tar_layer({"a": b"1"})])
OTHER = build_image([tar_layer({"a": b"2"})])
INDEX = build_index([(IMAGE, {"os": "linux", "architecture": "amd64"})])


def tags_of(client: Client, name: str) -> dict[str, str]:
    return {tag: client.digest(f"{name}:{tag}") for tag in client.tags(name)}


def test_a_manifest_goes_with_its_tags(
    client: Client, distribution: Distribution, repository: str
) -> None:
    name = f"{distribution.host}/{repository}"
    distribution.push(repository, IMAGE, "1", "1.0")
    distribution.push(repository, OTHER, "2")
    with pytest.raises(StillTagged) as caught:
        client.delete(f"{name}:1")
    assert caught.value.tags == ("1.0",)
    assert set(client.plan_delete(f"{name}@{IMAGE.digest}").tags) == {"1", "1.0"}
    client.delete(f"{name}:1", force=True)
    assert tags_of(client, name) == {"2": OTHER.digest}
    client.delete(f"{name}:2")
    assert client.tags(name) == []
    for gone in (IMAGE, OTHER):
        with pytest.raises(NotFound):
            client.delete(f"{name}@{gone.digest}")


def test_a_tag_goes_alone(client: Client, distribution: Distribution, repository: str) -> None:
    """Distribution 2.8 deletes no tags: a stand-in is needed."""
    name = f"{distribution.host}/{repository}"
    distribution.push(repository, IMAGE, "1", "1.0")
    distribution.push(repository, INDEX, "all", "latest")
    distribution.clear()
    client.delete(f"{name}:1.0", untag=True)
    requests = distribution.requests()
    assert ("DELETE", f"/v2/{repository}/manifests/1.0", 400) in requests
    client.delete(name, untag=True)
    assert tags_of(client, name) == {"1": IMAGE.digest, "all": INDEX.digest}
    assert client.validate(f"{name}:1").findings == []
    client.delete(f"{name}:1", untag=True)
    assert tags_of(client, name) == {"all": INDEX.digest}
    assert client.digest(f"{name}@{IMAGE.digest}") == IMAGE.digest


def test_of_an_index_the_images_stay(
    client: Client, distribution: Distribution, repository: str
) -> None:
    name = f"{distribution.host}/{repository}"
    distribution.push(repository, INDEX, "all")
    assert client.delete(f"{name}:all").is_index
    assert client.digest(f"{name}@{IMAGE.digest}") == IMAGE.digest


@pytest.mark.peer("docker-registry", "skopeo")
def test_skopeo_deletes_the_same(
    client: Client, distribution: Distribution, repository: str, skopeo: Callable[..., str]
) -> None:
    for place in ("ours", "theirs"):
        distribution.push(f"{repository}/{place}", IMAGE, "1", "1.0")
        distribution.push(f"{repository}/{place}", OTHER, "2")
    ours, theirs = (f"{distribution.host}/{repository}/{place}" for place in ("ours", "theirs"))
    client.delete(f"{ours}:1", force=True)
    skopeo("delete", "--tls-verify=false", f"docker://{theirs}:1")
    found = [
        json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{each}"))["Tags"]
        for each in (ours, theirs)
    ]
    assert found == [["2"], ["2"]]


@pytest.mark.peer("docker-registry")
@pytest.mark.parametrize("untag", [False, True])
def test_a_registry_that_does_not_delete(tmp_path: Path, client: Client, untag: bool) -> None:
    with Distribution(tmp_path / "registry", deletes=False) as registry:
        registry.push("app", IMAGE, "1", "1.0")
        registry.clear()
        with pytest.raises(RegistryError) as caught:
            client.delete(f"{registry.host}/app:1.0", untag=untag, force=True)
        assert caught.value.message == (
            "the registry does not delete it (405 UNSUPPORTED: The operation is unsupported.)"
        )
        assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in caught.value.hint
        assert {method for method, _, _ in registry.requests()} <= {"HEAD", "DELETE"}
        assert tags_of(client, f"{registry.host}/app") == dict.fromkeys(("1", "1.0"), IMAGE.digest)


@pytest.mark.peer("docker-registry")
@pytest.mark.parametrize("kind", ["basic", "token"])
def test_with_credentials(tmp_path: Path, environment: dict[str, str], kind: str) -> None:
    assert environment
    users = {"me": "secret"}
    with (
        TokenServer(users=users, public=True) as tokens,
        Distribution(
            tmp_path / "registry",
            htpasswd=users if kind == "basic" else None,
            tokens=tokens if kind == "token" else None,
        ) as registry,
    ):
        registry.push("app", IMAGE, "1", "1.0")
        name = f"{registry.host}/app"
        with library.Client() as stranger:
            for untag in (False, True):
                with pytest.raises(Unauthorized) as caught:
                    stranger.delete(f"{name}:1.0", untag=untag, force=True)
            if kind == "token":
                assert caught.value.scope == "repository:app:pull,push,delete"
        with library.Client(credentials=("me", "secret")) as client:
            assert client.catalog(registry.host) == ["app"]
            client.delete(f"{name}:1.0", untag=True)
            assert tags_of(client, name) == {"1": IMAGE.digest}
            client.delete(f"{name}:1")
            assert client.tags(name) == []
