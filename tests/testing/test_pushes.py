"""The write side of the fake registry, by requests and by a real client."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from wherry.testing import (
    CutRequest,
    EarlyReply,
    FakeRegistry,
    Fault,
    build_image,
    build_index,
    pseudo_random_files,
    sha256,
    tar_layer,
)
from wherry.testing._pushing import Pusher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from wherry import Client

    Peer = Callable[..., object]

DATA = bytes(range(256)) * 1000
DIGEST = sha256(DATA)
MIB = 1024 * 1024
IMAGE = build_image([tar_layer({"etc/motd": b"hello"})])


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def location(self) -> str:
        parts = urlsplit(self.headers["Location"])
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


def ask(
    registry: FakeRegistry,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def chunk(start: int, data: bytes) -> dict[str, str]:
    return {"Content-Range": f"{start}-{start + len(data) - 1}"}


def start(registry: FakeRegistry, query: str = "") -> str:
    begun = ask(registry, "POST", f"/v2/app/blobs/uploads/{query}")
    assert begun.status == 202
    return begun.location


def test_a_blob_is_uploaded_in_one_put(fake: FakeRegistry) -> None:
    done = ask(fake, "PUT", f"{start(fake)}&digest={DIGEST}", DATA)
    assert (done.status, done.headers["Docker-Content-Digest"]) == (201, DIGEST)
    assert ask(fake, "GET", done.location).body == DATA
    assert fake.uploads.open_sessions == 0


def test_a_stream_and_then_a_put(fake: FakeRegistry) -> None:
    sent = ask(fake, "PATCH", start(fake), iter([DATA[:1000], DATA[1000:]]))
    assert (sent.status, sent.headers["Range"]) == (202, f"0-{len(DATA) - 1}")
    assert fake.requests[-1].headers["transfer-encoding"] == "chunked"
    assert ask(fake, "PUT", f"{sent.location}&digest={DIGEST}").status == 201
    assert ask(fake, "HEAD", f"/v2/other/blobs/{DIGEST}").status == 404


def test_chunks_have_to_be_in_order(fake: FakeRegistry) -> None:
    first = ask(fake, "PATCH", start(fake), DATA[:1000], chunk(0, DATA[:1000]))
    for at in (0, 999, 1001):
        refused = ask(fake, "PATCH", first.location, DATA[1000:], chunk(at, DATA[1000:]))
        assert refused.status == 416
    second = ask(fake, "PATCH", first.location, DATA[1000:], chunk(1000, DATA[1000:]))
    assert second.headers["Range"] == f"0-{len(DATA) - 1}"
    assert ask(fake, "PUT", f"{second.location}&digest={DIGEST}").status == 201


def test_a_broken_patch_keeps_its_bytes(fake: FakeRegistry) -> None:
    """Only the status gives the address that goes on: the old one names an old offset."""
    location = start(fake)
    fake.inject(Fault(CutRequest(1234), method="PATCH", times=1))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(fake, "PATCH", location, DATA)
    status = ask(fake, "GET", location)
    assert (status.status, status.headers["Range"]) == (204, "0-1233")
    rest = DATA[1234:]
    assert ask(fake, "PATCH", location, rest, chunk(1234, rest)).status == 416
    sent = ask(fake, "PATCH", status.location, rest, chunk(1234, rest))
    assert ask(fake, "PUT", f"{sent.location}&digest={DIGEST}").status == 201


def test_an_older_distribution_drops_a_broken_session() -> None:
    with FakeRegistry(like="distribution-2.8") as registry:
        location = start(registry)
        registry.inject(Fault(CutRequest(1234), method="PATCH", times=1))
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            ask(registry, "PATCH", location, DATA)
        assert ask(registry, "GET", location).status == 404


def test_sessions_end(fake: FakeRegistry) -> None:
    location = start(fake)
    assert ask(fake, "DELETE", location).status == 204
    assert ask(fake, "PUT", f"{location}&digest={DIGEST}", DATA).status == 404
    wrong = ask(fake, "PUT", f"{start(fake)}&digest={DIGEST}", b"other")
    assert (wrong.status, b"DIGEST_INVALID" in wrong.body) == (400, True)
    assert DIGEST not in fake.blobs
    assert fake.uploads.open_sessions == 0
    assert ask(fake, "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", DATA).status == 201


def test_mounts(fake: FakeRegistry) -> None:
    layer = IMAGE.layers[0].digest
    fake.add_image("base", IMAGE, "1")
    assert ask(fake, "HEAD", f"/v2/app/blobs/{layer}").status == 404
    for query in (f"?mount={layer}", f"?mount={layer}&from=other", f"?mount={DIGEST}&from=base"):
        start(fake, query)
    mounted = ask(fake, "POST", f"/v2/app/blobs/uploads/?mount={layer}&from=base")
    assert (mounted.status, mounted.location) == (201, f"/v2/app/blobs/{layer}")
    assert ask(fake, "HEAD", f"/v2/app/blobs/{layer}").status == 200


def test_a_mount_from_anywhere() -> None:
    with FakeRegistry(mounts_from_any=True) as registry:
        registry.add_image("base", IMAGE, "1")
        layer = IMAGE.layers[0].digest
        assert ask(registry, "POST", f"/v2/app/blobs/uploads/?mount={layer}").status == 201


def test_large_blobs_are_kept_in_files(fake: FakeRegistry) -> None:
    data = DATA * 20
    pusher = Pusher(lambda: http.client.HTTPConnection("127.0.0.1", fake.port), "app")
    digest = pusher.push_blob(data)
    assert not isinstance(fake.blobs[digest], bytes)
    assert len(fake.requests[-1].body) < fake.requests[-1].bytes_received == len(data)
    assert ask(fake, "GET", f"/v2/app/blobs/{digest}").body == data


# Manifests


def put_manifest(registry: FakeRegistry, reference: str, raw: bytes, media_type: str) -> Answer:
    path = f"/v2/app/manifests/{reference}"
    return ask(registry, "PUT", path, raw, {"Content-Type": media_type})


def test_manifests_need_their_blobs(fake: FakeRegistry) -> None:
    raw, media_type = IMAGE.manifest.data, IMAGE.manifest.media_type
    refused = put_manifest(fake, "1", raw, media_type)
    assert (refused.status, b"MANIFEST_BLOB_UNKNOWN" in refused.body) == (400, True)
    pusher = Pusher(lambda: http.client.HTTPConnection("127.0.0.1", fake.port), "app")
    digest = pusher.push_image(IMAGE, "1", "2")
    assert fake.tags["app"] == {"1": digest, "2": digest}
    assert put_manifest(fake, sha256(b""), raw, media_type).status == 400
    assert put_manifest(fake, "-", raw, media_type).status == 400
    assert put_manifest(fake, "3", b"{", media_type).status == 400
    assert put_manifest(fake, "4?digest-algorithm=sha512", raw, media_type).status == 201
    assert fake.tags["app"]["4"].startswith("sha512:")


def test_an_index_needs_its_manifests() -> None:
    index = build_index([(IMAGE, None)]).index
    for sparse in (False, True):
        with FakeRegistry(takes_sparse=sparse) as registry:
            answer = put_manifest(registry, "1", index.data, index.media_type)
            assert answer.status == (201 if sparse else 400)


def test_several_tags_in_one_put() -> None:
    for allowed in (False, True):
        with FakeRegistry(takes_tags=allowed) as registry:
            registry.add_image("app", IMAGE)
            digest = IMAGE.manifest.digest
            path = f"{digest}?tag=a&tag=b"
            done = put_manifest(registry, path, IMAGE.manifest.data, IMAGE.manifest.media_type)
            assert done.status == 201
            assert done.headers["OCI-Tag"] == ("a, b" if allowed else None)
            assert set(registry.tags["app"]) == ({"a", "b"} if allowed else set())


def test_subjects_are_confirmed_where_referrers_are_listed() -> None:
    raw = json.dumps({"schemaVersion": 2, "subject": {"digest": DIGEST}}).encode()
    for listed in (False, True):
        with FakeRegistry(referrers=listed) as registry:
            done = put_manifest(registry, "1", raw, "application/json")
            assert done.headers["OCI-Subject"] == (DIGEST if listed else None)


def test_deleting(fake: FakeRegistry) -> None:
    digest, layer = fake.add_image("app", IMAGE, "1", "2"), IMAGE.layers[0].digest
    assert ask(fake, "DELETE", "/v2/app/manifests/1").status == 202
    assert fake.tags["app"] == {"2": digest}
    assert ask(fake, "DELETE", "/v2/app/manifests/1").status == 404
    assert ask(fake, "DELETE", f"/v2/app/manifests/{digest}").status == 202
    assert (fake.tags["app"], fake.manifests["app"]) == ({}, {})
    assert ask(fake, "DELETE", f"/v2/app/blobs/{layer}").status == 202
    assert ask(fake, "DELETE", f"/v2/app/blobs/{layer}").status == 404


def test_warnings() -> None:
    with FakeRegistry(warning="going away") as registry:
        assert ask(registry, "GET", "/v2/").headers["Warning"] == '299 - "going away"'


# Faults


@pytest.mark.parametrize("after", [0, 100_000])
def test_an_answer_before_the_body(fake: FakeRegistry, after: int) -> None:
    location = start(fake)
    fake.inject(Fault(EarlyReply(413, body=b"too large", after=after), method="PATCH"))
    refused = ask(fake, "PATCH", location, DATA)
    assert (refused.status, refused.body) == (413, b"too large")
    assert fake.requests[-1].bytes_received >= after


# Named behaviours


def test_ghcr() -> None:
    with FakeRegistry(like="ghcr", referrers=True) as registry:
        digest, large = registry.add_image("app", IMAGE, "1"), bytes(4 * MIB + 1)
        location = start(registry)
        assert ask(registry, "PATCH", location, large, chunk(0, large)).status == 416
        assert ask(registry, "PATCH", location, large[1:], chunk(0, large[1:])).status == 202
        assert ask(registry, "PATCH", start(registry), large).status == 202
        assert ask(registry, "GET", f"/v2/app/referrers/{digest}").status == 404
        assert ask(registry, "DELETE", "/v2/app/manifests/1").status == 405


def test_ecr() -> None:
    with FakeRegistry(like="ecr") as registry:
        location = start(registry)
        for at in (0, 100, 200):
            location = ask(registry, "PATCH", location, bytes(100), chunk(at, bytes(100))).location
        status = ask(registry, "GET", location)
        assert status.headers["Range"] == "0-99"
        assert ask(registry, "PATCH", location, DATA, chunk(0, DATA)).status == 416
        assert ask(registry, "DELETE", "/v2/app/manifests/1").status == 404
        plain = json.dumps({"schemaVersion": 2}).encode()
        assert put_manifest(registry, "1", plain, "application/json").status == 400
        assert put_manifest(registry, "1", plain, "application/json").status == 429
        assert put_manifest(registry, "1", plain, "application/json; a=b").status == 400


def test_gar() -> None:
    with FakeRegistry(like="gar") as registry:
        location = start(registry)
        assert ask(registry, "PATCH", location, DATA, chunk(0, DATA)).status == 405
        sent = ask(registry, "PATCH", location, DATA)
        assert ask(registry, "PUT", f"{sent.location}&digest={DIGEST}").status == 201


def test_hub() -> None:
    with FakeRegistry(like="hub", pull_limit=1) as registry:
        digest = registry.add_image("app", IMAGE, "1")
        for status, left in ((200, "0;w=21600"), (429, "0;w=21600")):
            answer = ask(registry, "GET", "/v2/app/manifests/1")
            assert (answer.status, answer.headers["RateLimit-Remaining"]) == (status, left)
        assert ask(registry, "HEAD", "/v2/app/manifests/1").status == 200
        for path in (f"manifests/{digest}", "manifests/1", f"blobs/{IMAGE.layers[0].digest}"):
            assert ask(registry, "DELETE", f"/v2/app/{path}").status == 405


def test_gitlab() -> None:
    with FakeRegistry(like="gitlab", tokens=True) as registry:
        challenge = ask(registry, "GET", "/v2/").headers["WWW-Authenticate"]
        assert f'realm="{registry.url}/token?' in challenge
    with FakeRegistry(like="gitlab") as registry:
        digest = registry.add_image("app", IMAGE, "1")
        answer = ask(registry, "GET", f"/v2/app/manifests/{digest.replace(':', '-')}")
        assert (answer.status, answer.body) == (200, IMAGE.manifest.data)


def test_nexus() -> None:
    index = build_index([(IMAGE, None)]).index
    with FakeRegistry(like="nexus", takes_sparse=True) as registry:
        digest = registry.add_blob(DATA)
        answer = ask(registry, "GET", f"/v2/app/blobs/{digest}", headers={"Range": "bytes=10-"})
        assert (answer.status, answer.body) == (206, DATA)
        assert answer.headers["Content-Range"] == f"bytes 0-{len(DATA) - 1}/{len(DATA)}"
        assert put_manifest(registry, "1", index.data, index.media_type).status == 400


def test_quay(client: Client) -> None:
    with FakeRegistry(like="quay", page_size=2) as registry:
        registry.add_image("app", IMAGE, *"abcde")
        assert "next_page" in ask(registry, "GET", "/v2/app/tags/list").headers["Link"]
        assert list(client.tags(f"{registry.host}/app")) == list("abcde")


def test_acr(client: Client) -> None:
    """The scope that tag lists need is only in the second challenge."""
    with FakeRegistry(like="acr", tokens=True) as registry:
        registry.add_image("app", IMAGE, "1")
        assert list(client.tags(f"{registry.host}/app")) == ["1"]
        assert registry.tokens_issued == 2


# A real client


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("like", [None, "distribution-2.8", "ghcr", "gar", "hub", "quay"])
def test_skopeo_pushes_and_the_library_pulls(client: Client, skopeo: Peer, like: None) -> None:
    large = build_image([tar_layer(pseudo_random_files(3, 3 * MIB, 1))])
    index = build_index(
        [
            (IMAGE, {"os": "linux", "architecture": "amd64"}),
            (large, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    with FakeRegistry() as source, FakeRegistry(like=like) as target:
        digest = source.add_image("app", index, "1")
        skopeo(
            *("copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"),
            *(f"docker://{source.host}/app:1", f"docker://{target.host}/copy/app:2"),
        )
        assert target.tags["copy/app"] == {"2": digest}
        image = client.pull(f"{target.host}/copy/app@{digest}", platform="linux/amd64")
        assert image.id == IMAGE.config.digest
