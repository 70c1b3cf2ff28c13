"""The fake version 1 registry, as a client sees it."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.client
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plain_http import ask
from wherry.model.tarsum import tar_sum
from wherry.testing import (
    BuiltV1Image,
    Corrupt,
    Cut,
    CutRequest,
    FakeRegistry,
    FakeV1Registry,
    Fault,
    FixedReply,
    SetHeader,
    V1Layer,
    build_image,
    build_v1_image,
    tar_layer,
    v1_layer,
)
from wherry.testing._v1_checksums import tarsum

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

TARS = [tar_layer({f"d{number}/": None, f"d{number}/f": b"x" * 700}) for number in range(3)]
IMAGE = build_v1_image(TARS)
TOP = IMAGE.layers[-1]
JSON = {"Content-Type": "application/json"}
TOKEN = {"X-Docker-Token": "true"}
LIST = JSON | TOKEN
OCTETS = {"Content-Type": "application/octet-stream"}
USERS = {"ann": "secret"}
NAMES = st.lists(st.sampled_from(["a", ".", "..", "é" * 9, "n" * 60, "d"]), min_size=1).map(
    "/".join
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)


@pytest.fixture
def registry() -> Iterator[FakeV1Registry]:
    with FakeV1Registry() as running:
        yield running


def basic(password: str = USERS["ann"]) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"ann:{password}".encode()).decode()}


def put(
    host: str, path: str, body: bytes | Iterable[bytes] = b"", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, Any]:
    """Send a PUT, in chunks unless the body is bytes; return the response and its JSON."""
    connection = http.client.HTTPConnection(host, timeout=10)
    with contextlib.closing(connection):
        is_chunked = not isinstance(body, bytes)
        connection.request(
            "PUT", "/v1/" + path, body=body, headers=headers or {}, encode_chunked=is_chunked
        )
        response = connection.getresponse()
        raw = response.read()
        return response, json.loads(raw) if raw else None


def get(
    registry: FakeV1Registry, path: str, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    return ask(registry.host, "/v1/" + path, headers=headers)


def announce(registry: FakeV1Registry, *layers: V1Layer, name: str = "acme/app") -> None:
    body = json.dumps([{"id": each.id} for each in layers]).encode()
    assert put(registry.host, f"repositories/{name}/", body, LIST)[0].status == 200


def checksums(layer: V1Layer) -> dict[str, str]:
    payload = hashlib.sha256(layer.json + b"\n" + layer.layer).hexdigest()
    is_gzip = layer.layer.startswith(b"\x1f\x8b")
    tar = gzip.decompress(layer.layer) if is_gzip else layer.layer
    return {
        "X-Docker-Checksum": tar_sum(io.BytesIO(tar), layer.json),
        "X-Docker-Checksum-Payload": f"sha256:{payload}",
    }


def pieces(layer: bytes) -> Iterator[bytes]:
    for at in range(0, len(layer), 100):
        yield layer[at : at + 100]


def push_layer(host: str, layer: V1Layer, headers: dict[str, str]) -> None:
    path = f"images/{layer.id}"
    assert put(host, f"{path}/json", layer.json, JSON | headers)[0].status == 200
    assert put(host, f"{path}/layer", pieces(layer.layer), OCTETS | headers)[0].status == 200
    assert put(host, f"{path}/checksum", b"", checksums(layer) | headers)[0].status == 200


def error(result: tuple[http.client.HTTPResponse, Any]) -> tuple[int, str]:
    response, value = result
    return response.status, value["error"]


class TestPull:
    def test_ping(self, registry: FakeV1Registry) -> None:
        for path in ("/_ping", "/v1/_ping"):
            response, body = ask(registry.host, path)
            assert (response.status, body) == (200, b"true")
            assert response.headers["X-Docker-Registry-Standalone"] == "True"
            assert response.headers["X-Docker-Registry-Version"] == "0.9.1"
        assert ask(registry.host, "/v2/")[0].status == 404

    def test_an_image(self, registry: FakeV1Registry) -> None:
        registry.add_image("acme/app", IMAGE, "1", "latest")
        response, body = get(registry, "repositories/acme/app/images", TOKEN)
        assert [each["id"] for each in json.loads(body)] == [each.id for each in IMAGE.layers]
        assert response.headers["X-Docker-Endpoints"] == registry.host
        assert 'repository="acme/app",access=read' in response.headers["X-Docker-Token"]
        assert json.loads(get(registry, "repositories/acme/app/tags")[1]) == dict.fromkeys(
            ["1", "latest"], IMAGE.id
        )
        assert json.loads(get(registry, "repositories/acme/app/tags/1")[1]) == IMAGE.id
        assert json.loads(get(registry, f"images/{IMAGE.id}/ancestry")[1]) == IMAGE.ancestry
        for each in IMAGE.layers:
            response, body = get(registry, f"images/{each.id}/json")
            assert body == each.json
            assert response.headers["X-Docker-Size"] == str(len(each.layer))
            response, body = get(registry, f"images/{each.id}/layer")
            assert body == each.layer
            assert response.headers["Accept-Ranges"] == "bytes"

    def test_a_token_only_if_asked(self, registry: FakeV1Registry) -> None:
        registry.add_image("acme/app", IMAGE)
        response, _ = get(registry, "repositories/acme/app/images")
        assert "X-Docker-Token" not in response.headers
        assert registry.tokens_issued == 0

    def test_a_single_name_is_in_library(self, registry: FakeV1Registry) -> None:
        registry.add_image("app", IMAGE, "1")
        for name in ("app", "library/app"):
            assert get(registry, f"repositories/{name}/images")[0].status == 200
            assert get(registry, f"repositories/{name}/tags/1")[0].status == 200

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("repositories/x/images", "images not found"),
            ("repositories/x/tags", "Repository not found"),
            ("repositories/acme/app/tags/2", "Tag not found"),
            (f"images/{'0' * 64}/json", "Image not found"),
            (f"images/{'0' * 64}/ancestry", "Image not found"),
        ],
    )
    def test_what_is_missing(self, registry: FakeV1Registry, path: str, message: str) -> None:
        registry.add_image("acme/app", IMAGE, "1")
        response, body = get(registry, path)
        assert (response.status, json.loads(body)) == (404, {"error": message})

    @pytest.mark.parametrize("ranges", [True, False])
    def test_ranges(self, *, ranges: bool) -> None:
        with FakeV1Registry(ranges=ranges) as registry:
            registry.add_image("a", IMAGE)
            response, body = get(registry, f"images/{IMAGE.id}/layer", {"Range": "bytes=10-"})
            assert response.status == (206 if ranges else 200)
            assert ("Accept-Ranges" in response.headers) == ranges
            assert body == TOP.layer[10 if ranges else 0 :]

    def test_faults(self, registry: FakeV1Registry) -> None:
        registry.add_image("a", IMAGE)
        registry.inject(Fault(Cut(after=20), path="/layer", times=1))
        with pytest.raises(http.client.IncompleteRead):
            get(registry, f"images/{IMAGE.id}/layer")
        registry.inject(Fault(Corrupt(at=5), path="/layer", times=1))
        registry.inject(Fault(SetHeader("X-Docker-Size", "1"), path="/json"))
        assert get(registry, f"images/{IMAGE.id}/layer")[1] != TOP.layer
        assert get(registry, f"images/{IMAGE.id}/json")[0].headers["X-Docker-Size"] == "1"
        registry.inject(Fault(FixedReply(503), path="/ancestry", times=1))
        statuses = [get(registry, f"images/{IMAGE.id}/ancestry")[0].status for _ in range(2)]
        assert statuses == [503, 200]

    def test_a_false_ancestry(self, registry: FakeV1Registry) -> None:
        registry.add_image("a", IMAGE)
        registry.images[IMAGE.id].ancestry = [IMAGE.id, IMAGE.id]
        assert json.loads(get(registry, f"images/{IMAGE.id}/ancestry")[1]) == [IMAGE.id] * 2

    def test_layers_elsewhere(self, registry: FakeV1Registry) -> None:
        with FakeV1Registry(redirect_layers_to=registry.url, users=USERS) as front:
            front.add_image("a", IMAGE)
            registry.images = front.images
            response, _ = get(front, f"images/{IMAGE.id}/layer", basic())
            assert response.status == 302
            path = response.headers["Location"].removeprefix(registry.url)
            assert ask(registry.host, path)[1] == TOP.layer

    def test_a_layer_in_a_file(self, registry: FakeV1Registry, tmp_path: Path) -> None:
        registry.add_image("a", IMAGE)
        file = tmp_path / "layer"
        file.write_bytes(b"another layer")
        registry.images[IMAGE.id].layer = file
        assert get(registry, f"images/{IMAGE.id}/layer")[1] == b"another layer"
        assert get(registry, f"images/{IMAGE.id}/json")[0].headers["X-Docker-Size"] == "13"

    def test_version_2_at_the_same_address(self) -> None:
        v2 = FakeRegistry(users=USERS)
        image = build_image(TARS)
        v2.add_image("acme/app", image, "1")
        with v2, FakeV1Registry(v2=v2) as registry:
            registry.add_image("acme/old", IMAGE, "1")
            assert ask(registry.host, "/v2/")[0].status == 401
            path = "/v2/acme/app/manifests/1"
            assert ask(registry.host, path, headers=basic())[1] == image.manifest.data
            assert get(registry, "repositories/acme/old/tags/1")[0].status == 200
            assert [each.status for each in registry.requests] == [401, 200, 200]
            assert not v2.requests


class TestPush:
    def test_a_push(self, registry: FakeV1Registry) -> None:
        announce(registry, *IMAGE.layers)
        for each in IMAGE.layers:
            push_layer(registry.host, each, {})
        body = json.dumps(IMAGE.id).encode()
        assert put(registry.host, "repositories/acme/app/tags/1", body, JSON)[0].status == 200
        last = LIST | {"X-Docker-Endpoints": registry.host}
        final = [{"id": each.id, **_checksum(each)} for each in IMAGE.layers]
        body = json.dumps(final).encode()
        assert put(registry.host, "repositories/acme/app/images", body, last)[0].status == 204
        assert registry.tags == {"acme/app": {"1": IMAGE.id}}
        assert json.loads(get(registry, f"images/{IMAGE.id}/ancestry")[1]) == IMAGE.ancestry
        assert get(registry, f"images/{IMAGE.id}/layer")[1] == TOP.layer
        assert json.loads(get(registry, "repositories/acme/app/images")[1]) == final
        assert registry.requests[2].headers["transfer-encoding"] == "chunked"

    def test_the_image_exists(self, registry: FakeV1Registry) -> None:
        registry.add_image("acme/app", IMAGE)
        path, exists = f"images/{IMAGE.id}", (409, "Image already exists")
        assert error(put(registry.host, f"{path}/json", TOP.json, JSON)) == exists
        assert error(put(registry.host, f"{path}/layer", pieces(TOP.layer), OCTETS)) == exists
        assert put(registry.host, f"{path}/checksum", b"", checksums(TOP))[0].status == 409

    @pytest.mark.parametrize(
        ("raw", "headers", "message"),
        [
            (TOP.json, {}, "Invalid JSON"),
            (b"{", JSON, "Invalid JSON"),
            (b"[]", JSON, "Invalid JSON"),
            (b'{"a":1}', JSON, "Missing key `id' in JSON"),
            (IMAGE.layers[0].json, JSON, "JSON data contains invalid id"),
            (TOP.json, JSON, "Image depends on a non existing parent"),
        ],
    )
    def test_a_wrong_json(
        self, registry: FakeV1Registry, raw: bytes, headers: dict[str, str], message: str
    ) -> None:
        announce(registry, TOP)
        result = put(registry.host, f"images/{TOP.id}/json", raw, headers)
        assert error(result) == (400, message)
        assert not registry.images

    def test_an_image_that_was_not_announced(self, registry: FakeV1Registry) -> None:
        layer = IMAGE.layers[0]
        result = put(registry.host, f"images/{layer.id}/json", layer.json, JSON)
        assert error(result) == (400, "This image does not belong to the repository")

    def test_a_json_of_many_kilobytes(self, registry: FakeV1Registry) -> None:
        layer = v1_layer(TARS[0], changes={"comment": "c" * 200_000})
        announce(registry, layer)
        push_layer(registry.host, layer, {})
        assert get(registry, f"images/{layer.id}/json")[1] == layer.json

    def test_the_order_of_one_image(self, registry: FakeV1Registry) -> None:
        layer = IMAGE.layers[0]
        path = f"images/{layer.id}"
        announce(registry, layer)
        missing = (404, "Image not found")
        assert error(put(registry.host, f"{path}/layer", pieces(b""), OCTETS)) == missing
        assert error(put(registry.host, f"{path}/checksum", b"", checksums(layer))) == missing
        assert put(registry.host, f"{path}/json", layer.json, JSON)[0].status == 200
        result = put(registry.host, f"{path}/checksum", b"", checksums(layer))
        assert error(result) == (400, "Checksum of a layer that is missing")
        assert put(registry.host, f"{path}/layer", pieces(layer.layer), OCTETS)[0].status == 200
        being_uploaded = (400, "Image is being uploaded, retry later")
        for kind in ("json", "layer", "ancestry"):
            response, body = get(registry, f"{path}/{kind}")
            assert error((response, json.loads(body))) == being_uploaded
        tag = json.dumps(layer.id).encode()
        result = put(registry.host, "repositories/acme/app/tags/1", tag, JSON)
        assert error(result) == being_uploaded
        last = LIST | {"X-Docker-Endpoints": registry.host}
        final = json.dumps([{"id": layer.id}]).encode()
        result = put(registry.host, "repositories/acme/app/images", final, last)
        assert error(result) == (400, f"Image {layer.id} is not complete")
        assert put(registry.host, f"{path}/checksum", b"", checksums(layer))[0].status == 200
        assert put(registry.host, "repositories/acme/app/images", final, last)[0].status == 204

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"X-Docker-Checksum": ""}, "Missing Image's checksum"),
            ({"X-Docker-Checksum-Payload": ""}, "Missing Image's checksum"),
            ({"X-Docker-Checksum": "tarsum+sha256:" + "0" * 64}, "Checksum mismatch"),
            ({"X-Docker-Checksum-Payload": "sha256:" + "0" * 64}, "Checksum mismatch"),
        ],
    )
    def test_wrong_checksums(
        self, registry: FakeV1Registry, changes: dict[str, str], message: str
    ) -> None:
        layer = IMAGE.layers[0]
        path = f"images/{layer.id}"
        announce(registry, layer)
        put(registry.host, f"{path}/json", layer.json, JSON)
        put(registry.host, f"{path}/layer", pieces(layer.layer), OCTETS)
        result = put(registry.host, f"{path}/checksum", b"", checksums(layer) | changes)
        assert error(result) == (400, message)
        assert not registry.images[layer.id].is_complete

    @pytest.mark.parametrize(
        ("body", "headers", "status", "message"),
        [
            (TARS[0], OCTETS, 411, "The layer is not sent in chunks"),
            ([TARS[0]], {}, 400, "Content-Type is not application/octet-stream"),
            ([b"no tar" * 100], OCTETS, 400, "Layer format not supported"),
            ([IMAGE.layers[0].layer[:50]], OCTETS, 400, "Layer format not supported"),
        ],
    )
    def test_a_wrong_layer(
        self,
        registry: FakeV1Registry,
        *,
        body: bytes | list[bytes],
        headers: dict[str, str],
        status: int,
        message: str,
    ) -> None:
        layer = IMAGE.layers[0]
        announce(registry, layer)
        put(registry.host, f"images/{layer.id}/json", layer.json, JSON)
        result = put(registry.host, f"images/{layer.id}/layer", body, headers)
        assert error(result) == (status, message)
        assert registry.images[layer.id].layer is None

    def test_a_broken_upload_starts_again(self, registry: FakeV1Registry) -> None:
        layer = IMAGE.layers[0]
        announce(registry, layer)
        registry.inject(Fault(CutRequest(after=50), path="/layer", times=1))
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            push_layer(registry.host, layer, {})
        assert registry.images[layer.id].layer is None
        push_layer(registry.host, layer, {})
        assert registry.images[layer.id].is_complete

    @pytest.mark.parametrize(
        ("path", "body", "headers", "message"),
        [
            ("repositories/a/b/", b"[]", JSON, "X-Docker-Token is not true"),
            ("repositories/a/b/", b"[]", TOKEN, "Invalid data"),
            ("repositories/a/b/", b"{}", LIST, "Invalid data"),
            ("repositories/a/b/", b'[{"id":"x"}]', LIST, "Invalid data"),
            ("repositories/a/b/images", b"[]", LIST, "X-Docker-Endpoints is missing"),
            (
                "repositories/a/b/images",
                json.dumps([{"id": TOP.id, "checksum": "sha256:00"}]).encode(),
                LIST | {"X-Docker-Endpoints": "x"},
                f"Checksum mismatch of image {TOP.id}",
            ),
            ("repositories/a/b/tags/1", b"{}", JSON, "Invalid data"),
            ("repositories/a/b/tags/1", json.dumps(TOP.id).encode(), {}, "Invalid data"),
        ],
    )
    def test_wrong_lists_and_tags(
        self,
        registry: FakeV1Registry,
        *,
        path: str,
        body: bytes,
        headers: dict[str, str],
        message: str,
    ) -> None:
        registry.add_image("a/b", IMAGE)
        assert error(put(registry.host, path, body, headers)) == (400, message)

    def test_a_tag_of_a_foreign_image(self, registry: FakeV1Registry) -> None:
        registry.add_image("a/b", IMAGE)
        body = json.dumps(IMAGE.id).encode()
        result = put(registry.host, "repositories/other/tags/1", body, JSON)
        assert error(result) == (404, "Image not found")

    def test_the_last_list_of_an_unknown_repository(self, registry: FakeV1Registry) -> None:
        last = LIST | {"X-Docker-Endpoints": "x"}
        result = put(registry.host, "repositories/a/b/images", b"[]", last)
        assert error(result) == (404, "images not found")

    def test_other_methods(self, registry: FakeV1Registry) -> None:
        for path in ("repositories/a/b/tags/1", f"images/{TOP.id}/json", "repositories/a/b/"):
            assert ask(registry.host, f"/v1/{path}", "DELETE")[0].status == 405
        assert put(registry.host, f"images/{TOP.id}/ancestry")[0].status == 405


def _checksum(layer: V1Layer) -> dict[str, str]:
    return {"checksum": checksums(layer)["X-Docker-Checksum"]}


class TestAccess:
    def test_standalone_with_users(self) -> None:
        with FakeV1Registry(users=USERS) as registry:
            registry.add_image("a/b", IMAGE, "1")
            assert get(registry, "_ping")[0].status == 200
            for path in (
                "repositories/a/b/images",
                "repositories/a/b/tags",
                f"images/{TOP.id}/json",
            ):
                for headers in ({}, basic("wrong"), {"Authorization": "Token x"}):
                    response, _ = get(registry, path, headers)
                    assert response.status == 401
                    assert response.headers["WWW-Authenticate"].startswith("Basic ")
                assert get(registry, path, basic())[0].status == 200
            assert get(registry, "users/", basic())[0].status == 200
            assert get(registry, "users/")[0].status == 401

    def test_an_index(self) -> None:
        with FakeV1Registry(users=USERS, tokens=True, public=["a/b"]) as registry:
            registry.add_image("a/b", IMAGE, "1")
            other = build_v1_image(TARS[:1], each={"comment": "another"})
            registry.add_image("c/d", build_v1_image([TARS[2]]), "1")
            registry.add_image("c/d", other, "2")
            ping, _ = get(registry, "_ping")
            assert ping.headers["X-Docker-Registry-Standalone"] == "False"
            assert get(registry, "repositories/a/b/images", TOKEN | basic("x"))[0].status == 401
            assert get(registry, "repositories/c/d/images", TOKEN)[0].status == 401
            token = self.token(get(registry, "repositories/a/b/images", TOKEN))
            for path in ("repositories/a/b/tags/1", f"images/{TOP.id}/json"):
                assert get(registry, path, token)[0].status == 200
                refused, _ = get(registry, path, basic())
                assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Token")
            assert get(registry, "repositories/c/d/tags", token)[0].status == 401
            foreign = registry.tags["c/d"]["1"]
            assert get(registry, f"images/{foreign}/json", token)[0].status == 404
            assert (
                put(registry.host, "repositories/a/b/tags/2", b'""', token | JSON)[0].status == 401
            )
            registry.revoke_tokens()
            assert get(registry, f"images/{TOP.id}/json", token)[0].status == 401

    def test_a_push_with_sessions_at_two_endpoints(self) -> None:
        with (
            FakeV1Registry(users=USERS, tokens=True, sessions=True) as index,
            FakeV1Registry(index=index, sessions=True) as registry,
        ):
            index.endpoints = [registry.host]
            layer = IMAGE.layers[0]
            announced = json.dumps([{"id": layer.id}]).encode()
            path = "repositories/a/b/"
            assert put(index.host, path, announced, LIST)[0].status == 401
            response, _ = put(index.host, path, announced, LIST | basic())
            assert response.headers["X-Docker-Endpoints"] == registry.host
            token = self.token((response, b""))
            assert get(registry, "repositories/a/b/images", token)[0].status == 404
            first, _ = get(registry, f"images/{layer.id}/json", token)
            assert first.status == 404
            cookie = {"Cookie": first.headers["Set-Cookie"].partition(";")[0]}
            assert get(registry, f"images/{layer.id}/json", token)[0].status == 401
            push_layer(registry.host, layer, cookie)
            body = json.dumps(layer.id).encode()
            assert put(registry.host, path + "tags/1", body, JSON | cookie)[0].status == 200
            last = LIST | {"X-Docker-Endpoints": registry.host}
            assert put(index.host, path + "images", announced, last)[0].status == 401
            assert put(index.host, path + "images", announced, last | basic())[0].status == 204
            assert index.tags == {"a/b": {"1": layer.id}}

    def test_the_token_ends_a_push(self) -> None:
        with FakeV1Registry(users=USERS, tokens=True) as registry:
            response, _ = put(registry.host, "repositories/a/b/", b"[]", LIST | basic())
            headers = LIST | {"X-Docker-Endpoints": "x"} | self.token((response, b""))
            assert put(registry.host, "repositories/a/b/images", b"[]", headers)[0].status == 204
            assert put(registry.host, "repositories/c/d/images", b"[]", headers)[0].status == 401

    def test_a_standalone_session(self) -> None:
        layer = IMAGE.layers[0]
        path = f"images/{layer.id}"
        with FakeV1Registry(sessions=True) as registry:
            announce(registry, layer)
            put(registry.host, f"{path}/json", layer.json, JSON)
            response, _ = put(registry.host, f"{path}/layer", pieces(layer.layer), OCTETS)
            result = put(registry.host, f"{path}/checksum", b"", checksums(layer))
            assert error(result) == (400, "Checksum not found in Cookie")
            sent = checksums(layer) | {"Cookie": "session=unknown; \x01"}
            assert put(registry.host, f"{path}/checksum", b"", sent)[0].status == 400
            cookie = {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
            sent = checksums(layer) | cookie
            assert put(registry.host, f"{path}/checksum", b"", sent)[0].status == 200

    @staticmethod
    def token(result: tuple[http.client.HTTPResponse, bytes]) -> dict[str, str]:
        return {"Authorization": "Token " + result[0].headers["X-Docker-Token"]}


class TestChecksums:
    """The registry and `wherry.model.tarsum` compute tarsums in different ways."""

    @pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    def test_both_agree(self, registry: FakeV1Registry, format_: int) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
            for number, (name, kind) in enumerate(
                [
                    ("./", tarfile.DIRTYPE),
                    ("d/" * 70, tarfile.DIRTYPE),
                    ("d/" * 70 + "ü", tarfile.REGTYPE),
                    ("old", tarfile.AREGTYPE),
                    ("link", tarfile.SYMTYPE),
                    ("hard", tarfile.LNKTYPE),
                    ("null", tarfile.CHRTYPE),
                    ("same", tarfile.REGTYPE),
                    ("./same", tarfile.REGTYPE),
                ]
            ):
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.uid = kind, "same/" * number, 2**21 * number
                info.mtime, info.devmajor, info.uname = 1704164645.999999, number, "é"
                info.size = 600 if info.isreg() else 0
                archive.addfile(info, io.BytesIO(b"%d" % number * 600))
        layer = v1_layer(buffer.getvalue())
        announce(registry, layer)
        push_layer(registry.host, layer, {})

    @given(st.lists(st.tuples(NAMES, KINDS, NAMES, st.integers(0, 2**33), st.binary()), max_size=8))
    def test_both_agree_on_any_tar(self, members: list[tuple[str, bytes, str, int, bytes]]) -> None:
        for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
                for name, kind, other, number, content in members:
                    info = tarfile.TarInfo(name)
                    info.type, info.linkname, info.uname = kind, other, other
                    info.mtime = info.uid = number
                    info.size = len(content) if info.isreg() else 0
                    archive.addfile(info, io.BytesIO(content))
            raw = buffer.getvalue()
            assert tarsum(b"{}", raw) == tar_sum(io.BytesIO(raw), b"{}")


class TestBuilders:
    def test_the_same_blobs_as_build_image(self) -> None:
        image = build_image(TARS)
        assert [each.data for each in image.layers] == [each.layer for each in IMAGE.layers]
        assert IMAGE.diff_ids == image.diff_ids

    def test_a_chain(self) -> None:
        parents = [json.loads(each.json).get("parent") for each in IMAGE.layers]
        assert parents == [None, IMAGE.layers[0].id, IMAGE.layers[1].id]
        assert build_v1_image(TARS) == IMAGE
        assert len({each.id for each in build_v1_image(TARS[:1] * 3).layers}) == 3

    def test_an_image_on_another(self) -> None:
        below = build_v1_image(TARS[:2])
        image = build_v1_image(TARS[2:], below=below, top={"author": "ann"}, each={"os": None})
        assert isinstance(image, BuiltV1Image)
        assert image.layers[:2] == below.layers
        assert image.ancestry == IMAGE.ancestry
        fields = json.loads(image.layers[-1].json)
        assert fields["author"] == "ann"
        assert "os" not in fields
