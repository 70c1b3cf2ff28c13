"""Bodies of requests that come from a stream, and answers that come before their end."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.content.streams import open_bytes
from wherry.errors import Cancelled, NetworkError
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.request_body import BodyEnded, StreamBody
from wherry.registry.http.transport import Transport
from wherry.testing import (
    Action,
    CutRequest,
    EarlyReply,
    FakeRegistry,
    Fault,
    HttpProxy,
    sha256,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from raw_server import Peer, RawServer
    from wherry.registry.http.response import HttpResponse
    from wherry.testing._messages import IncomingRequest

KINDS = ["plain", "tls", "tunnel", "within", "socks"]
DATA = bytes(range(256)) * 40_000  # more than the buffers of sockets
UPLOAD = "/v2/app/blobs/uploads/"
BEHIND = "registry.test:4443"  # the server's name behind a proxy


class Endless:
    """A stream that sends the same bytes again and again."""

    def __init__(self, on_read: Callable[[], None] = lambda: None) -> None:
        self.on_read = on_read
        self.reads = 0
        self.is_closed = False

    def read1(self, size: int) -> bytes:
        self.on_read()
        self.reads += 1
        return bytes(min(size, 65536))

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Direct:
    """A registry, and a transport of the test."""

    registry: FakeRegistry
    transport: Transport

    def send(
        self, method: str, path: str, cancel: CancelToken | None = None, **more: Any
    ) -> HttpResponse:
        request = HttpRequest(method, self.registry.url + path, **more)
        return self.transport.send(request, cancel or CancelToken())


class Hold(Action):
    """Do not read the body of a request until the test says so."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def bend(self, request: IncomingRequest) -> None:
        assert request.stream.received == 0
        self.released.wait(60)


def whole(data: bytes, *, chunked: bool = False) -> StreamBody:
    return StreamBody(None if chunked else len(data), lambda: open_bytes(data, 0).stream)


def endless(stream: Endless) -> StreamBody:
    return StreamBody(2**40, lambda: stream)


def start(to: Any) -> str:
    response: HttpResponse = to.send("POST", UPLOAD)
    response.drain()
    return response.header("Location")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_sent_whole(way: Callable[[str], Any], kind: str, chunked: bool) -> None:
    with way(kind) as to:
        for _ in range(2):
            body = whole(DATA, chunked=chunked)
            response = to.send("PUT", f"{start(to)}&digest={sha256(DATA)}", stream=body)
            assert response.status == 201
            response.drain()
        assert to.registry.connections == 1
        assert to.registry.requests[-1].bytes_received == len(DATA)


@pytest.mark.parametrize("after", [0, 1_000_000])
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_before_the_end_ends_the_body(
    way: Callable[[str], Any], kind: str, after: int
) -> None:
    with way(kind) as to:
        location = start(to)
        to.registry.inject(Fault(EarlyReply(413, body=b"too large", after=after), method="PATCH"))
        stream = Endless()
        response = to.send("PATCH", location, stream=endless(stream))
        assert (response.status, response.read(100)) == (413, b"too large")
        assert stream.is_closed
        to.send("POST", UPLOAD).drain()
        assert to.registry.connections == 2  # the first one still waits for the rest of the body


@pytest.mark.parametrize("after", [0, 3_000_000])
@pytest.mark.parametrize("kind", ["plain", "tls", "tunnel", "within"])
def test_an_answer_of_a_server_that_reads_no_more(
    certificates: tuple[Path, Path, Path],
    serve: Callable[..., RawServer],
    patient: Callable[..., Transport],
    kind: str,
    after: int,
) -> None:
    """The server keeps the connection open, and the client's timeout is ten minutes."""
    done = threading.Event()

    def read(peer: Peer, size: int) -> None:
        while size > 0 and (data := peer.sock.recv(65536)):
            size -= len(data)

    def talk(peer: Peer) -> None:
        peer.head()
        read(peer, after)
        peer.answer(b"slow down", status="429 Too Many Requests")
        read(peer, 8_000_000)  # else the proxy may be waiting for the server, and not answer
        done.wait(60)

    server = serve(talk, tls=kind != "plain")
    proxy = HttpProxy({BEHIND: server.host}, tls=certificates[1:] if kind == "within" else None)
    with proxy:
        url = f"{'http' if kind == 'plain' else 'https'}://{server.host}/"
        proxies = ProxySettings()
        if kind in {"tunnel", "within"}:
            url, proxies = f"https://{BEHIND}/", ProxySettings(https=proxy.url)
        stream = Endless()
        request = HttpRequest("PATCH", url, stream=endless(stream))
        response = patient(proxies).send(request, CancelToken())
        assert (response.status, response.read(100)) == (429, b"slow down")
        assert stream.is_closed
        done.set()


@pytest.mark.parametrize("kind", ["plain", "tls", "within"])
def test_an_interim_answer_does_not_end_the_body(
    certificates: tuple[Path, Path, Path],
    serve: Callable[..., RawServer],
    patient: Callable[..., Transport],
    kind: str,
) -> None:
    size = 3_000_000

    def talk(peer: Peer) -> None:
        peer.head()
        peer.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = size
        while left and (data := peer.sock.recv(65536)):
            left -= len(data)
        peer.answer(b"all is here", status="201 Created")

    server = serve(talk, tls=kind != "plain")
    with HttpProxy({BEHIND: server.host}, tls=certificates[1:]) as proxy:
        url, proxies = f"{'http' if kind == 'plain' else 'https'}://{server.host}/", ProxySettings()
        if kind == "within":
            url, proxies = f"https://{BEHIND}/", ProxySettings(https=proxy.url)
        for delay in (0.0, 0.05):  # the answer comes while the body is sent, or before
            stream = Endless(on_read=lambda: time.sleep(delay))  # noqa: B023 - used in the loop
            request = HttpRequest("PATCH", url, stream=StreamBody(size, lambda: stream))  # noqa: B023
            response = patient(proxies).send(request, CancelToken())
            assert (response.status, response.read(100)) == (201, b"all is here")


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_hangs_up_within_the_body(way: Callable[[str], Any], kind: str) -> None:
    with way(kind) as to:
        location = start(to)
        to.registry.inject(Fault(CutRequest(1_000_000), method="PATCH"))
        with pytest.raises(NetworkError):
            to.send("PATCH", location, stream=endless(Endless()))


@pytest.mark.parametrize("kind", ["plain", "tls", "within"])
def test_a_stream_that_is_too_short(way: Callable[[str], Any], kind: str) -> None:
    with way(kind) as to:
        body = StreamBody(len(DATA) + 1, whole(DATA).open)
        with pytest.raises(BodyEnded):
            to.send("PATCH", start(to), stream=body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_is_cancelled_while_the_server_does_not_read(
    way: Callable[[str], Any], kind: str
) -> None:
    with way(kind) as to:
        location, cancel, stream, hold = start(to), CancelToken(), Endless(), Hold()
        to.registry.inject(Fault(hold, method="PATCH"))
        failures: list[BaseException] = []

        def send() -> None:
            try:
                to.send("PATCH", location, cancel, stream=endless(stream))
            except BaseException as error:  # noqa: BLE001 - compared below
                failures.append(error)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        wait_for(lambda: to.registry.requests[-1].method == "PATCH" and stream.reads > 3)
        cancel.cancel()
        thread.join(60)
        hold.released.set()
        assert isinstance(failures[0], Cancelled)
        assert stream.is_closed


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_are_sent_at_the_limited_rate(chunked: bool) -> None:
    """All connections share the rate."""
    with FakeRegistry() as registry:
        transport = Transport(connections=2, limit_rate=1_000_000)
        to = Direct(registry, transport)
        data = bytes(250_000)
        locations = [start(to) for _ in range(2)]
        began = time.monotonic()
        with contextlib.closing(transport), ThreadPoolExecutor(2) as pool:
            answers = pool.map(
                lambda location: to.send("PATCH", location, stream=whole(data, chunked=chunked)),
                locations,
            )
            assert [answer.status for answer in answers] == [202, 202]
        assert time.monotonic() - began >= 0.35  # half a second less what a bucket holds
        assert [each.bytes_received for each in registry.requests[2:]] == [len(data)] * 2


def test_a_limited_body_is_cancelled(fake: FakeRegistry) -> None:
    cancel = CancelToken()
    with contextlib.closing(Transport(connections=1, limit_rate=1000)) as transport:
        to = Direct(fake, transport)
        location = start(to)
        stream = Endless(on_read=cancel.cancel)
        with pytest.raises(Cancelled):
            to.send("PATCH", location, cancel, stream=endless(stream))
        assert (stream.is_closed, stream.reads) == (True, 1)
