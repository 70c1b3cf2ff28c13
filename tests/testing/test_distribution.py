"""The real registry: pushes, requests, tokens, TLS and redirects."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest

from wherry.testing import (
    BuiltIndex,
    Distribution,
    Fault,
    Replace,
    TokenServer,
    build_image,
    build_index,
    make_certificate,
    pseudo_random_files,
    tar_layer,
)

pytestmark = pytest.mark.peer("docker-registry")

TARS = [tar_layer(pseudo_random_files(seed, 50_000, 3)) for seed in (1, 2)]
OCI = build_image(TARS, compression=["zstd", "gzip"])
DOCKER = build_image(TARS, style="docker", compression=["gzip", "none"])


def get(url: str, **headers: str) -> bytes:
    headers = {"Accept": "*/*"} | headers
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:  # noqa: S310
        body: bytes = answer.read()
        return body


def manifest(registry: Distribution, name: str, reference: str, kind: str, **more: str) -> bytes:
    return get(f"{registry.url}/v2/{name}/manifests/{reference}", Accept=kind, **more)


def test_images_and_indexes_are_served_as_they_were_pushed(tmp_path: Path) -> None:
    index = build_index([(OCI, {"os": "linux", "architecture": "amd64"})])
    listed = build_index([(DOCKER, {"os": "linux", "architecture": "arm64"})], style="docker")
    with Distribution(tmp_path) as registry:
        for tag, image in (("oci", OCI), ("docker", DOCKER), ("index", index), ("list", listed)):
            assert registry.push("some/image", image, tag, tag + "-2") == image.digest
            root = image.index if isinstance(image, BuiltIndex) else image.manifest
            for reference in (tag, tag + "-2", image.digest):
                assert manifest(registry, "some/image", reference, root.media_type) == root.data
        for piece in (*OCI.blobs(), *DOCKER.blobs()):
            assert get(f"{registry.url}/v2/some/image/blobs/{piece.digest}") == piece.data


def test_requests_are_read_from_the_log(tmp_path: Path) -> None:
    with Distribution(tmp_path) as registry:
        registry.push("a", OCI, "t")
        assert ("PUT", "/v2/a/manifests/t", 201) in registry.requests()
        registry.clear()
        get(f"{registry.url}/v2/a/tags/list?n=1")
        with pytest.raises(urllib.error.HTTPError):
            get(f"{registry.url}/v2/a/manifests/no")
        assert registry.requests() == [
            ("GET", "/v2/a/tags/list?n=1", 200),
            ("GET", "/v2/a/manifests/no", 404),
        ]


def test_blobs_can_be_pushed_from_files(tmp_path: Path) -> None:
    file = tmp_path / "blob"
    file.write_bytes(TARS[0])
    with Distribution(tmp_path) as registry:
        digest = registry.pusher("a").push_blob(file)
        assert get(f"{registry.url}/v2/a/blobs/{digest}") == TARS[0]


def test_a_restarted_registry_keeps_its_content(tmp_path: Path) -> None:
    with Distribution(tmp_path) as registry:
        registry.push("a", OCI, "t")
    with pytest.raises(urllib.error.URLError):
        get(f"{registry.url}/v2/")
    registry.stop()
    with Distribution(tmp_path) as registry:
        assert json.loads(get(f"{registry.url}/v2/a/tags/list"))["tags"] == ["t"]
        assert len(registry.requests()) == 1


def test_htpasswd(tmp_path: Path) -> None:
    with Distribution(tmp_path, htpasswd={"u": "pw"}) as registry:
        registry.push("a", OCI, "t")
        registry.push("a", OCI, "t", credentials=("u", "pw"))
        with pytest.raises(RuntimeError, match="401"):
            registry.push("a", OCI, "t", credentials=("u", "no"))
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(f"{registry.url}/v2/")
        assert caught.value.headers["WWW-Authenticate"] == 'Basic realm="test"'


class TestTokens:
    def ask(self, server: TokenServer, **query: str) -> dict[str, str]:
        query["service"] = server.service
        found: dict[str, str] = json.loads(get(f"{server.realm}?{urlencode(query)}"))
        return found

    def test_the_registry_accepts_the_tokens(self, tmp_path: Path) -> None:
        scope = "repository:pub:pull"
        kind = OCI.manifest.media_type
        with (
            TokenServer(users={"u": "pw"}, public=["pub"], refresh_tokens={"tok": "u"}) as tokens,
            Distribution(tmp_path, tokens=tokens) as registry,
        ):
            registry.push("pub", OCI, "t")
            registry.push("private", OCI, "t")
            assert tokens.issued == 0
            token = self.ask(tokens, scope=scope)["token"]
            assert tokens.issued == 1
            bearer = {"Authorization": f"Bearer {token}"}
            assert manifest(registry, "pub", "t", kind, **bearer) == OCI.manifest.data
            token = self.ask(tokens, scope="repository:private:pull")["token"]
            with pytest.raises(urllib.error.HTTPError) as caught:
                manifest(registry, "private", "t", kind, Authorization=f"Bearer {token}")
            challenge = caught.value.headers["WWW-Authenticate"]
            assert f'realm="{tokens.realm}",service="{tokens.service}"' in challenge
            form = {"grant_type": "refresh_token", "refresh_token": "tok"}
            form |= {"service": tokens.service, "scope": "repository:private:pull"}
            connection = http.client.HTTPConnection(tokens.host)
            connection.request("POST", "/token", urlencode(form))
            answer = json.loads(connection.getresponse().read())
            connection.close()
            bearer = {"Authorization": f"Bearer {answer['access_token']}"}
            assert manifest(registry, "private", "t", kind, **bearer) == OCI.manifest.data
            assert tokens.requests[-1].method == "POST"

    def test_an_expired_token_is_refused(self, tmp_path: Path) -> None:
        with TokenServer(public=True) as tokens, Distribution(tmp_path, tokens=tokens) as registry:
            registry.push("a", OCI, "t")
            token = tokens.token_for("repository:a:pull", expires_in=-100)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(f"{registry.url}/v2/a/manifests/t", Authorization=f"Bearer {token}")

    def test_the_token_server_can_fail(self) -> None:
        with TokenServer() as tokens:
            tokens.inject(Fault(Replace(b"{}")))
            assert self.ask(tokens) == {}


def test_tls(tmp_path: Path) -> None:
    authority, certificate, key = make_certificate(tmp_path / "certs")
    context = ssl.create_default_context(cafile=authority)
    with Distribution(tmp_path, tls=(certificate, key)) as registry:
        assert registry.url.startswith("https://")
        registry.push("a", OCI, "t")
        with urllib.request.urlopen(f"{registry.url}/v2/", context=context) as answer:  # noqa: S310
            assert answer.status == 200


def test_blobs_can_come_from_a_storage_server(tmp_path: Path) -> None:
    with Distribution(tmp_path, redirect=True) as registry:
        registry.push("a", OCI, "t")
        assert registry.storage is not None
        layer = OCI.layers[0]
        url = f"{registry.url}/v2/a/blobs/{layer.digest}"
        assert get(url, Range="bytes=100-") == layer.data[100:]
        assert [entry.status for entry in registry.storage.requests] == [206]
        assert registry.requests()[-1][2] == 307


def test_a_registry_that_does_not_start_reports_why(tmp_path: Path) -> None:
    missing = (tmp_path / "no.crt", tmp_path / "no.key")
    registry = Distribution(tmp_path, tls=missing)
    with pytest.raises(RuntimeError, match=r"no\.crt"):
        registry.__enter__()
