"""Manifests that are pushed and pulled, on the application without sockets."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

import wherry
from asgi_client import AsgiClient
from pushes import HOST, push, put_blob, put_blobs, put_manifest
from wherry.config import host_platform
from wherry.model.digest import Digest
from wherry.model.mediatype import DOCKER_MANIFEST
from wherry.model.reference import Reference
from wherry.serve.answers import ApiError
from wherry.serve.app import create_app
from wherry.serve.byte_budget import ByteBudget
from wherry.serve.context import Context
from wherry.testing import (
    BuiltImage,
    BuiltIndex,
    build_image,
    build_index,
    build_schema1,
    make_key,
    tar_layer,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Mapping

    from wherry.store import LocalStore
    from wherry.testing import FakeRegistry

IMAGE = build_image([tar_layer({"a": b"1"}), tar_layer({"b": b"2"})])
OTHER = build_image([tar_layer({"a": b"2"})])
INDEX = build_index(
    [
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
        (OTHER, {"os": "linux", "architecture": "arm64"}),
    ]
)
AT = "/v2/acme/app/manifests"


def names(local: LocalStore) -> list[str]:
    def look(connection: sqlite3.Connection) -> list[str]:
        return [name for (name,) in connection.execute("SELECT name FROM refs ORDER BY name")]

    return local.ask(look, [])


@pytest.mark.parametrize("image", [IMAGE, INDEX], ids=["image", "index"])
def test_a_pushed_manifest_is_served_by_tag_and_digest(
    api: AsgiClient, local: LocalStore, image: BuiltImage | BuiltIndex
) -> None:
    pushed = push(api, local, "acme/app", image, "1.0")
    root = image.manifest if isinstance(image, BuiltImage) else image.index
    assert pushed.headers["location"] == f"{AT}/{image.digest}"
    assert pushed.headers["docker-content-digest"] == image.digest
    for reference in ("1.0", image.digest):
        for method in ("GET", "HEAD"):
            answer = api(method, f"{AT}/{reference}")
            assert answer.status == 200
            assert answer.headers["content-type"] == root.media_type
            assert answer.headers["content-length"] == str(len(root.data))
            assert answer.headers["docker-content-digest"] == image.digest
            assert answer.headers["etag"] == f'"{image.digest}"'
            assert answer.body == (root.data if method == "GET" else b"")
    assert local.find(Reference.parse(f"{HOST}/acme/app:1.0"))


def test_what_is_missing_is_unknown(api: AsgiClient, local: LocalStore) -> None:
    assert api("GET", f"{AT}/1.0").codes == ["MANIFEST_UNKNOWN"]
    push(api, local, "acme/app", IMAGE, "1.0")
    assert api("GET", f"{AT}/2.0").codes == ["MANIFEST_UNKNOWN"]
    assert api("GET", f"{AT}/{OTHER.digest}").codes == ["MANIFEST_UNKNOWN"]
    # It is stored, but not in this repository.
    assert api("GET", f"/v2/acme/other/manifests/{IMAGE.digest}").status == 404
    # A layer is no manifest.
    assert api("GET", f"{AT}/{IMAGE.layers[0].digest}").status == 404
    assert api("GET", f"{AT}/sha256:bad").codes == ["DIGEST_INVALID"]
    assert api("GET", f"{AT}/-bad").codes == ["MANIFEST_UNKNOWN"]


def test_an_index_needs_no_names_of_its_images(api: AsgiClient, local: LocalStore) -> None:
    push(api, local, "acme/app", INDEX, "1.0")
    name = f"{HOST}/acme/app"
    assert names(local) == [f"{name}:1.0", f"{name}@{INDEX.digest}"]
    assert api("HEAD", f"{AT}/{OTHER.digest}").status == 200


def test_blobs_that_the_repository_lacks_are_named(api: AsgiClient, local: LocalStore) -> None:
    put_blobs(local, "acme/other", IMAGE)
    answer = put_manifest(api, "acme/app", IMAGE, "1.0")
    assert answer.status == 404
    assert answer.codes == ["MANIFEST_BLOB_UNKNOWN"]
    assert IMAGE.layers[1].digest in answer.body.decode()
    assert names(local) == []


@pytest.mark.parametrize(
    ("body", "media_type", "code"),
    [
        (b"", "", "MANIFEST_INVALID"),
        (b"{}", "application/vnd.oci.image.manifest.v1+json", "MANIFEST_INVALID"),
        (INDEX.index.data, IMAGE.manifest.media_type, "MANIFEST_INVALID"),
        (IMAGE.manifest.data, DOCKER_MANIFEST, "MANIFEST_INVALID"),
        (IMAGE.manifest.data, "text/html", "MANIFEST_INVALID"),
        (
            b'{"schemaVersion":1,"fsLayers":[{"blobSum":"sha256:%b"}],"history":[{}]}'
            % (b"a" * 64),
            "application/vnd.docker.distribution.manifest.v1+json",
            "MANIFEST_INVALID",
        ),
    ],
    ids=["empty", "object", "other kind", "other type", "no manifest type", "schema1"],
)
def test_documents_are_checked(
    api: AsgiClient, local: LocalStore, body: bytes, media_type: str, code: str
) -> None:
    put_blobs(local, "acme/app", IMAGE)
    answer = api("PUT", f"{AT}/1.0", body, {"Content-Type": media_type})
    assert (answer.status, answer.codes) == (400, [code])
    assert names(local) == []


def test_content_of_another_digest_is_refused(api: AsgiClient, local: LocalStore) -> None:
    put_blobs(local, "acme/app", IMAGE)
    answer = put_manifest(api, "acme/app", IMAGE, OTHER.digest)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("whole", [True, False], ids=["length", "chunks"])
def test_a_manifest_over_4_mib_is_refused(api: AsgiClient, *, whole: bool) -> None:
    body = b" " * (4 * 2**20 + 1)
    answer = api("PUT", f"{AT}/1.0", body if whole else [body[:99], body[99:]])
    assert (answer.status, answer.codes) == (413, ["MANIFEST_INVALID"])


def test_manifests_of_all_clients_share_the_memory(local: LocalStore) -> None:
    put_blobs(local, "acme/app", IMAGE)
    budget = ByteBudget(len(IMAGE.manifest.data))
    api = AsgiClient(create_app(Context(local, HOST, host_platform(), manifests=budget)))
    for _ in range(2):
        with budget.share() as other:
            budget.take(1)
            other.taken += 1
            refused = put_manifest(api, "acme/app", IMAGE)
            assert (refused.status, refused.codes) == (429, ["TOOMANYREQUESTS"])
            assert refused.headers["retry-after"] == "1"
        assert put_manifest(api, "acme/app", IMAGE).status == 201


async def trickle() -> AsyncIterator[bytes]:
    while True:
        yield b" "
        await asyncio.sleep(0.001)


def test_a_manifest_that_trickles_gives_its_memory_back() -> None:
    budget = ByteBudget(len(IMAGE.manifest.data), seconds=0.02)
    with pytest.raises(ApiError, match="too slowly") as caught, budget.share() as share:
        asyncio.run(share.read(trickle(), len(IMAGE.manifest.data)))
    assert caught.value.status == 408
    budget.take(len(IMAGE.manifest.data))


def test_a_manifest_of_almost_4_mib_is_taken(api: AsgiClient, local: LocalStore) -> None:
    notes = {f"note-{number}": "A" * 10_000 for number in range(390)}
    image = build_image([tar_layer({})], manifest_extra={"annotations": notes})
    push(api, local, "acme/app", image, "large")
    assert api("GET", f"{AT}/large").body == image.manifest.data


def test_tags_in_the_query(api: AsgiClient, local: LocalStore) -> None:
    put_blobs(local, "acme/app", IMAGE)
    answer = put_manifest(api, "acme/app", IMAGE, f"{IMAGE.digest}?tag=a&tag=b")
    assert (answer.status, answer.headers["oci-tag"]) == (201, "a, b")
    assert api("HEAD", f"{AT}/a").headers["docker-content-digest"] == IMAGE.digest
    assert api("HEAD", f"{AT}/b").status == 200
    assert put_manifest(api, "acme/app", IMAGE, f"{IMAGE.digest}?tag=.").codes == ["TAG_INVALID"]
    for count, status in ((80, 201), (81, 414)):
        many = "&".join(f"tag=t{number}" for number in range(count))
        assert put_manifest(api, "acme/app", IMAGE, f"{IMAGE.digest}?{many}").status == status


def test_sha512(api: AsgiClient, local: LocalStore) -> None:
    put_blobs(local, "acme/app", IMAGE)
    digest = Digest.of(IMAGE.manifest.data, "sha512")
    answer = put_manifest(api, "acme/app", IMAGE, f"{digest}?tag=1.0")
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest)
    assert api("HEAD", f"{AT}/1.0").headers["docker-content-digest"] == digest
    assert api("GET", f"{AT}/{digest}").body == IMAGE.manifest.data


def test_pulled_images_are_served_under_all_their_paths(api: AsgiClient, local: LocalStore) -> None:
    push(api, local, "acme/app", IMAGE, "1.0")
    root = Digest.parse(IMAGE.digest)
    local.pin(Reference.parse("alpine:3.20"), root, root)
    local.pin(Reference.parse("quay.io:443/a/b:1"), root, root)
    for path in ("library/alpine", "alpine", "docker.io/library/alpine", "docker.io/alpine"):
        assert api("HEAD", f"/v2/{path}/manifests/3.20").status == 200
        assert api("HEAD", f"/v2/{path}/manifests/{IMAGE.digest}").status == 200
    assert api("HEAD", "/v2/quay.io_443/a/b/manifests/1").status == 200
    assert api("HEAD", "/v2/a/b/manifests/1").status == 404
    assert api("HEAD", "/v2/a/b/manifests/1?ns=quay.io:443").status == 200
    assert api("HEAD", "/v2/alpine/manifests/3.20?ns=docker.io").status == 200
    assert api("HEAD", "/v2/acme/app/manifests/1.0?ns=docker.io").status == 404
    assert api("HEAD", "/v2/alpine/manifests/3.20?ns=%2F").status == 400


def test_a_pulled_schema1_manifest_is_served_as_it_was_signed(
    api: AsgiClient, local: LocalStore, fake: FakeRegistry
) -> None:
    old = build_schema1([tar_layer({"a": b"1"})], keys=[("ES256", make_key("ES256"))])
    for layer in old.layers:
        fake.add_blob(layer)
    raw, media_type = old.manifest.data, old.manifest.media_type
    fake.add_manifest("team/app", raw, media_type, "1.0", digest=old.digest)
    with wherry.Client(store=local.path) as client:
        client.pull(f"{fake.host}/team/app:1.0")
    path = f"/v2/{fake.host.replace(':', '_')}/team/app/manifests"
    for reference in ("1.0", old.digest):
        answer = api("GET", f"{path}/{reference}")
        assert answer.body == raw
        assert answer.headers["docker-content-digest"] == old.digest
        assert answer.headers["content-type"] == media_type
        length = api("HEAD", f"{path}/{reference}").headers["content-length"]
        assert length == str(len(raw))


def test_only_own_repositories_are_written(api: AsgiClient, local: LocalStore) -> None:
    push(api, local, "acme/app", IMAGE, "1.0")
    root = Digest.parse(IMAGE.digest)
    local.pin(Reference.parse("alpine:3.20"), root, root)
    assert api("DELETE", "/v2/library/alpine/manifests/3.20").status == 404
    put_blobs(local, "library/alpine", OTHER)
    assert put_manifest(api, "library/alpine", OTHER, "3.20").status == 201
    assert api("GET", "/v2/alpine/manifests/3.20").body == IMAGE.manifest.data
    assert api("GET", "/v2/library/alpine/manifests/3.20").body == OTHER.manifest.data


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": f'"{IMAGE.digest}"'}, 304),
        ({"If-None-Match": f'W/"{OTHER.digest}", "{IMAGE.digest}"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": f'"{OTHER.digest}"'}, 200),
        ({"If-Match": f'"{IMAGE.digest}"'}, 200),
        ({"If-Match": f'"{OTHER.digest}"'}, 412),
    ],
)
def test_conditional_pulls(
    api: AsgiClient, local: LocalStore, headers: Mapping[str, str], status: int
) -> None:
    push(api, local, "acme/app", IMAGE, "1.0")
    assert api("GET", f"{AT}/1.0", b"", headers).status == status
    assert api("HEAD", f"{AT}/{IMAGE.digest}", b"", headers).status == status


@pytest.mark.parametrize(
    ("before", "headers", "status"),
    [
        (None, {"If-None-Match": "*"}, 201),
        (OTHER, {"If-None-Match": "*"}, 412),
        (OTHER, {"If-None-Match": f'"{OTHER.digest}"'}, 412),
        (OTHER, {"If-None-Match": f'"{IMAGE.digest}"'}, 201),
        (None, {"If-Match": "*"}, 412),
        (OTHER, {"If-Match": f'"{OTHER.digest}"'}, 201),
        (OTHER, {"If-Match": f'"{IMAGE.digest}"'}, 412),
    ],
)
def test_conditional_pushes(
    api: AsgiClient,
    local: LocalStore,
    before: BuiltImage | None,
    headers: Mapping[str, str],
    status: int,
) -> None:
    put_blobs(local, "acme/app", IMAGE)
    if before is not None:
        push(api, local, "acme/app", before, "1.0")
    answer = put_manifest(api, "acme/app", IMAGE, "1.0", headers)
    assert answer.status == status
    now = IMAGE if status == 201 else before
    found = api("HEAD", f"{AT}/1.0").headers.get("docker-content-digest")
    assert found == (now.digest if now else None)


def test_a_moved_tag_leaves_its_image_under_the_digest(api: AsgiClient, local: LocalStore) -> None:
    push(api, local, "acme/app", IMAGE, "1.0")
    push(api, local, "acme/app", OTHER, "1.0")
    assert api("HEAD", f"{AT}/{IMAGE.digest}").status == 200
    local.gc()
    assert api("HEAD", f"{AT}/{IMAGE.digest}").status == 404
    assert api("HEAD", f"{AT}/1.0").status == 200


def test_tags_are_listed_in_pages(api: AsgiClient, local: LocalStore) -> None:
    push(api, local, "acme/app", IMAGE, "b")
    push(api, local, "acme/app/more", IMAGE, "z")
    push(api, local, "acme/app-more", IMAGE, "y")
    for tag in ("A", "a", "c1", "c"):
        assert put_manifest(api, "acme/app", IMAGE, tag).status == 201
    listed = "/v2/acme/app/tags/list"
    assert json.loads(api("GET", listed).body) == {
        "name": "acme/app",
        "tags": ["A", "a", "b", "c", "c1"],
    }
    first = api("GET", f"{listed}?n=2")
    assert json.loads(first.body)["tags"] == ["A", "a"]
    assert first.headers["link"] == f'<{listed}?n=2&last=a>; rel="next"'
    last = api("GET", f"{listed}?n=3&last=a")
    assert json.loads(last.body)["tags"] == ["b", "c", "c1"]
    assert "link" not in last.headers
    assert json.loads(api("GET", f"{listed}?n=0").body)["tags"] == []
    assert json.loads(api("GET", f"{listed}?last=zz").body)["tags"] == []
    assert api("GET", f"{listed}?n=-1").codes == ["PAGINATION_NUMBER_INVALID"]
    assert api("GET", "/v2/acme/none/tags/list").codes == ["NAME_UNKNOWN"]


def test_a_repository_without_tags_has_an_empty_list(api: AsgiClient, local: LocalStore) -> None:
    put_blob(local, "acme/app", b"1")
    assert json.loads(api("GET", "/v2/acme/app/tags/list").body)["tags"] == []


def test_deleted_tags_and_manifests_are_gone_at_once(api: AsgiClient, local: LocalStore) -> None:
    push(api, local, "acme/app", IMAGE, "1.0")
    put_manifest(api, "acme/app", IMAGE, "2.0")
    assert api("DELETE", f"{AT}/1.0").status == 202
    assert api("HEAD", f"{AT}/1.0").status == 404
    assert api("DELETE", f"{AT}/1.0").codes == ["MANIFEST_UNKNOWN"]
    assert api("HEAD", f"{AT}/2.0").status == 200
    assert api("HEAD", f"{AT}/{IMAGE.digest}").status == 200
    assert api("DELETE", f"{AT}/{IMAGE.digest}").status == 202
    assert api("HEAD", f"{AT}/2.0").status == 404
    assert api("HEAD", f"{AT}/{IMAGE.digest}").status == 404
    assert json.loads(api("GET", "/v2/acme/app/tags/list").body)["tags"] == []
    assert put_manifest(api, "acme/app", IMAGE, "1.0").status == 201


def test_conditional_deletions(api: AsgiClient, local: LocalStore) -> None:
    push(api, local, "acme/app", IMAGE, "1.0")
    refused = api("DELETE", f"{AT}/1.0", b"", {"If-Match": f'"{OTHER.digest}"'})
    assert (refused.status, refused.codes) == (412, ["PRECONDITION_FAILED"])
    assert api("DELETE", f"{AT}/1.0", b"", {"If-Match": f'"{IMAGE.digest}"'}).status == 202


def test_images_of_a_deleted_index_stay(api: AsgiClient, local: LocalStore) -> None:
    push(api, local, "acme/app", INDEX, "1.0")
    assert api("DELETE", f"{AT}/{INDEX.digest}").status == 202
    local.gc()
    for image in (IMAGE, OTHER):
        assert api("GET", f"{AT}/{image.digest}").body == image.manifest.data
        assert api("DELETE", f"{AT}/{image.digest}").status == 202
    assert api("HEAD", f"{AT}/{IMAGE.digest}").status == 404


def test_an_image_of_an_index_can_be_deleted_and_pushed_again(
    api: AsgiClient, local: LocalStore
) -> None:
    push(api, local, "acme/app", INDEX, "1.0")
    assert api("DELETE", f"{AT}/{OTHER.digest}").status == 202
    assert api("HEAD", f"{AT}/{OTHER.digest}").status == 404
    assert api("DELETE", f"{AT}/{OTHER.digest}").status == 404
    assert api("HEAD", f"{AT}/1.0").status == 200
    assert put_manifest(api, "acme/app", OTHER).status == 201
    assert api("HEAD", f"{AT}/{OTHER.digest}").status == 200
    # Deleted images do not come back with their index.
    api("DELETE", f"{AT}/{OTHER.digest}")
    api("DELETE", f"{AT}/{INDEX.digest}")
    assert api("HEAD", f"{AT}/{OTHER.digest}").status == 404
    assert api("HEAD", f"{AT}/{IMAGE.digest}").status == 200
