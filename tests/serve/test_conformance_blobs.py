"""Blobs of the registry, case by case as the official conformance suites check them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from registry_http import OCTETS, HttpAnswer, RegistryHttp, digest_of, pieces, with_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    Push = Callable[[RegistryHttp, str, str, bytes], HttpAnswer]

SIZE = 3067
BOTH = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])


def post_only(http: RegistryHttp, repository: str, digest: str, data: bytes) -> HttpAnswer:
    target = with_digest(f"/v2/{repository}/blobs/uploads/", digest)
    return http("POST", target, data, OCTETS)


def post_only_streamed(http: RegistryHttp, repository: str, digest: str, data: bytes) -> HttpAnswer:
    target = with_digest(f"/v2/{repository}/blobs/uploads/", digest)
    return http("POST", target, data, OCTETS, chunked=True)


def post_put(http: RegistryHttp, repository: str, digest: str, data: bytes) -> HttpAnswer:
    return http("PUT", with_digest(http.started(repository).location, digest), data, OCTETS)


def post_put_streamed(http: RegistryHttp, repository: str, digest: str, data: bytes) -> HttpAnswer:
    target = with_digest(http.started(repository).location, digest)
    return http("PUT", target, data, OCTETS, chunked=True)


def stream(http: RegistryHttp, repository: str, digest: str, data: bytes) -> HttpAnswer:
    sent = http("PATCH", http.started(repository).location, data, OCTETS, chunked=True)
    assert sent.status == 202
    return http("PUT", with_digest(sent.location, digest), b"", OCTETS)


def whole_patch(http: RegistryHttp, repository: str, digest: str, data: bytes) -> HttpAnswer:
    sent = http("PATCH", http.started(repository).location, data, OCTETS)
    assert sent.status == 202
    return http("PUT", with_digest(sent.location, digest), None, OCTETS)


def chunk(
    http: RegistryHttp, target: str, start: int, data: bytes, digest: str | None = None
) -> HttpAnswer:
    """Send one chunk, by PUT if a digest is given."""
    content_range = ("Content-Range", f"{start}-{start + len(data) - 1}")
    if digest is None:
        return http("PATCH", target, data, OCTETS, content_range)
    return http("PUT", with_digest(target, digest), data, OCTETS, content_range)


def in_chunks(count: int, *, last_by_put: bool = False, disordered: bool = False) -> Push:
    """Return a function that pushes in `count` chunks.

    With `disordered`, each chunk is sent after one that is out of order.
    """

    def push(http: RegistryHttp, repository: str, digest: str, data: bytes) -> HttpAnswer:
        answer = http.started(repository)
        cut = list(pieces(data, count))
        for number, (start, piece) in enumerate(cut):
            if disordered:
                wrong = cut[number + 1] if number + 1 < len(cut) else cut[0]
                by_put = last_by_put and wrong == cut[-1]
                answer = out_of_order(http, answer.location, start, wrong, digest if by_put else "")
            by_put = last_by_put and number + 1 == len(cut)
            answer = chunk(http, answer.location, start, piece, digest if by_put else None)
            if by_put:
                return answer
            assert answer.status == 202
            assert answer.headers["Range"] == f"0-{start + len(piece) - 1}"
        return http("PUT", with_digest(answer.location, digest), b"", OCTETS)

    return push


def out_of_order(
    http: RegistryHttp, target: str, size: int, wrong: tuple[int, bytes], digest: str
) -> HttpAnswer:
    """Send a chunk that is out of order; return the state of the upload afterwards."""
    refused = chunk(http, target, *wrong, digest or None)
    assert refused.status == 416
    assert refused.headers["Range"] == f"0-{max(size - 1, 0)}"
    assert refused.headers["Location"]
    # The client asks at the target of the refused request, with its query.
    state = http("GET", refused.target)
    assert state.status == 204
    assert state.headers["Range"] == f"0-{max(size - 1, 0)}"
    assert state.headers["Location"]
    return state


WAYS = {
    "post only": post_only,
    "post only, streamed": post_only_streamed,
    "post and put": post_put,
    "post and put, streamed": post_put_streamed,
    "stream": stream,
    "patch without a range": whole_patch,
    "one chunk": in_chunks(1),
    "chunks": in_chunks(3),
    "chunks, last by put": in_chunks(3, last_by_put=True),
    "chunks out of order": in_chunks(3, disordered=True),
    "chunks out of order, last by put": in_chunks(3, last_by_put=True, disordered=True),
}


def check_blob(http: RegistryHttp, repository: str, digest: str, data: bytes) -> None:
    """Check the answers to HEAD and GET."""
    for method in ("HEAD", "GET"):
        answer = http(method, f"/v2/{repository}/blobs/{digest}")
        assert answer.status == 200
        assert answer.headers.get_all("Content-Length") == [str(len(data))]
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.body == (data if method == "GET" else b"")


def check_created(http: RegistryHttp, answer: HttpAnswer, digest: str, data: bytes) -> None:
    """Check the answer to the end of an upload, and what its `Location` leads to."""
    assert answer.status == 201, answer.body
    assert answer.headers["Docker-Content-Digest"] == digest
    found = http("GET", answer.location)
    assert (found.status, found.body) == (200, data)


def delete_blob(http: RegistryHttp, repository: str, digest: str) -> None:
    """Delete a blob, and check that it is gone at once."""
    target = f"/v2/{repository}/blobs/{digest}"
    assert http("DELETE", target).status == 202
    assert http("HEAD", target).status == 404
    missing = http("GET", target)
    assert (missing.status, missing.codes) == (404, ["BLOB_UNKNOWN"])
    assert http("DELETE", target).status == 404


@BOTH
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", [secrets.token_bytes(SIZE), b""], ids=["random", "empty"])
def test_a_blob_can_be_pushed_pulled_and_deleted(
    registry_http: RegistryHttp, repository: str, algorithm: str, way: str, data: bytes
) -> None:
    digest = digest_of(data, algorithm)
    assert registry_http("HEAD", f"/v2/{repository}/blobs/{digest}").status == 404
    answer = WAYS[way](registry_http, repository, digest, data)
    check_created(registry_http, answer, digest, data)
    check_blob(registry_http, repository, digest, data)
    delete_blob(registry_http, repository, digest)
    # What was deleted can be pushed again.
    answer = WAYS[way](registry_http, repository, digest, data)
    check_created(registry_http, answer, digest, data)
    check_blob(registry_http, repository, digest, data)


@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_digest_is_refused(
    registry_http: RegistryHttp, repository: str, algorithm: str, way: str
) -> None:
    data = secrets.token_bytes(SIZE)
    digest = digest_of(data, algorithm)
    answer = WAYS[way](registry_http, repository, digest, data + b"more")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert registry_http("HEAD", f"/v2/{repository}/blobs/{digest}").status == 404


@BOTH
@pytest.mark.parametrize("from_", ["named", "anonymous"])
def test_a_blob_can_be_mounted(
    registry_http: RegistryHttp, repository: str, algorithm: str, from_: str
) -> None:
    data = secrets.token_bytes(SIZE)
    digest = digest_of(data, algorithm)
    registry_http.push_blob(f"{repository}/source", digest, data)
    query = f"mount={digest}" + (f"&from={repository}/source" if from_ == "named" else "")
    answer = registry_http("POST", f"/v2/{repository}/blobs/uploads/?{query}")
    check_created(registry_http, answer, digest, data)
    assert answer.location == f"/v2/{repository}/blobs/{digest}"
    check_blob(registry_http, repository, digest, data)
    delete_blob(registry_http, repository, digest)
    check_blob(registry_http, f"{repository}/source", digest, data)
    delete_blob(registry_http, f"{repository}/source", digest)


@BOTH
@pytest.mark.parametrize("query", ["", "&from={}/source", "&from=Not_A_Name"])
def test_the_mount_of_a_missing_blob_starts_an_upload(
    registry_http: RegistryHttp, repository: str, algorithm: str, query: str
) -> None:
    data = secrets.token_bytes(SIZE)
    digest = digest_of(data, algorithm)
    target = f"/v2/{repository}/blobs/uploads/?mount={digest}{query.format(repository)}"
    answer = registry_http("POST", target)
    assert answer.status == 202
    assert answer.location.startswith(f"/v2/{repository}/blobs/uploads/")
    done = registry_http("PUT", with_digest(answer.location, digest), data, OCTETS)
    check_created(registry_http, done, digest, data)
    check_blob(registry_http, repository, digest, data)


def test_a_deleted_blob_is_not_mounted(registry_http: RegistryHttp, repository: str) -> None:
    data = secrets.token_bytes(SIZE)
    digest = digest_of(data)
    registry_http.push_blob(f"{repository}/source", digest, data)
    delete_blob(registry_http, f"{repository}/source", digest)
    for query in (f"mount={digest}&from={repository}/source", f"mount={digest}"):
        assert registry_http("POST", f"/v2/{repository}/blobs/uploads/?{query}").status == 202


def test_an_upload_can_be_cancelled(registry_http: RegistryHttp, repository: str) -> None:
    target = registry_http.started(repository).location
    assert registry_http("GET", target).status == 204
    assert registry_http("DELETE", target).status == 204
    for method in ("GET", "DELETE", "PATCH"):
        gone = registry_http(method, target)
        assert (gone.status, gone.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])


def test_a_new_upload_has_the_headers_that_clients_read(
    registry_http: RegistryHttp, repository: str
) -> None:
    answer = registry_http.started(repository)
    assert answer.headers["Range"] == "0-0"
    assert answer.headers["Docker-Upload-UUID"] in answer.location
    assert answer.headers["Content-Length"] == "0"
    assert int(answer.headers["OCI-Chunk-Min-Length"]) > 0


def test_a_chunk_that_is_sent_twice_is_refused(
    registry_http: RegistryHttp, repository: str
) -> None:
    # The suite sends the second one to the location of the first answer.
    first = registry_http.started(repository).location
    data = secrets.token_bytes(42)
    assert chunk(registry_http, first, 0, data[:22]).headers["Range"] == "0-21"
    refused = chunk(registry_http, first, 0, data[:22])
    assert (refused.status, refused.headers["Range"]) == (416, "0-21")
    state = registry_http("GET", first)
    assert (state.status, state.headers["Range"]) == (204, "0-21")
    last = chunk(registry_http, state.location, 22, data[22:])
    digest = digest_of(data)
    done = registry_http("PUT", with_digest(last.location, digest), b"", OCTETS)
    check_created(registry_http, done, digest, data)


@pytest.mark.parametrize("content_range", ["bytes 0-9/10", "0-", "9-0", "a-b", "0-10", "-1-8"])
def test_a_range_that_is_not_the_chunk_is_refused(
    registry_http: RegistryHttp, repository: str, content_range: str
) -> None:
    target = registry_http.started(repository).location
    given = ("Content-Range", content_range)
    assert registry_http("PATCH", target, b"0123456789", OCTETS, given).status in {400, 416}
    assert registry_http("GET", target).headers["Range"] == "0-0"


@BOTH
def test_a_blob_can_be_read_in_ranges(
    registry_http: RegistryHttp, repository: str, algorithm: str
) -> None:
    data = secrets.token_bytes(2048)
    digest = digest_of(data, algorithm)
    registry_http.push_blob(repository, digest, data)
    target = f"/v2/{repository}/blobs/{digest}"
    for asked, start, end in [
        ("500-1499", 500, 1499),
        ("500-", 500, 2047),
        ("-500", 1548, 2047),
        ("2000-5000", 2000, 2047),
        ("0-0", 0, 0),
        ("-5000", 0, 2047),
    ]:
        answer = registry_http("GET", target, None, ("Range", f"bytes={asked}"))
        assert answer.status == 206, asked
        assert answer.body == data[start : end + 1]
        assert answer.headers["Content-Length"] == str(end + 1 - start)
        assert answer.headers["Content-Range"] == f"bytes {start}-{end}/2048"
        assert answer.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("asked", ["500-0", "5000-10000", "2048-", "-0"])
def test_a_range_outside_of_the_blob_is_refused(
    registry_http: RegistryHttp, repository: str, asked: str
) -> None:
    data = secrets.token_bytes(2048)
    digest = digest_of(data)
    registry_http.push_blob(repository, digest, data)
    target = f"/v2/{repository}/blobs/{digest}"
    assert registry_http("GET", target, None, ("Range", f"bytes={asked}")).status == 416


@pytest.mark.parametrize("digest", ["sha256:0", "sha256", "md5:" + "0" * 32, "sha256:" + "g" * 64])
def test_an_invalid_digest_is_refused(
    registry_http: RegistryHttp, repository: str, digest: str
) -> None:
    target = f"/v2/{repository}/blobs/{digest}"
    assert registry_http("HEAD", target).status in {400, 404}
    put = with_digest(registry_http.started(repository).location, digest)
    refused = registry_http("PUT", put, b"bytes", OCTETS)
    assert (refused.status, refused.codes) == (400, ["DIGEST_INVALID"])
