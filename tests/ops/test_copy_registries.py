"""Pushes and copies to registries as their users report them."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, get_args

import pytest

import wherry
from wherry.testing import (
    CutRequest,
    FakeRegistry,
    Fault,
    RegistryName,
    build_image,
    build_index,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = {"me": "secret"}
LARGE = tar_layer({"large": os.urandom(9_000_000)})
IMAGE = build_image([tar_layer({"small": b"1"}), LARGE])
ARM = build_image([tar_layer({"arm": b"1"})], architecture="arm64")
INDEX = build_index(
    [
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
        (ARM, {"os": "linux", "architecture": "arm64"}),
    ]
)
DOCKER = build_image([tar_layer({"small": b"1"})], style="docker")
SBOM = build_image(
    [],
    manifest_extra={
        "artifactType": "application/vnd.example.sbom",
        "subject": IMAGE.manifest.descriptor(),
    },
)
SIZE = sum({piece.digest: piece.size for image in (IMAGE, ARM) for piece in image.blobs()}.values())

every_registry = pytest.mark.parametrize("like", get_args(RegistryName))


@pytest.fixture
def source() -> Iterator[FakeRegistry]:
    with FakeRegistry(referrers=True) as registry:
        registry.add_image("app", INDEX, "all")
        registry.add_image("app", DOCKER, "docker")
        registry.add_image("app", SBOM)
        yield registry


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[wherry.Client]:
    assert environment
    with wherry.Client(credentials=("me", "secret")) as client:
        yield client


@contextlib.contextmanager
def registry(like: RegistryName, *, tokens: bool) -> Iterator[FakeRegistry]:
    with FakeRegistry(like=like, users=USERS, tokens=tokens) as target:
        yield target


@every_registry
@pytest.mark.parametrize("tokens", [False, True])
def test_an_index_is_pushed_once(
    client: wherry.Client, source: FakeRegistry, like: RegistryName, tokens: bool
) -> None:
    client.pull(f"{source.host}/app:all", all_platforms=True)
    client.pull(f"{source.host}/app:docker")
    with registry(like, tokens=tokens) as target:
        name = f"{target.host}/team/app"
        first = client.push(f"{source.host}/app:all", f"{name}:1", all_platforms=True)
        assert (first.root.digest, first.sent) == (INDEX.digest, SIZE)
        target.clear()
        again = client.push(f"{source.host}/app:all", f"{name}:2", all_platforms=True)
        assert (again.sent, again.mounted) == (0, 0)
        assert len(target.requests) <= 5  # with a token
        other = client.push(f"{source.host}/app:all", f"{target.host}/other:1", all_platforms=True)
        assert (other.sent, other.mounted) == (0, SIZE)
        client.push(f"{source.host}/app:docker", f"{name}:docker")
        assert target.tags["team/app"] == {
            "1": INDEX.digest,
            "2": INDEX.digest,
            "docker": DOCKER.digest,
        }
        assert target.tags["other"] == {"1": INDEX.digest}
        assert client.validate(f"{name}:1").findings == []


@every_registry
def test_a_copy_goes_on_after_cut_connections(
    client: wherry.Client, source: FakeRegistry, like: RegistryName
) -> None:
    with registry(like, tokens=True) as target:
        for after in (3_000_000, 500_000):
            target.inject(Fault(CutRequest(after), method="PATCH", times=1))
        client.copy(f"{source.host}/app:all", f"{target.host}/app:1", all_platforms=True)
        assert target.tags["app"] == {"1": INDEX.digest}
        assert target.uploads.open_sessions == 0
        assert client.validate(f"{target.host}/app:1").findings == []


@every_registry
def test_referrers_are_copied(
    client: wherry.Client, source: FakeRegistry, like: RegistryName
) -> None:
    with registry(like, tokens=False) as target:
        client.copy(
            f"{source.host}/app:all",
            f"{target.host}/app:1",
            platform="linux/amd64",
            referrers=True,
        )
        (found,) = client.referrers(f"{target.host}/app@{IMAGE.digest}")
        assert found.digest == SBOM.digest
