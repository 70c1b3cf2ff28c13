"""Pulls from a real registry with TLS, and with redirects to storage."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry import Client, NetworkError, WherryError
from wherry.testing import (
    Cut,
    Distribution,
    Fault,
    build_image,
    make_certificate,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Wherry

pytestmark = pytest.mark.peer("docker-registry")

PASSWORD = "correct horse"
TARS = [tar_layer(pseudo_random_files(seed, 40_000, 2)) for seed in range(8)]
IMAGE = build_image(TARS[:2])
WIDE = build_image(TARS)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(
    authority: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Distribution]:
    _, certificate, key = authority
    root = tmp_path_factory.mktemp("secure")
    with Distribution(root, tls=(certificate, key), htpasswd={"me": PASSWORD}) as registry:
        registry.push("app", IMAGE, "t")
        yield registry


class TestTls:
    @pytest.fixture
    def name(self, secure: Distribution) -> str:
        secure.clear()
        return f"{secure.host}/app:t"

    def test_a_certificate_that_is_not_trusted(
        self, name: str, wherry: Wherry, secure: Distribution, store: library.Store
    ) -> None:
        done = wherry("pull", "-q", "--creds", f"me:{PASSWORD}", name)
        assert done.returncode == 6
        first, *hints = done.stderr.splitlines()
        assert "certificate" in first
        assert secure.host in first
        assert any("SSL_CERT_FILE" in hint for hint in hints)
        assert secure.requests() == []
        assert store.images() == []

    def test_a_certificate_that_is_not_trusted_by_the_library(
        self, name: str, store: library.Store
    ) -> None:
        with (
            Client(store=store, credentials=("me", PASSWORD)) as client,
            pytest.raises(NetworkError) as caught,
        ):
            client.pull(name)
        assert not caught.value.transient

    def test_its_authority_in_ssl_cert_file(
        self, name: str, wherry: Wherry, authority: tuple[Path, Path, Path]
    ) -> None:
        env = {"SSL_CERT_FILE": str(authority[0])}
        done = wherry("pull", "--creds", f"me:{PASSWORD}", name, env=env)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{IMAGE.id}\n"

    def test_insecure(self, name: str, wherry: Wherry) -> None:
        done = wherry("pull", "--insecure", "--creds", f"me:{PASSWORD}", name)
        assert done.returncode == 0, done.stderr

    def test_insecure_without_tls(
        self, distribution: Distribution, repository: str, wherry: Wherry
    ) -> None:
        distribution.push(repository, IMAGE, "t")
        done = wherry("pull", "--insecure", f"{distribution.host}/{repository}:t")
        assert done.returncode == 0, done.stderr

    def test_a_certificate_for_another_host(self, tmp_path: Path, wherry: Wherry) -> None:
        authority, certificate, key = make_certificate(tmp_path / "certs", ["other.example"])
        with Distribution(tmp_path / "registry", tls=(certificate, key)) as registry:
            registry.push("app", IMAGE, "t")
            registry.clear()
            env = {"SSL_CERT_FILE": str(authority)}
            done = wherry("pull", "-q", f"{registry.host}/app:t", env=env)
            assert done.returncode == 6
            assert "certificate" in done.stderr.splitlines()[0]
            assert registry.requests() == []
            done = wherry("pull", "--insecure", f"{registry.host}/app:t", env=env)
            assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    root = tmp_path_factory.mktemp("behind")
    with Distribution(root, redirect=True, htpasswd={"me": PASSWORD}) as registry:
        registry.push("app", WIDE, "t")
        yield registry


@pytest.mark.usefixtures("environment")
class TestRedirects:
    @pytest.fixture
    def registry(self, behind: Distribution) -> Distribution:
        behind.clear()
        assert behind.storage is not None
        behind.storage.clear()
        return behind

    @pytest.fixture
    def user(self, store: library.Store) -> Iterator[Client]:
        with Client(store=store, credentials=("me", PASSWORD)) as client:
            yield client

    def test_blobs_come_from_the_storage_without_credentials(
        self, registry: Distribution, user: Client
    ) -> None:
        assert registry.storage is not None
        assert str(user.pull(f"{registry.host}/app:t").id) == WIDE.id
        got = registry.storage.requests
        assert len(got) == len(WIDE.layers) + 1
        assert all(request.method == "GET" and request.status == 200 for request in got)
        assert not [request for request in got if "authorization" in request.headers]
        assert PASSWORD not in str(got)
        asked = Counter(line for line in registry.requests() if "/blobs/" in line[1])
        assert asked == Counter(
            ("GET", f"/v2/app/blobs/{piece.digest}", 307) for piece in WIDE.blobs()
        )

    def test_a_cut_is_resumed_through_the_redirect(
        self, registry: Distribution, user: Client
    ) -> None:
        assert registry.storage is not None
        layer = max(WIDE.layers, key=lambda piece: piece.size)
        path = f"/{layer.digest.removeprefix('sha256:')}/"
        registry.storage.inject(Fault(Cut(after=5000), path=path, times=1))
        assert str(user.pull(f"{registry.host}/app:t").id) == WIDE.id
        first, second = [request for request in registry.storage.requests if path in request.path]
        assert "range" not in first.headers
        assert second.headers["range"] == "bytes=5000-"
        assert second.status == 206
        assert "authorization" not in second.headers

    def test_a_storage_that_is_gone_is_a_network_error(
        self, tmp_path: Path, client: Client
    ) -> None:
        with Distribution(tmp_path / "registry", redirect=True) as registry:
            registry.push("app", IMAGE, "t")
            assert registry.storage is not None
            registry.storage.close()
            with (
                Client(store=client.store, retries=1) as once,
                pytest.raises(WherryError) as caught,
            ):
                once.pull(f"{registry.host}/app:t")
        assert isinstance(caught.value, NetworkError)
        assert client.store.images() == []
