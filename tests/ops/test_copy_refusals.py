"""Copies and pushes that a registry refuses: one clear line, and nothing is named."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry.errors import (
    Denied,
    IntegrityError,
    NetworkError,
    NotFound,
    RateLimited,
    RegistryError,
    Unauthorized,
    WherryError,
)
from wherry.testing import (
    CutRequest,
    DropHeader,
    EarlyReply,
    FakeRegistry,
    Fault,
    FixedReply,
    SetHeader,
    build_image,
    build_index,
    make_certificate,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry.testing import Action

IMAGE = build_image([tar_layer({"small": b"1"}), tar_layer({"large": os.urandom(6_000_000)})])
ARM = build_image([tar_layer({"arm": b"1"})], architecture="arm64")
INDEX = build_index(
    [
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
        (ARM, {"os": "linux", "architecture": "arm64"}),
    ]
)
NGINX = b"<html><head><title>413 Request Entity Too Large</title></head><body></body></html>"
PAGE = {"Content-Type": "text/html"}


def refusal(status: int, code: str, message: str, **headers: str) -> FixedReply:
    body = f'{{"errors":[{{"code":"{code}","message":"{message}"}}]}}'.encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return FixedReply(status, {"Content-Type": "application/json", **named}, body)


@pytest.fixture
def source() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.add_image("app", INDEX, "all")
        yield registry


@pytest.fixture(params=["http", "https"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeRegistry]:
    """A registry that wants tokens."""
    pair = make_certificate(tmp_path)[1:] if request.param == "https" else None
    with FakeRegistry(users={"me": "secret"}, tokens=True, tls=pair) as registry:
        yield registry


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[wherry.Client]:
    assert environment
    with wherry.Client(credentials=("me", "secret"), retries=2, insecure=True) as client:
        yield client


MANIFEST = ("PUT", "/manifests/")
BLOB = ("PUT", "/blobs/uploads/")
START, PATCH = ("POST", ""), ("PATCH", "")
CASES: list[tuple[tuple[str, str], Action, type[WherryError], str, str]] = [
    (
        MANIFEST, refusal(400, "MANIFEST_INVALID", "no mediaType"), RegistryError,
        "app@DIGEST: the registry refuses the manifest (400 MANIFEST_INVALID: no mediaType)", "",
    ),
    (
        MANIFEST, FixedReply(413, PAGE, NGINX), RegistryError,
        "app@DIGEST: the registry refuses the manifest (413 Request Entity Too Large)",
        "client_max_body_size",
    ),
    (
        MANIFEST, refusal(412, "PRECONDITION", "the tag is immutable"), RegistryError,
        "refuses the manifest (412 PRECONDITION: the tag is immutable)", "",
    ),
    (
        MANIFEST, refusal(403, "DENIED", "quota exceeded"), Denied,
        "access denied (403 DENIED: quota exceeded)", "",
    ),
    (
        MANIFEST, FixedReply(200, PAGE, b"<html><title>Log in</title></html>"), NetworkError,
        "sent a web page, not a receipt for the manifest (Log in)", "in a browser",
    ),
    (
        MANIFEST, FixedReply(202), RegistryError,
        "app@DIGEST: the registry has not stored what was sent (202)", "",
    ),
    (
        MANIFEST, SetHeader("Docker-Content-Digest", f"sha256:{'0' * 64}"), IntegrityError,
        "the registry has stored sha256:0000", "proxy",
    ),
    (
        START, refusal(404, "NAME_UNKNOWN", "no such project"), NotFound,
        "not found (404 NAME_UNKNOWN: no such project)", "created first",
    ),
    (
        START, refusal(403, "DENIED", "read-only"), Denied,
        "access denied (403 DENIED: read-only)", "",
    ),
    (START, FixedReply(507), RegistryError, "the registry refuses the upload (507)", ""),
    (
        START, refusal(429, "TOOMANYREQUESTS", "tomorrow", Retry_After="86400"), RateLimited,
        "asks to slow down (429 TOOMANYREQUESTS: tomorrow)", "",
    ),
    (START, DropHeader("Location"), NetworkError, "names no usable address to upload to", ""),
    (
        START, SetHeader("Location", "ftp://h.example/u"), NetworkError,
        "names no usable address to upload to", "",
    ),
    (
        PATCH, EarlyReply(413, PAGE, NGINX), RegistryError,
        "the registry refuses the upload (413 Request Entity Too Large)", "client_max_body_size",
    ),
    (PATCH, EarlyReply(401), Unauthorized, "access denied (401)", "do not allow this"),
    (PATCH, EarlyReply(403), Denied, "access denied (403)", ""),
    (
        BLOB, refusal(400, "DIGEST_INVALID", "mismatch"), IntegrityError,
        "other bytes than were sent: the registry refuses the upload (400 DIGEST_INVALID:", "proxy",
    ),
    (
        BLOB, FixedReply(200, PAGE, b"<html></html>"), NetworkError,
        "sent a web page, not a receipt for the upload", "in a browser",
    ),
    (
        BLOB, FixedReply(204), RegistryError,
        "the registry has not stored what was sent (204)", "",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("request_of", "action", "kind", "message", "hint"), CASES)
def test_a_refusal_is_one_clear_line(
    client: wherry.Client,
    source: FakeRegistry,
    target: FakeRegistry,
    request_of: tuple[str, str],
    action: Action,
    kind: type[WherryError],
    message: str,
    hint: str,
) -> None:
    method, path = request_of
    target.inject(Fault(action, method=method, path=path))
    with pytest.raises(kind) as caught:
        client.copy(f"{source.host}/app:all", f"{target.host}/app:1", platform="linux/amd64")
    text = str(caught.value).replace(IMAGE.digest, "DIGEST")
    assert message in text
    assert hint in caught.value.hint
    assert text.count("http") == 0
    assert target.tags.get("app", {}) == {}


@pytest.mark.parametrize(
    ("request_of", "action"),
    [
        (MANIFEST, refusal(400, "MANIFEST_BLOB_UNKNOWN", "gone")),
        (MANIFEST, refusal(429, "TOOMANYREQUESTS", "slow", Retry_After="0")),
        (START, refusal(503, "UNAVAILABLE", "soon", Retry_After="0")),
        (BLOB, refusal(404, "BLOB_UPLOAD_UNKNOWN", "who?")),
        (PATCH, CutRequest(1_000_000)),
        (PATCH, SetHeader("Range", "0-10")),
        (PATCH, SetHeader("Range", "0-999999999")),
    ],
)
def test_a_passing_fault(
    client: wherry.Client,
    source: FakeRegistry,
    target: FakeRegistry,
    request_of: tuple[str, str],
    action: Action,
) -> None:
    method, path = request_of
    fault = target.inject(Fault(action, method=method, path=path, times=1))
    client.copy(f"{source.host}/app:all", f"{target.host}/app:1", platform="linux/amd64")
    assert fault.count == 1
    assert target.tags["app"] == {"1": IMAGE.digest}


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_success_other_than_201_is_looked_after(
    client: wherry.Client, source: FakeRegistry, status: int
) -> None:
    """Some registries answer so; what they have stored is asked for."""

    class Sloppy(FakeRegistry):
        def answer(self, request: object) -> object:  # type: ignore[override]
            reply = super().answer(request)  # type: ignore[arg-type]
            if reply.status == 201:
                reply.status = status
                reply.drop("Docker-Content-Digest")
            return reply

    with Sloppy() as target:
        client.copy(f"{source.host}/app:all", f"{target.host}/app:1", all_platforms=True)
        assert target.tags["app"] == {"1": INDEX.digest}


@pytest.mark.parametrize("status", [401, 405, 501])
def test_a_registry_that_refuses_head(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry, status: int
) -> None:
    target.inject(Fault(FixedReply(status), method="HEAD"))
    for _ in range(2):
        client.copy(f"{source.host}/app:all", f"{target.host}/app:1", all_platforms=True)
        assert target.tags["app"] == {"1": INDEX.digest}


def test_a_registry_that_names_no_digests_gets_few_requests_again(
    client: wherry.Client, source: FakeRegistry
) -> None:
    with FakeRegistry(like="artifactory") as target:
        names = (f"{source.host}/app:all", f"{target.host}/app:1")
        client.copy(*names, all_platforms=True)
        target.clear()
        assert client.copy(*names, all_platforms=True).sent == 0
        assert [each.method for each in target.requests] == ["HEAD", "HEAD", "PUT"]


@pytest.mark.parametrize("like", ["distribution-2.8", "nexus"])
def test_a_registry_that_takes_no_sparse_index(
    client: wherry.Client, source: FakeRegistry, like: wherry.testing.RegistryName
) -> None:
    with FakeRegistry(like=like) as target:
        with pytest.raises(RegistryError, match="the registry refuses the manifest") as caught:
            client.copy(
                f"{source.host}/app:all",
                f"{target.host}/app:1",
                platform="linux/amd64",
                sparse=True,
            )
        assert "--all-platforms" in caught.value.hint
        assert target.tags.get("app", {}) == {}


def test_a_registry_that_takes_no_foreign_layers(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    """Distribution 2.8 answers 500 to addresses that its settings do not allow."""
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    layer = {"mediaType": kind, "size": 9, "digest": sha256(b"elsewhere")}
    layers = [layer | {"urls": ["http://localhost/layer"]}]
    image = build_image([], style="docker", manifest_extra={"layers": layers})
    source.add_image("app", image, "foreign")
    target.inject(Fault(FixedReply(500), method="PUT", path="/manifests/"))
    with pytest.raises(RegistryError) as caught:
        client.copy(f"{source.host}/app:foreign", f"{target.host}/app:1")
    assert "layers at other addresses" in caught.value.hint


def test_a_registry_that_takes_no_schema1(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    target.inject(Fault(FixedReply(500), method="PUT", path="/manifests/"))
    with pytest.raises(RegistryError) as caught:
        client.copy(
            f"{source.host}/app:all",
            f"{target.host}/app:1",
            platform="linux/amd64",
            convert_to="v2s1",
        )
    assert "REGISTRY_COMPATIBILITY_SCHEMA1_ENABLED=true" in caught.value.hint
    assert target.tags.get("app", {}) == {}
