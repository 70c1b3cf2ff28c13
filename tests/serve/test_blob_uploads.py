"""Uploads to the registry that do not go as planned."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from asgi_client import AsgiClient
from wherry.config import host_platform
from wherry.content.pipeline import Limits
from wherry.errors import StoreError
from wherry.model.digest import Digest
from wherry.serve.app import create_app
from wherry.serve.context import Context
from wherry.store import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from asgi_client import Answer

NAME = "localhost:5000"
START = "/v2/team/app/blobs/uploads/"
DATA = os.urandom(3000)
BLOB = Digest.of(DATA)
LIMIT = 5000


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[AsgiClient]:
    """A registry with a limit of 5,000 bytes a blob, on the store of `api`."""
    with contextlib.closing(LocalStore(tmp_path / "store", limits=Limits(blob=LIMIT))) as store:
        yield AsgiClient(create_app(Context(store, NAME, host_platform())))


def started(api: AsgiClient) -> str:
    answer = api("POST", START)
    assert answer.status == 202
    return answer.headers["location"]


def state(api: AsgiClient, upload: str) -> str:
    answer = api("GET", upload)
    assert answer.status == 204
    return answer.headers["range"]


def complete(api: AsgiClient, upload: str, data: bytes = b"", digest: Digest = BLOB) -> Answer:
    return api("PUT", f"{upload}?digest={digest}", data)


def test_what_arrived_before_a_disconnect_is_kept(api: AsgiClient) -> None:
    upload = started(api)
    cut = api("PATCH", upload, DATA[:1000], {"Content-Length": "2000"}, leaves=True)
    assert (cut.status, cut.codes) == (400, ["SIZE_INVALID"])
    assert state(api, upload) == "0-999"
    rest = api("PATCH", upload, DATA[1000:], {"Content-Range": "1000-2999"})
    assert (rest.status, rest.headers["range"]) == (202, "0-2999")
    assert complete(api, upload).status == 201
    assert api("GET", f"/v2/team/app/blobs/{BLOB}").body == DATA


def test_a_last_chunk_that_is_cut_stores_nothing(api: AsgiClient) -> None:
    upload, first = started(api), Digest.of(DATA[:1000])
    headers = {"Content-Length": "3000"}
    cut = api("PUT", f"{upload}?digest={first}", DATA[:1000], headers, leaves=True)
    assert cut.status == 400
    assert api("HEAD", f"/v2/team/app/blobs/{first}").status == 404
    assert complete(api, upload, DATA[1000:]).status == 201


@pytest.mark.parametrize("pieces", [[DATA[:10]], [DATA[:1001]]])
def test_a_stream_with_another_length_than_its_range_is_taken_back(
    api: AsgiClient, pieces: list[bytes]
) -> None:
    upload = started(api)
    assert api("PATCH", upload, DATA[:1000]).status == 202
    answer = api(
        "PATCH", upload, pieces, {"Content-Range": "1000-1999", "Transfer-Encoding": "chunked"}
    )
    assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"])
    assert state(api, upload) == "0-999"
    assert complete(api, upload, DATA[1000:]).status == 201


@pytest.mark.parametrize(
    "content_range", ["bytes 0-2999", "0-", "-1", "0-2999/3000", "a-b", f"0-{10**30}", ""]
)
def test_a_range_of_another_form_is_refused(api: AsgiClient, content_range: str) -> None:
    upload = started(api)
    answer = api("PATCH", upload, DATA, {"Content-Range": content_range})
    assert (answer.status, answer.codes) == (400, ["BLOB_UPLOAD_INVALID"])
    assert state(api, upload) == "0-0"
    assert complete(api, upload, DATA).status == 201


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_blob_over_the_limit_is_refused(
    api: AsgiClient, limited: AsgiClient, method: str, *, streamed: bool
) -> None:
    data = bytes(LIMIT + 1)
    digest = Digest.of(data)
    upload = START if method == "POST" else started(limited)
    target = upload if method == "PATCH" else f"{upload}?digest={digest}"
    body = [data[:LIMIT], data[LIMIT:]] if streamed else data
    headers = {"Transfer-Encoding": "chunked"} if streamed else {}
    answer = limited(method, target, body, headers)
    assert (answer.status, answer.codes) == (413, ["SIZE_INVALID"])
    if method != "POST":
        assert api("GET", upload).status == 404
    assert complete(limited, started(limited), data[1:], Digest.of(data[1:])).status == 201


def test_an_upload_belongs_to_its_repository(api: AsgiClient) -> None:
    upload = started(api).replace("/team/app/", "/team/other/")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = api(method, f"{upload}?digest={BLOB}", DATA if method == "PATCH" else b"")
        assert answer.status == 404
        assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]


def test_a_single_post_that_fails_leaves_no_upload(api: AsgiClient, local: LocalStore) -> None:
    target = f"{START}?digest={BLOB}"
    cut = api("POST", target, DATA[:1000], {"Content-Length": "3000"}, leaves=True)
    assert (cut.status, cut.codes) == (400, ["SIZE_INVALID"])
    assert api("POST", target, DATA, {"Content-Range": "5-9"}).status == 416
    assert api("POST", target, DATA[1:]).codes == ["DIGEST_INVALID"]
    assert local.incoming.count() == 0


def test_a_full_disk_has_room_for_others_after_an_upload(mount: Callable[..., Path]) -> None:
    data = os.urandom(3 * 2**20)
    with contextlib.closing(LocalStore(mount("disk", "3m") / "store")) as store:
        api = AsgiClient(create_app(Context(store, NAME, host_platform())))
        upload = started(api)
        assert api("PATCH", upload, DATA).status == 202
        assert api("PATCH", upload, data).status == 507
        assert state(api, upload) == "0-2999"
        assert api("POST", f"{START}?digest={Digest.of(data)}", data).status == 507
        assert complete(api, upload).status == 201


def test_a_digest_that_is_missing_or_invalid_keeps_the_upload(api: AsgiClient) -> None:
    upload = started(api)
    for query in ("", "?digest=", "?digest=md5:1234", "?digest=sha256:12"):
        answer = api("PUT", upload + query, DATA)
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert complete(api, upload, DATA).status == 201


def test_the_algorithm_of_a_digest_can_be_announced(api: AsgiClient) -> None:
    digest = Digest.of(DATA, "sha512")
    upload = api("POST", f"{START}?digest-algorithm=sha512").headers["location"]
    assert upload.endswith("?digest-algorithm=sha512")
    sent = api("PATCH", upload, DATA).headers["location"]
    assert sent == upload
    assert api("PUT", f"{sent}&digest={digest}").status == 201
    refused = api("POST", f"{START}?digest-algorithm=blake3")
    assert (refused.status, refused.codes) == (400, ["DIGEST_INVALID"])


def test_a_post_of_a_digest_without_content_starts_an_upload(api: AsgiClient) -> None:
    answer = api("POST", f"{START}?digest={BLOB}")
    assert answer.status == 202
    assert complete(api, answer.headers["location"], DATA).status == 201


def test_a_sweep_without_descriptors_is_an_error_of_the_store(
    api: AsgiClient, local: LocalStore
) -> None:
    started(api)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(StoreError, match="Too many open files"):
            local.incoming.sweep()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_mount_that_is_not_possible_starts_an_upload(api: AsgiClient) -> None:
    assert complete(api, started(api), DATA).status == 201
    for source in ("absent", "team/UPPER", "team/app:1", "../app", ""):
        answer = api("POST", f"/v2/other/blobs/uploads/?mount={BLOB}&from={source}")
        assert answer.status == 202, source
    refused = api("POST", f"{START}?mount=sha256:1&from=team/app")
    assert (refused.status, refused.codes) == (400, ["DIGEST_INVALID"])


def test_a_second_writer_waits_for_the_first(api: AsgiClient, local: LocalStore) -> None:
    upload = started(api)
    incoming = local.incoming.open(f"{NAME}/team/app", upload.rpartition("/")[2])
    incoming.append([DATA[:1000]])
    busy = api("PATCH", upload, DATA[1000:])
    assert (busy.status, busy.codes) == (409, ["BLOB_UPLOAD_INVALID"])
    assert busy.headers["range"] == "0-999"
    timer = threading.Timer(0.1, incoming.close)
    timer.start()
    assert complete(api, upload, DATA[1000:]).status == 201
    timer.join()


def test_an_answer_comes_before_the_end_of_a_body(url: str) -> None:
    # More than the buffers of both sockets hold.
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    for _ in range(2):  # over one connection
        connection.request("PATCH", START + "0" * 32, bytes(8 * 2**20))
        answer = connection.getresponse()
        assert (answer.status, answer.read()[:30]) == (404, b'{"errors":[{"code":"BLOB_UPLOA')
    connection.close()
