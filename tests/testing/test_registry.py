"""The fake registry: content, redirects and authentication."""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from plain_http import ask
from served_image import DATA, IMAGE
from wherry.testing import (
    FakeRegistry,
    build_index,
)

if TYPE_CHECKING:
    from pathlib import Path


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def error_code(body: bytes) -> str:
    code: str = json.loads(body)["errors"][0]["code"]
    return code


class TestContent:
    def test_manifests_by_tag_and_digest(self, registry: FakeRegistry) -> None:
        for reference in ("one", IMAGE.digest):
            for method in ("GET", "HEAD"):
                response, body = ask(registry.host, f"/v2/a/b/manifests/{reference}", method)
                assert response.status == 200
                assert response.headers["Content-Type"] == IMAGE.manifest.media_type
                assert response.headers["Docker-Content-Digest"] == IMAGE.digest
                assert response.headers["Content-Length"] == str(IMAGE.manifest.size)
                assert body == (IMAGE.manifest.data if method == "GET" else b"")

    def test_an_image_of_files(self, registry: FakeRegistry) -> None:
        image = registry.add("x/y:1", files={"etc/motd": b"hello"}, architecture="arm64")
        assert registry.add("x/y", files={}).digest != image.digest
        assert registry.tags["x/y"]["1"] == image.digest
        assert set(registry.tags["x/y"]) == {"1", "latest"}
        assert json.loads(image.config.data)["architecture"] == "arm64"
        assert ask(registry.host, f"/v2/x/y/blobs/{image.layers[0].digest}")[0].status == 200

    @pytest.mark.parametrize("name", ["", "X/y:1", "x/y:", "x/y@sha256:0", "h:5000/x/y:1"])
    def test_a_name_must_have_a_path_and_may_have_a_tag(
        self, registry: FakeRegistry, name: str
    ) -> None:
        with pytest.raises(ValueError, match="expected PATH:TAG"):
            registry.add(name, files={})
        assert set(registry.tags) == {"a/b"}

    def test_an_index_is_added_with_its_images(self, registry: FakeRegistry) -> None:
        index = build_index([(build_index([(IMAGE, None)]), None)])
        registry.add_image("x", index, "t")
        assert ask(registry.host, f"/v2/x/manifests/{IMAGE.digest}")[0].status == 200
        assert ask(registry.host, "/v2/x/manifests/t")[1] == index.index.data

    def test_blobs_from_memory_and_file(
        self, registry: FakeRegistry, blob: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "blob"
        file.write_bytes(DATA + b"!")
        digest = registry.add_blob(file)
        assert ask(registry.host, blob)[1] == DATA
        assert ask(registry.host, f"/v2/x/blobs/{digest}")[1] == DATA + b"!"
        assert registry.requests[-1].bytes_sent == len(DATA) + 1
        head, _ = ask(registry.host, f"/v2/x/blobs/{digest}", "HEAD")
        assert head.headers["Content-Length"] == str(len(DATA) + 1)

    @pytest.mark.parametrize(
        ("wanted", "start", "stop"),
        [("10-", 10, None), ("10-19", 10, 20), ("-5", -5, None), ("5-99999999", 5, None)],
    )
    def test_ranges(
        self,
        registry: FakeRegistry,
        blob: str,
        *,
        wanted: str,
        start: int,
        stop: int | None,
    ) -> None:
        response, body = ask(registry.host, blob, headers={"Range": f"bytes={wanted}"})
        assert response.status == 206
        assert body == DATA[start:stop]
        first = start % len(DATA)
        last = first + len(body) - 1
        assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"

    def test_a_range_past_the_end_is_416(self, registry: FakeRegistry, blob: str) -> None:
        response, _ = ask(registry.host, blob, headers={"Range": f"bytes={len(DATA)}-"})
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{len(DATA)}"

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("/v2/no/manifests/one", "NAME_UNKNOWN"),
            ("/v2/no/tags/list", "NAME_UNKNOWN"),
            ("/v2/a/b/manifests/no", "MANIFEST_UNKNOWN"),
            ("/v2/a/b/blobs/sha256:00", "BLOB_UNKNOWN"),
        ],
    )
    def test_errors_have_codes(self, registry: FakeRegistry, path: str, code: str) -> None:
        response, body = ask(registry.host, path)
        assert response.status == 404
        assert error_code(body) == code

    def test_tags_are_paged(self, registry: FakeRegistry) -> None:
        registry.page_size = 1
        response, body = ask(registry.host, "/v2/a/b/tags/list")
        assert json.loads(body) == {"name": "a/b", "tags": ["one"]}
        assert response.headers["Link"] == '</v2/a/b/tags/list?n=1&last=one>; rel="next"'
        response, body = ask(registry.host, "/v2/a/b/tags/list?n=5&last=one")
        assert json.loads(body)["tags"] == ["two"]
        assert "Link" not in response.headers
        assert json.loads(ask(registry.host, "/v2/_catalog")[1]) == {"repositories": ["a/b"]}

    def test_requests_and_connections_are_recorded(self, registry: FakeRegistry) -> None:
        connection = http.client.HTTPConnection(registry.host)
        for _ in range(2):
            connection.request("GET", "/v2/?x=1", headers={"X-Name": "value"})
            connection.getresponse().read()
        connection.close()
        assert [entry.path for entry in registry.requests] == ["/v2/?x=1"] * 2
        assert registry.requests[0].headers["x-name"] == "value"
        assert registry.requests[0].status == 200
        assert registry.connections == 1
        assert registry.peak == 1
        registry.clear()
        assert registry.requests == []


class TestRedirects:
    def test_blobs_come_from_a_second_server(self) -> None:
        with FakeRegistry(redirect_blobs_to=True) as registry:
            assert registry.storage is not None
            digest = registry.add_blob(DATA)
            response, _ = ask(registry.host, f"/v2/a/blobs/{digest}")
            assert response.status == 307
            location = response.headers["Location"].removeprefix("http://")
            host, _, path = location.partition("/")
            assert host == registry.storage.host
            response, body = ask(host, f"/{path}", headers={"Range": "bytes=5-"})
            assert (response.status, body) == (206, DATA[5:])
            assert "authorization" not in registry.storage.requests[0].headers

    def test_blobs_come_from_another_registry(self) -> None:
        with FakeRegistry() as other, FakeRegistry(redirect_blobs_to=other.url) as registry:
            digest = registry.add_blob(DATA)
            response, _ = ask(registry.host, f"/v2/a/blobs/{digest}")
            assert response.headers["Location"].startswith(other.url + "/storage/")

    def test_addresses_may_expire(self) -> None:
        with FakeRegistry(redirect_blobs_to=True, redirect_uses=2) as registry:
            digest = registry.add_blob(DATA)
            for _ in range(2):
                response, _ = ask(registry.host, f"/v2/a/blobs/{digest}")
                host, _, path = response.headers["Location"].removeprefix("http://").partition("/")
                answers = [ask(host, f"/{path}")[0].status for _ in range(3)]
                assert answers == [200, 200, 403]


class TestAuthentication:
    def test_basic(self) -> None:
        with FakeRegistry(users={"u": "pw"}) as registry:
            response, body = ask(registry.host, "/v2/")
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
            assert error_code(body) == "UNAUTHORIZED"
            assert ask(registry.host, "/v2/", headers=basic("u", "no"))[0].status == 401
            assert ask(registry.host, "/v2/", headers=basic("u", "pw"))[0].status == 200

    def token(
        self,
        registry: FakeRegistry,
        headers: dict[str, str] | None = None,
        **query: str | list[str],
    ) -> tuple[int, dict[str, Any]]:
        query.setdefault("service", registry.service)
        response, body = ask(registry.host, "/token?" + urlencode(query, True), headers=headers)  # noqa: FBT003
        return response.status, json.loads(body)

    def read(
        self, registry: FakeRegistry, token: str, name: str = "a/b"
    ) -> http.client.HTTPResponse:
        path = f"/v2/{name}/manifests/one"
        return ask(registry.host, path, headers={"Authorization": f"Bearer {token}"})[0]

    def test_bearer_for_users_and_for_the_public(self) -> None:
        with FakeRegistry(users={"u": "pw"}, tokens=True, public=["pub"]) as registry:
            registry.add_image("a/b", IMAGE, "one")
            registry.add_image("pub", IMAGE, "one")
            scope = "repository:a/b:pull"
            challenge = ask(registry.host, "/v2/a/b/manifests/one")[0].headers["WWW-Authenticate"]
            assert f'realm="{registry.url}/token"' in challenge
            assert f'scope="{scope}"' in challenge
            status, answer = self.token(registry, basic("u", "pw"), scope=scope)
            assert (status, answer["expires_in"]) == (200, 300)
            assert self.read(registry, answer["token"]).status == 200
            refused = self.read(registry, answer["token"], "pub")
            assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]
            assert self.token(registry, basic("u", "no"), scope=scope)[0] == 401
            both = [scope, "repository:pub:pull,push"]
            _, answer = self.token(registry, scope=both)
            assert answer["scope"] == "repository:pub:pull"
            assert self.read(registry, answer["token"]).status == 401
            assert self.read(registry, answer["token"], "pub").status == 200
            assert registry.tokens_issued == 2
            registry.revoke_tokens()
            refused = self.read(registry, answer["token"], "pub")
            assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]

    def test_tokens_expire(self) -> None:
        with FakeRegistry(tokens=True, expires_in=0) as registry:
            _, answer = self.token(registry, scope="repository:a/b:pull")
            assert self.read(registry, answer["token"]).status == 401

    def test_refresh_tokens_by_post(self) -> None:
        with FakeRegistry(users={"u": "pw"}, tokens=True, refresh_tokens={"tok": "u"}) as registry:
            registry.add_image("a/b", IMAGE, "one")
            form = {"grant_type": "refresh_token", "refresh_token": "tok", "service": "s"}
            form["scope"] = "repository:a/b:pull"
            response, body = ask(registry.host, "/token", "POST", body=urlencode(form))
            assert response.status == 200
            assert self.read(registry, json.loads(body)["access_token"]).status == 200
            form["refresh_token"] = "no"
            assert ask(registry.host, "/token", "POST", body=urlencode(form))[0].status == 401
            _, answer = self.token(registry, basic("u", "pw"), offline_token="true")
            assert answer["refresh_token"] == "tok"
