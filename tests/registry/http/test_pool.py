"""Connections that are reused, and those that must not be."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.registry.http.deadlines import Timeouts
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.transport import Transport
from wherry.testing import Chunked, FakeRegistry, Fault, FixedReply, HttpProxy, SetHeader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from wherry.registry.http.response import HttpResponse


BODY = b"x" * 100_000


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(connections=2, timeouts=Timeouts(connect=600, read=600))
    yield made
    made.close()


def send(transport: Transport, host: str, method: str = "GET", path: str = "/v2/") -> HttpResponse:
    return transport.send(HttpRequest(method, f"http://{host}{path}"), CancelToken())


ANSWERS: list[tuple[str, list[Any], bytes]] = [
    ("GET", [], b"{}"),
    ("GET", [FixedReply(200, {}, BODY)], BODY),
    ("GET", [FixedReply(200)], b""),
    ("GET", [FixedReply(204)], b""),
    ("GET", [FixedReply(304)], b""),
    ("GET", [FixedReply(200, {}, BODY), Chunked()], BODY),
    ("GET", [FixedReply(200), Chunked()], b""),
    ("HEAD", [], b""),
    ("HEAD", [FixedReply(200, {}, BODY)], b""),
    ("HEAD", [FixedReply(404), Chunked()], b""),
    ("POST", [FixedReply(401, {}, b"who?")], b"who?"),
]


@pytest.mark.parametrize(("method", "actions", "body"), ANSWERS, ids=range(len(ANSWERS)))
def test_a_complete_response_returns_its_connection(
    fake: FakeRegistry, transport: Transport, method: str, actions: list[Any], body: bytes
) -> None:
    for action in actions:
        fake.inject(Fault(action))
    for _ in range(4):
        assert send(transport, fake.host, method).read(1 << 20) == body
    assert fake.connections == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("size", [0, 10, 60_000, 100_000])
def test_a_small_discarded_body_returns_its_connection(
    fake: FakeRegistry, transport: Transport, method: str, size: int
) -> None:
    fake.inject(Fault(FixedReply(307, {"Location": "/"}, BODY[:size])))
    for _ in range(3):
        send(transport, fake.host, method).drain()
    assert fake.connections == (3 if method == "GET" and size == 100_000 else 1)


def test_an_incomplete_response_closes_its_connection(
    fake: FakeRegistry, transport: Transport
) -> None:
    fake.inject(Fault(FixedReply(200, {}, BODY)))
    for _ in range(3):
        response = send(transport, fake.host)
        assert response.read1(1000) == b"x" * 1000
        response.close()
    assert fake.connections == 3


def test_a_finished_operation_cannot_cancel_the_next_one(
    fake: FakeRegistry, transport: Transport
) -> None:
    first = CancelToken()
    request = HttpRequest("GET", f"{fake.url}/v2/")
    ended = transport.send(request, first)
    assert b"".join(iter(lambda: ended.read1(10), b"")) == b"{}"
    response = transport.send(request, CancelToken())
    first.cancel()
    assert response.read(10) == b"{}"
    assert send(transport, fake.host).read(10) == b"{}"
    assert fake.connections == 1


@pytest.mark.parametrize("header", ["close", "Close", "x, close"])
def test_a_connection_with_close_is_not_reused(
    serve: Callable[..., Any], transport: Transport, header: str
) -> None:
    """RFC 9112, 9.6; even if the server leaves it open."""
    asked, after = [], []

    def talk(peer: Any) -> None:
        asked.append(peer.head())
        peer.answer(b"{}", f"Connection: {header}")
        after.append(peer.head())

    server = serve(talk)
    for _ in range(3):
        assert send(transport, server.host).read(10) == b"{}"
    wait_for(lambda: len(after) == 3)
    assert len(asked) == server.connections == 3
    assert not any(after)


def test_a_connection_of_http_1_0_is_not_reused(
    serve: Callable[..., Any], transport: Transport
) -> None:
    def talk(peer: Any) -> None:
        while peer.head():
            peer.sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    server = serve(talk)
    for _ in range(2):
        assert send(transport, server.host).read(10) == b"{}"
    assert server.connections == 2


def test_close_is_honoured_with_every_kind_of_body(
    fake: FakeRegistry, transport: Transport
) -> None:
    fake.inject(Fault(SetHeader("Connection", "close")))
    fake.inject(Fault(FixedReply(200, {}, BODY)))
    fake.inject(Fault(Chunked(), skip=1))
    for _ in range(2):
        assert send(transport, fake.host).read(1 << 20) == BODY
    assert send(transport, fake.host, "HEAD").read(10) == b""
    assert fake.connections == 3


FAREWELL = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
AFTERTHOUGHTS: dict[str, Callable[[Any], object]] = {
    "closes": lambda peer: peer.sock.close(),
    "resets": lambda peer: peer.reset(),
    "writes": lambda peer: peer.sock.sendall(b"x"),
    "says goodbye": lambda peer: peer.sock.sendall(FAREWELL),
}


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("after", AFTERTHOUGHTS)
def test_an_idle_connection_with_activity_is_not_reused(
    serve: Callable[..., Any], patient: Callable[..., Transport], after: str, *, tls: bool
) -> None:
    read, done = threading.Event(), threading.Event()

    def talk(peer: Any) -> None:
        peer.head()
        peer.answer(str(peer.number).encode())
        if peer.number == 1:
            read.wait(20)
            AFTERTHOUGHTS[after](peer)
            done.set()
        while peer.head():
            peer.answer(str(peer.number).encode())

    server, transport = serve(talk, tls=tls), patient()
    request = HttpRequest("GET", f"{'https' if tls else 'http'}://{server.host}/")
    assert transport.send(request, CancelToken()).read(10) == b"1"
    read.set()
    assert done.wait(20)
    for _ in range(3):
        response = transport.send(request, CancelToken())
        assert (response.status, response.read(10)) == (200, b"2")


@pytest.mark.parametrize("kind", ["http", "https", "within"])
def test_excess_bytes_are_not_the_next_response(
    serve: Callable[..., Any], patient: Callable[..., Transport], certificates: Any, kind: str
) -> None:
    """A TLS record may hold more bytes than one read asks for."""
    more = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    def talk(peer: Any) -> None:
        while peer.head():
            peer.answer(BODY[:12_000] + more, length=12_000)

    server = serve(talk, tls=kind != "http")
    with HttpProxy({"registry.test:443": server.host}, tls=certificates[1:]) as proxy:
        transport = patient(ProxySettings(https=proxy.url))
        host = "registry.test" if kind == "within" else server.host
        request = HttpRequest("GET", f"{'http' if kind == 'http' else 'https'}://{host}/")
        for _ in range(3):
            assert transport.send(request, CancelToken()).read(1 << 20) == BODY[:12_000]


def test_the_pool_keeps_a_limited_number_of_connections(
    serve: Callable[..., Any], transport: Transport
) -> None:
    ended = []

    def talk(peer: Any) -> None:
        while peer.head():
            peer.answer()
        ended.append(peer.number)

    server = serve(talk)
    responses = [send(transport, server.host) for _ in range(5)]
    assert server.connections == 5
    assert [response.read(10) for response in responses] == [b"{}"] * 5
    wait_for(lambda: len(ended) == 3)  # two of five are kept
    responses = [send(transport, server.host) for _ in range(3)]
    assert server.connections == 6
    for response in responses:
        response.close()


def test_closing_a_transport_closes_idle_connections_now_and_others_later(
    serve: Callable[..., Any], transport: Transport
) -> None:
    ended = []

    def talk(peer: Any) -> None:
        while peer.head():
            peer.answer(BODY)
        ended.append(peer.number)

    server = serve(talk)
    busy, idle = send(transport, server.host), send(transport, server.host)
    idle.read(1 << 20)
    transport.close()
    wait_for(lambda: ended == [2])
    assert busy.read(1 << 20) == BODY
    wait_for(lambda: ended == [2, 1])
    assert (
        send(transport, server.host).read(1 << 20) == BODY
    )  # a closed transport can still be used
    assert server.connections == 3
