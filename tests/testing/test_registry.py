import base64
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from waiting import wait_for
from wherry.testing import (
    Action,
    Chunked,
    ContentLength,
    ContentRange,
    Corrupt,
    Cut,
    CutHead,
    Delay,
    DropHeader,
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    IgnoreRange,
    Replace,
    SetHeader,
    SilentPort,
    Stall,
    Trickle,
    build_image,
    build_index,
    refused_port,
    tar_layer,
)

DATA = bytes(range(256)) * 4096
IMAGE = build_image([tar_layer({"a": b"a"})])


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.add_image("a/b", IMAGE, "one", "two")
        yield running


@pytest.fixture
def blob(registry: FakeRegistry) -> str:
    return "/v2/a/b/blobs/" + registry.add_blob(DATA)


def ask(
    host: str,
    path: str,
    method: str = "GET",
    *,
    headers: dict[str, str] | None = None,
    body: str | None = None,
    timeout: float = 10,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(host, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


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

    def test_an_index_brings_what_it_lists(self, registry: FakeRegistry) -> None:
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


class TestFaults:
    def test_answers_queue_up_and_are_counted(self, registry: FakeRegistry) -> None:
        first = registry.inject(
            Fault(FixedReply(503, {"Retry-After": "1"}, b"no"), times=2, skip=1)
        )
        second = registry.inject(Fault(FixedReply(429), times=1))
        statuses = [ask(registry.host, "/v2/")[0].status for _ in range(5)]
        assert statuses == [429, 503, 503, 200, 200]
        assert (first.count, second.count) == (2, 1)

    def test_a_fault_is_for_its_method_and_path(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(FixedReply(500), method="GET", path=r"/blobs/.*\?x="))
        assert ask(registry.host, blob)[0].status == 200
        assert ask(registry.host, blob + "?x=1", "HEAD")[0].status == 200
        assert ask(registry.host, blob + "?x=1")[0].status == 500

    def test_cut(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(Cut(after=300_000)))
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(registry.host, blob)
        assert caught.value.partial == DATA[:300_000]
        assert registry.requests[-1].bytes_sent == 300_000

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_cut_within_the_head(self, registry: FakeRegistry, blob: str, method: str) -> None:
        registry.inject(Fault(CutHead(after=30), times=1))
        with socket.create_connection(("127.0.0.1", registry.port), timeout=10) as connection:
            connection.sendall(f"{method} {blob} HTTP/1.1\r\n\r\n".encode())
            head = b"".join(iter(lambda: connection.recv(4096), b""))
        assert head == b"HTTP/1.1 200 OK\r\nServer: fake\r\nDate"[:30]
        assert ask(registry.host, blob)[1] == DATA

    @pytest.mark.parametrize("action", [Cut(after=10, reset=True), HangUp(reset=True)])
    def test_reset(self, registry: FakeRegistry, blob: str, action: Action) -> None:
        registry.inject(Fault(action))
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            ask(registry.host, blob)

    def test_hang_up(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(HangUp()))
        with pytest.raises(http.client.RemoteDisconnected):
            ask(registry.host, blob)
        assert registry.requests[-1].status == 0

    @pytest.mark.parametrize("after", [0, 256 * 1024, len(DATA)])
    def test_stall(self, registry: FakeRegistry, blob: str, after: int) -> None:
        registry.inject(Fault(Stall(after=after)))
        connection = http.client.HTTPConnection(registry.host, timeout=60)
        connection.request("GET", blob)
        assert connection.getresponse().read(after) == DATA[:after]
        connection.close()

    def test_a_stall_ends(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(Stall(after=1000, seconds=0.3)))
        begun = time.monotonic()
        assert ask(registry.host, blob)[1] == DATA
        assert time.monotonic() - begun >= 0.3

    def test_delay(self, registry: FakeRegistry) -> None:
        registry.inject(Fault(Delay(0.2)))
        begun = time.monotonic()
        assert ask(registry.host, "/v2/")[0].status == 200
        assert time.monotonic() - begun >= 0.2

    def test_trickle(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(Trickle(5 * len(DATA))))
        begun = time.monotonic()
        assert ask(registry.host, blob)[1] == DATA
        assert time.monotonic() - begun > 0.15

    def test_corrupt(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(Corrupt(at=300_000)))
        body = ask(registry.host, blob)[1]
        assert [i for i, (a, b) in enumerate(zip(body, DATA, strict=True)) if a != b] == [300_000]

    def test_range_ignored(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(IgnoreRange()))
        response, body = ask(registry.host, blob, headers={"Range": "bytes=5-"})
        assert (response.status, body) == (200, DATA)
        assert registry.requests[-1].headers["range"] == "bytes=5-"

    def test_content_range(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(ContentRange("bytes 0-1/2")))
        assert "Content-Range" not in ask(registry.host, blob)[0].headers
        response, body = ask(registry.host, blob, headers={"Range": "bytes=5-"})
        assert response.headers["Content-Range"] == "bytes 0-1/2"
        assert body == DATA[5:]

    def test_content_length(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(ContentLength(len(DATA) + 1), times=1))
        with pytest.raises(http.client.IncompleteRead):
            ask(registry.host, blob)
        registry.inject(Fault(ContentLength(10), times=1))
        assert ask(registry.host, blob)[1] == DATA[:10]
        registry.inject(Fault(ContentLength(None), times=1))
        response, body = ask(registry.host, blob)
        assert response.headers["Content-Length"] is None
        assert body == DATA

    def test_chunked(self, registry: FakeRegistry, blob: str) -> None:
        registry.inject(Fault(Chunked()))
        response, body = ask(registry.host, blob)
        assert response.chunked
        assert body == DATA

    def test_headers(self, registry: FakeRegistry) -> None:
        registry.inject(Fault(DropHeader("content-type")))
        registry.inject(Fault(SetHeader("Docker-Content-Digest", "sha256:00")))
        response, _ = ask(registry.host, "/v2/a/b/manifests/one")
        assert "Content-Type" not in response.headers
        assert response.headers["Docker-Content-Digest"] == "sha256:00"

    def test_replace(self, registry: FakeRegistry) -> None:
        registry.inject(Fault(SetHeader("Content-Type", "text/html")))
        registry.inject(Fault(Replace(b"other")))
        response, body = ask(registry.host, "/v2/a/b/manifests/one")
        assert (response.status, body) == (200, b"other")
        assert response.headers["Docker-Content-Digest"] == IMAGE.digest
        assert response.headers["Content-Type"] == "text/html"

    @pytest.mark.parametrize("action", [Stall(after=10), Delay(3600), Trickle(10)])
    def test_waits_end_when_the_registry_is_closed(self, action: Action) -> None:
        registry = FakeRegistry()
        registry.start()
        path = "/v2/a/blobs/" + registry.add_blob(DATA)
        registry.inject(Fault(action))
        connection = http.client.HTTPConnection(registry.host, timeout=10)
        connection.request("GET", path)
        wait_for(lambda: registry.requests)
        registry.close()  # the test's time-out comes long before the faults' ends
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            connection.getresponse().read()
        connection.close()

    def test_idle_connections_end_when_the_registry_is_closed(self) -> None:
        with FakeRegistry() as registry:
            connection = http.client.HTTPConnection(registry.host, timeout=10)
            connection.request("GET", "/v2/")
            connection.getresponse().read()
        assert connection.sock.recv(1) == b""
        connection.close()


class TestPorts:
    def test_silent(self) -> None:
        with SilentPort() as port:
            with pytest.raises(TimeoutError):
                ask(port.host, "/", timeout=0.2)
            assert port.connections == 1
            assert port.received.startswith(b"GET / HTTP/1.1")
            connection = http.client.HTTPConnection(port.host, timeout=10)
            connection.connect()
            wait_for(lambda: port.connections == 2)
        assert connection.sock.recv(1) == b""
        connection.close()

    def test_refused(self) -> None:
        with pytest.raises(ConnectionRefusedError):
            ask(f"127.0.0.1:{refused_port()}", "/")
