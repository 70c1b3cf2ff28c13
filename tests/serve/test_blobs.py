"""Answers with blobs: ranges, conditions, and blobs that disappear."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from wherry.model.digest import Digest
from wherry.serve.answers import ApiError
from wherry.serve.blob_response import BlobResponse, parse_range

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_client import AsgiClient
    from wherry.store import LocalStore

DATA = os.urandom(200_000)
BLOB = Digest.of(DATA)
PATH = f"/v2/team/app/blobs/{BLOB}"


@pytest.fixture(autouse=True)
def pushed(api: AsgiClient) -> None:
    assert api("POST", f"/v2/team/app/blobs/uploads/?digest={BLOB}", DATA).status == 201


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", range(1000)),
        ("bytes=10-19", range(10, 20)),
        ("bytes= 10-19 ", range(10, 20)),
        ("bytes=999-999", range(999, 1000)),
        ("bytes=990-5000", range(990, 1000)),
        ("bytes=-10", range(990, 1000)),
        ("bytes=-5000", range(1000)),
        ("bytes=0-1,5-6", None),
        ("lines=1-2", None),
        ("bytes", None),
    ],
)
def test_a_range_is_read(header: str | None, expected: range | None) -> None:
    assert parse_range(header, 1000) == expected


@pytest.mark.parametrize(
    "asked", ["5-4", "1000-", "1000-2000", "-0", "-", "", "x-y", "1-x", "²-", f"0-{'9' * 5000}"]
)
def test_a_range_that_cannot_be_sent_is_refused(asked: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_range(f"bytes={asked}", 1000)
    assert caught.value.status == 416
    assert caught.value.headers["Content-Range"] == "bytes */1000"


def test_an_empty_blob_has_no_ranges() -> None:
    assert parse_range("bytes=0-0", 0) is None


def test_a_part_is_sent_in_pieces(api: AsgiClient) -> None:
    answer = api("GET", PATH, headers={"Range": "bytes=1-199998"})
    assert (answer.status, answer.body) == (206, DATA[1:-1])
    assert answer.headers["content-range"] == "bytes 1-199998/200000"
    assert answer.headers["content-length"] == "199998"


def test_head_tells_what_get_would_send(api: AsgiClient) -> None:
    for headers in ({}, {"Range": "bytes=5-6"}):
        found, head = api("GET", PATH, headers=headers), api("HEAD", PATH, headers=headers)
        assert (head.status, head.headers) == (found.status, found.headers)
        assert head.body == b""


def test_a_blob_that_a_client_has_is_not_sent(api: AsgiClient) -> None:
    etag = api("HEAD", PATH).headers["etag"]
    assert etag == f'"{BLOB}"'
    answer = api("GET", PATH, headers={"If-None-Match": etag})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    assert api("GET", PATH, headers={"If-None-Match": '"other"'}).status == 200


def test_a_blob_that_was_collected_is_unknown(api: AsgiClient, local: LocalStore) -> None:
    (local.path / "blobs" / "sha256" / BLOB.hex).unlink()
    for method in ("GET", "HEAD"):
        assert api(method, PATH).status == 404


def sent(path: Path, *, leaves: bool) -> list[dict[str, Any]]:
    """Send the file at `path` to a client that stays or leaves; return the messages."""
    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> dict[str, Any]:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    response = BlobResponse(path, BLOB, len(DATA))
    asyncio.run(response({"type": "http", "method": "GET"}, receive, send))
    return messages


def test_a_file_that_is_gone_answers_404(tmp_path: Path) -> None:
    messages = sent(tmp_path / "absent", leaves=False)
    assert messages[0]["status"] == 404
    assert b"BLOB_UNKNOWN" in messages[1]["body"]


def test_nothing_is_read_for_a_client_that_has_gone(local: LocalStore) -> None:
    path = local.path / "blobs" / "sha256" / BLOB.hex

    def size(messages: list[dict[str, Any]]) -> int:
        return sum(len(message.get("body", b"")) for message in messages)

    assert size(sent(path, leaves=False)) == len(DATA)
    assert size(sent(path, leaves=True)) < len(DATA)


def test_a_deleted_blob_stays_in_other_repositories(api: AsgiClient) -> None:
    mounted = api("POST", f"/v2/other/blobs/uploads/?mount={BLOB}&from=team/app")
    assert mounted.status == 201
    assert api("DELETE", PATH).status == 202
    assert api("DELETE", PATH).status == 404
    assert api("HEAD", PATH).status == 404
    assert api("GET", mounted.headers["location"]).body == DATA


def test_a_blob_that_was_cut_off_on_the_disk_can_be_sent_again(
    api: AsgiClient, local: LocalStore
) -> None:
    file = local.path / "blobs" / BLOB.algorithm / BLOB.hex
    file.chmod(0o644)
    os.truncate(file, 1000)
    assert api("HEAD", PATH).status == 404
    assert api("GET", PATH).status == 404
    assert api("POST", f"/v2/team/app/blobs/uploads/?digest={BLOB}", DATA).status == 201
    assert api("GET", PATH).body == DATA
