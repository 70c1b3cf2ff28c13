"""Pull-through between real clients and a real registry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import wherry
from wherry.testing import build_image, build_index, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wherry.testing import Distribution

    Peer = Callable[..., str]

AMD = build_image([tar_layer({"etc/motd": b"amd64"})])
ARM = build_image([tar_layer({"etc/motd": b"arm64"})], architecture="arm64")
INDEX = build_index(
    [
        (AMD, {"os": "linux", "architecture": "amd64"}),
        (ARM, {"os": "linux", "architecture": "arm64"}),
    ]
)


@pytest.fixture
def mirror(
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    serve_store: Callable[..., AbstractContextManager[str]],
    distribution: Distribution,
) -> Iterator[str]:
    """A server that podman asks for docker.io, and that asks `distribution`."""
    del environment
    proxies = [f"docker.io={distribution.url}"]
    with serve_store(tmp_path / "store", proxies=proxies) as url:
        host = urlsplit(url).netloc
        (tmp_path / "registries.conf").write_text(
            f'[[registry]]\nlocation = "docker.io"\n'
            f'[[registry.mirror]]\nlocation = "{host}/docker.io"\ninsecure = true\n'
        )
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
        yield url


@pytest.mark.peer("podman")
@pytest.mark.parametrize("by", [":1", "@"])
def test_podman_pulls_through_a_mirror(
    tmp_path: Path,
    mirror: str,
    podman: Peer,
    distribution: Distribution,
    repository: str,
    by: str,
) -> None:
    del mirror
    distribution.push(repository, INDEX, "1")
    name = f"docker.io/{repository}{by if by == ':1' else by + INDEX.digest}"
    podman("pull", "--quiet", name)
    assert podman("image", "inspect", "--format", "{{.Id}}", name).strip() in AMD.config.digest
    deadline = time.monotonic() + 5
    with wherry.Store(tmp_path / "store") as store:
        while not list(store.images()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.get(name).id == AMD.config.digest
    podman("rmi", name)
    distribution.clear()
    podman("pull", "--quiet", name)
    podman("rmi", name)
    assert distribution.requests() == []
