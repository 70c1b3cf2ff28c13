"""Faults of the fake registry, as a client sees them."""

from __future__ import annotations

import http.client
import socket
import time

import pytest

from plain_http import ask
from served_image import DATA, IMAGE
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
    Stall,
    Trickle,
)


def test_replies_are_queued_and_counted(registry: FakeRegistry) -> None:
    first = registry.inject(Fault(FixedReply(503, {"Retry-After": "1"}, b"no"), times=2, skip=1))
    second = registry.inject(Fault(FixedReply(429), times=1))
    statuses = [ask(registry.host, "/v2/")[0].status for _ in range(5)]
    assert statuses == [429, 503, 503, 200, 200]
    assert (first.count, second.count) == (2, 1)


def test_a_fault_applies_to_its_method_and_path(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(FixedReply(500), method="GET", path=r"/blobs/.*\?x="))
    assert ask(registry.host, blob)[0].status == 200
    assert ask(registry.host, blob + "?x=1", "HEAD")[0].status == 200
    assert ask(registry.host, blob + "?x=1")[0].status == 500


def test_cut(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(Cut(after=300_000)))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(registry.host, blob)
    assert caught.value.partial == DATA[:300_000]
    assert registry.requests[-1].bytes_sent == 300_000


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_cut_within_the_head(registry: FakeRegistry, blob: str, method: str) -> None:
    registry.inject(Fault(CutHead(after=30), times=1))
    with socket.create_connection(("127.0.0.1", registry.port), timeout=10) as connection:
        connection.sendall(f"{method} {blob} HTTP/1.1\r\n\r\n".encode())
        head = b"".join(iter(lambda: connection.recv(4096), b""))
    assert head == b"HTTP/1.1 200 OK\r\nServer: fake\r\nDate"[:30]
    assert ask(registry.host, blob)[1] == DATA


@pytest.mark.parametrize("action", [Cut(after=10, reset=True), HangUp(reset=True)])
def test_reset(registry: FakeRegistry, blob: str, action: Action) -> None:
    registry.inject(Fault(action))
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        ask(registry.host, blob)


def test_hang_up(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(HangUp()))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(registry.host, blob)
    assert registry.requests[-1].status == 0


@pytest.mark.parametrize("after", [0, 256 * 1024, len(DATA)])
def test_stall(registry: FakeRegistry, blob: str, after: int) -> None:
    registry.inject(Fault(Stall(after=after)))
    connection = http.client.HTTPConnection(registry.host, timeout=60)
    connection.request("GET", blob)
    assert connection.getresponse().read(after) == DATA[:after]
    connection.close()


def test_a_stall_ends(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(Stall(after=1000, seconds=0.3)))
    begun = time.monotonic()
    assert ask(registry.host, blob)[1] == DATA
    assert time.monotonic() - begun >= 0.3


def test_delay(registry: FakeRegistry) -> None:
    registry.inject(Fault(Delay(0.2)))
    begun = time.monotonic()
    assert ask(registry.host, "/v2/")[0].status == 200
    assert time.monotonic() - begun >= 0.2


def test_trickle(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(Trickle(5 * len(DATA))))
    begun = time.monotonic()
    assert ask(registry.host, blob)[1] == DATA
    assert time.monotonic() - begun > 0.15


def test_corrupt(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(Corrupt(at=300_000)))
    body = ask(registry.host, blob)[1]
    assert [i for i, (a, b) in enumerate(zip(body, DATA, strict=True)) if a != b] == [300_000]


def test_range_ignored(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(IgnoreRange()))
    response, body = ask(registry.host, blob, headers={"Range": "bytes=5-"})
    assert (response.status, body) == (200, DATA)
    assert registry.requests[-1].headers["range"] == "bytes=5-"


def test_content_range(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(ContentRange("bytes 0-1/2")))
    assert "Content-Range" not in ask(registry.host, blob)[0].headers
    response, body = ask(registry.host, blob, headers={"Range": "bytes=5-"})
    assert response.headers["Content-Range"] == "bytes 0-1/2"
    assert body == DATA[5:]


def test_content_length(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(ContentLength(len(DATA) + 1), times=1))
    with pytest.raises(http.client.IncompleteRead):
        ask(registry.host, blob)
    registry.inject(Fault(ContentLength(10), times=1))
    assert ask(registry.host, blob)[1] == DATA[:10]
    registry.inject(Fault(ContentLength(None), times=1))
    response, body = ask(registry.host, blob)
    assert response.headers["Content-Length"] is None
    assert body == DATA


def test_chunked(registry: FakeRegistry, blob: str) -> None:
    registry.inject(Fault(Chunked()))
    response, body = ask(registry.host, blob)
    assert response.chunked
    assert body == DATA


def test_headers(registry: FakeRegistry) -> None:
    registry.inject(Fault(DropHeader("content-type")))
    registry.inject(Fault(SetHeader("Docker-Content-Digest", "sha256:00")))
    response, _ = ask(registry.host, "/v2/a/b/manifests/one")
    assert "Content-Type" not in response.headers
    assert response.headers["Docker-Content-Digest"] == "sha256:00"


def test_replace(registry: FakeRegistry) -> None:
    registry.inject(Fault(SetHeader("Content-Type", "text/html")))
    registry.inject(Fault(Replace(b"other")))
    response, body = ask(registry.host, "/v2/a/b/manifests/one")
    assert (response.status, body) == (200, b"other")
    assert response.headers["Docker-Content-Digest"] == IMAGE.digest
    assert response.headers["Content-Type"] == "text/html"


@pytest.mark.parametrize("action", [Stall(after=10), Delay(3600), Trickle(10)])
def test_waits_end_when_the_registry_is_closed(action: Action) -> None:
    registry = FakeRegistry()
    registry.start()
    path = "/v2/a/blobs/" + registry.add_blob(DATA)
    registry.inject(Fault(action))
    connection = http.client.HTTPConnection(registry.host, timeout=10)
    connection.request("GET", path)
    wait_for(lambda: registry.requests)
    registry.close()  # the faults would last longer than the test may
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.getresponse().read()
    connection.close()


def test_idle_connections_end_when_the_registry_is_closed() -> None:
    with FakeRegistry() as registry:
        connection = http.client.HTTPConnection(registry.host, timeout=10)
        connection.request("GET", "/v2/")
        connection.getresponse().read()
    assert connection.sock.recv(1) == b""
    connection.close()
