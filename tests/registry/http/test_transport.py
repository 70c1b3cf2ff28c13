"""One request and its response: cancelling, descriptors, URLs, early responses, observers."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.errors import Cancelled, NetworkError
from wherry.registry.certs_d import TlsSettings
from wherry.registry.hosts import Endpoint
from wherry.registry.http.connection import Route
from wherry.registry.http.deadlines import Timeouts
from wherry.registry.http.operation import Operation
from wherry.registry.http.pool import ConnectionPool
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.transport import Transport
from wherry.registry.requester import Call
from wherry.registry.session import Session
from wherry.testing import (
    Chunked,
    ContentLength,
    CutHead,
    Delay,
    FakeRegistry,
    Fault,
    HangUp,
    HttpProxy,
    SetHeader,
    SilentPort,
    Stall,
    make_certificate,
    refused_port,
)
from wherry.testing.certs import self_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from wherry.registry.http.response import Exchange, HttpResponse

    Files = tuple[Path, Path, Path]

WAYS = ["plain", "tls", "tunnel", "within", "socks"]
BLOB = b"x" * 300_000


def get(registry: FakeRegistry, transport: Transport) -> HttpResponse:
    return transport.send(HttpRequest("GET", f"{registry.url}/v2/"), CancelToken())


@pytest.mark.parametrize("left_out", [1, 2, 3, 20, 60, None])
def test_a_truncated_head_is_an_error(fake: FakeRegistry, left_out: int | None) -> None:
    """`http.client` would accept it."""
    with socket.create_connection(("127.0.0.1", fake.port), timeout=10) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        whole = b"".join(iter(lambda: connection.recv(4096), b""))
    size = whole.index(b"\r\n\r\n") + 4
    transport = Transport(connections=1)
    fake.inject(Fault(CutHead(size - left_out if left_out else 5), times=1))
    with pytest.raises(NetworkError, match="cut off") as caught:
        get(fake, transport)
    assert caught.value.transient
    assert get(fake, transport).read(10) == b"{}"
    transport.close()


@pytest.mark.skipif(sys.platform != "linux", reason="there a connection begins as it will")
@pytest.mark.parametrize("room", [None, 16 * 1024])
def test_a_connection_has_a_large_receive_buffer_from_the_start(
    fake: FakeRegistry, room: int | None
) -> None:
    """Linux starts with 64 KB, so that a small blob would wait several times."""
    pool = ConnectionPool(Route("127.0.0.1", fake.port, Timeouts(), receive_buffer=room), 1)
    pooled = pool.send(Operation(CancelToken()), "GET", "/v2/", None, {})
    sock = pooled.connection.sock
    size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert size == 2 * room if room else 1 << 19 <= size < 1 << 21
    assert (
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    )  # or reads of small responses would block
    assert pooled.response.read() == b"{}"
    pooled.finish()
    pool.close()


# Cancelling. Without it these tests would run into pytest's timeout.


@contextlib.contextmanager
def cancelled_once(blocked: Callable[[], object]) -> Iterator[CancelToken]:
    """Cancel, from another thread, the operation that the block waits for."""
    cancel = CancelToken()

    def watch() -> None:
        wait_for(blocked)
        time.sleep(0.05)  # by now the operation is blocked
        cancel.cancel()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with pytest.raises(Cancelled):
            yield cancel
    finally:
        thread.join()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["direct", "proxy", "tunnel", "within"])
def test_waiting_for_a_tls_handshake_can_be_cancelled(
    patient: Callable[..., Transport], certificates: Files, kind: str
) -> None:
    tls = certificates[1:] if kind == "within" else None
    with SilentPort() as port, HttpProxy({"h.test:443": port.host}, tls=tls) as proxy:
        proxies = {"direct": "", "proxy": f"https://{port.host}"}.get(kind, proxy.url)
        url = f"https://{port.host}/" if kind == "direct" else "https://h.test/"
        transport = patient(ProxySettings(https=proxies))
        with cancelled_once(lambda: port.received) as cancel:
            transport.send(HttpRequest("GET", url), cancel)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_waiting_for_the_response_to_connect_can_be_cancelled(
    serve: Callable[..., Any], patient: Callable[..., Transport], *, tls: bool
) -> None:
    asked: list[bytes] = []

    def talk(peer: Any) -> None:
        asked.append(peer.head())
        peer.sock.recv(1)

    proxy = serve(talk, tls=tls)
    transport = patient(ProxySettings(https=f"{'https' if tls else 'http'}://{proxy.host}"))
    with cancelled_once(lambda: asked) as cancel:
        transport.send(HttpRequest("GET", "https://h.test/"), cancel)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
@pytest.mark.parametrize("kind", WAYS)
def test_waiting_for_a_response_can_be_cancelled(
    way: Callable[[str], Any], kind: str, *, kept: bool
) -> None:
    with way(kind) as to:
        for _ in range(kept):
            to.send().read(10)
        fault = to.registry.inject(Fault(Delay(3600)))
        with cancelled_once(lambda: fault.count) as cancel:
            to.send(cancel=cancel)
        assert to.registry.connections == 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "ends",
    [[], [Chunked()], [SetHeader("Connection", "close")]],
    ids=["length", "chunks", "close"],
)
@pytest.mark.parametrize("kind", WAYS)
def test_waiting_for_a_body_can_be_cancelled(
    way: Callable[[str], Any], kind: str, ends: list[Any]
) -> None:
    with way(kind) as to:
        path = f"/v2/app/blobs/{to.registry.add_blob(BLOB)}"
        for action in (Stall(after=200_000), *ends):
            to.registry.inject(Fault(action))
        answered = to.registry.requests
        with cancelled_once(lambda: answered and answered[0].bytes_sent == 200_000) as cancel:
            to.send(path=path, cancel=cancel).read(len(BLOB))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", WAYS)
def test_waiting_for_a_body_without_a_length_can_be_cancelled(
    way: Callable[[str], Any], kind: str
) -> None:
    with way(kind) as to:
        path = f"/v2/app/blobs/{to.registry.add_blob(BLOB)}"
        for action in (Stall(after=200_000), ContentLength(None)):
            to.registry.inject(Fault(action))
        answered = to.registry.requests
        with cancelled_once(lambda: answered and answered[0].bytes_sent == 200_000) as cancel:
            to.send(path=path, cancel=cancel).read(len(BLOB))


# Open descriptors


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.contextmanager
def nothing_left_open() -> Iterator[None]:
    """Check that the block leaves no descriptors open; servers may take a moment to close theirs.

    Keep references to errors that the block caught: they keep unclosed objects alive.
    """
    before = descriptors()
    yield
    wait_for(lambda: descriptors() <= before)


linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to count them in")


@linux
@pytest.mark.parametrize("kind", ["http", "https", "proxy", "https proxy"])
def test_a_refused_connection_leaves_nothing_open(
    patient: Callable[..., Transport], kind: str
) -> None:
    gone = f"127.0.0.1:{refused_port()}"
    proxies = {"proxy": f"http://{gone}", "https proxy": f"https://{gone}"}.get(kind, "")
    url = "https://h.test/" if proxies else f"{kind}://{gone}/"
    transport = patient(ProxySettings(https=proxies))
    with nothing_left_open(), pytest.raises(NetworkError, match="refused") as caught:
        transport.send(HttpRequest("GET", url), CancelToken())
    assert caught.value.transient


@linux
@pytest.mark.parametrize("kind", ["direct", "proxy", "tunnel", "within"])
@pytest.mark.parametrize("talks", ["distrusted", "hangs up", "no TLS"])
def test_a_handshake_that_fails_leaves_nothing_open(
    serve: Callable[..., Any],
    patient: Callable[..., Transport],
    certificates: Files,
    kind: str,
    talks: str,
) -> None:
    other = make_certificate(certificates[0].parent / "other", ["other.test"])[1:]
    little = serve(lambda peer: talks == "hangs up" or peer.answer())
    with (
        nothing_left_open(),
        FakeRegistry(tls=other) as registry,
        HttpProxy(
            {"h.test:443": registry.host if talks == "distrusted" else little.host},
            tls=certificates[1:] if kind == "within" else None,
        ) as proxy,
    ):
        peer = registry.host if talks == "distrusted" else little.host
        proxies = {"direct": "", "proxy": f"https://{peer}"}.get(kind, proxy.url)
        url = f"https://{peer}/" if kind == "direct" else "https://h.test/"
        transport = patient(ProxySettings(https=proxies))
        with pytest.raises(NetworkError) as caught:
            transport.send(HttpRequest("GET", url), CancelToken())
    assert ("certificate" in str(caught.value)) == (talks == "distrusted")


@linux
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_refused_tunnel_leaves_nothing_open(
    patient: Callable[..., Transport], certificates: Files, *, tls: bool
) -> None:
    with (
        nothing_left_open(),
        HttpProxy({}, tls=certificates[1:] if tls else None) as proxy,
    ):
        transport = patient(ProxySettings(https=proxy.url))
        with pytest.raises(NetworkError, match="502") as caught:
            transport.send(HttpRequest("GET", "https://h.test/"), CancelToken())
    assert caught.value.transient


@linux
@pytest.mark.parametrize("action", [CutHead(5), CutHead(60), HangUp(), HangUp(reset=True)])
@pytest.mark.parametrize("kind", WAYS)
def test_a_truncated_response_leaves_nothing_open(
    way: Callable[[str], Any], kind: str, action: Any
) -> None:
    with nothing_left_open(), way(kind) as to:
        to.registry.inject(Fault(action))
        with pytest.raises(NetworkError, match="cut off") as caught:
            to.send()
    assert caught.value.transient


@linux
@pytest.mark.parametrize("ends", [None, Chunked(), SetHeader("Connection", "close")])
@pytest.mark.parametrize("kind", WAYS)
def test_an_abandoned_response_leaves_nothing_open(
    way: Callable[[str], Any], kind: str, ends: Any
) -> None:
    with nothing_left_open(), way(kind) as to:
        path = f"/v2/app/blobs/{to.registry.add_blob(BLOB)}"
        if ends is not None:
            to.registry.inject(Fault(ends))
        response = to.send(path=path)
        assert response.read1(10) == BLOB[:10]
        response.close()
    assert response.status == 200


# Request targets


LOCATIONS: list[tuple[bytes, bytes]] = [
    (b"/plain", b"/plain"),
    (b"/a%2Fb%2f%7E~?X=a%2Bb+c&s=%3D=", b"/a%2Fb%2f%7E~?X=a%2Bb+c&s=%3D="),
    (b"/a b?c d", b"/a%20b?c%20d"),
    (b"/caf\xc3\xa9?q=\xc3\x85", b"/caf%C3%A9?q=%C3%85"),
    (b"/\xe9\xa0\x85", b"/%E9%A0%85"),
    (b"/\xc3\xa0", b"/%C3%A0"),  # its last byte is a blank in Latin-1
    (b"/100%/%zz", b"/100%/%zz"),
    (b"/a//b/", b"/a//b/"),
    (b"http://HOST//a//b", b"//a//b"),
    (b"http://HOST/a/../b/./c", b"/a/../b/./c"),
    (b"http://HOST", b"/"),
    (b"http://HOST?a=b", b"/?a=b"),
    (b"/a;b=c,d!$&'()*@:[]|^`{}<>\"", b"/a;b=c,d!$&'()*@:[]|^`{}<>\""),
    (b"/a\x7f\x01b", b"/a%7F%01b"),
    (b"/a#b?c", b"/a"),
]


@pytest.mark.parametrize(("location", "asked"), LOCATIONS, ids=range(len(LOCATIONS)))
def test_the_target_of_a_redirect_is_sent_unchanged(
    serve: Callable[..., Any], location: bytes, asked: bytes
) -> None:
    """A signature covers the exact bytes of a URL."""
    lines: list[bytes] = []

    def talk(peer: Any) -> None:
        while head := peer.head():
            lines.append(head.partition(b"\r\n")[0])
            if len(lines) == 1:
                there = location.replace(b"HOST", server.host.encode())
                line = b"HTTP/1.1 307 There\r\nContent-Length: 0\r\nLocation: "
                peer.sock.sendall(line + there + b"\r\n\r\n")
            else:
                peer.answer()

    server = serve(talk)
    session = Session(connections=1)
    endpoint = Endpoint(server.host, server.host, schemes=("http",))
    response = session.send(endpoint, Call("GET", "/v2/", ""), CancelToken())
    assert response.read(10) == b"{}"
    session.close()
    assert lines == [b"GET /v2/ HTTP/1.1", b"GET " + asked + b" HTTP/1.1"]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no [::1]")
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_ipv6_address_has_brackets(
    serve: Callable[..., Any], patient: Callable[..., Transport], *, tls: bool
) -> None:
    asked: list[bytes] = []

    def talk(peer: Any) -> None:
        while head := peer.head():
            asked.append(head)
            peer.answer()

    server = serve(talk, tls=tls, host="::1")
    request = HttpRequest(
        "GET", f"{'https' if tls else 'http'}://{server.host}/", tls=TlsSettings(verify=False)
    )
    assert patient().send(request, CancelToken()).read(10) == b"{}"
    assert f"\r\nHost: {server.host}\r\n".encode() in asked[0]


def test_the_common_name_of_a_certificate_is_ignored(
    patient: Callable[..., Transport], tmp_path: Path
) -> None:
    """RFC 9110, 4.3.4: only alternative names count."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    certificate, key = self_signed("localhost")
    form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    files = tmp_path / "own.crt", tmp_path / "own.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(*form))
    with FakeRegistry(tls=files) as registry:
        request = HttpRequest(
            "GET",
            f"https://localhost:{registry.port}/v2/",
            tls=TlsSettings(authorities=(files[0],)),
        )
        with pytest.raises(NetworkError, match="its certificate is for another name") as caught:
            patient().send(request, CancelToken())
        assert registry.requests == []
    assert not caught.value.transient


# Responses before the whole request was received


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_early_response_is_read(
    serve: Callable[..., Any], patient: Callable[..., Transport], *, tls: bool
) -> None:
    """A server may reject a request and close the connection, which breaks the pipe.

    TLS may not read after that; then the error is transient.
    """

    def talk(peer: Any) -> None:
        peer.head()
        peer.answer(b"too much", "Connection: close", status="413 Content Too Large")

    server = serve(talk, tls=tls)
    url = f"{'https' if tls else 'http'}://{server.host}/"
    request = HttpRequest("POST", url, body=b"x" * 8_000_000)
    transport = patient()
    for _ in range(3):
        lost: NetworkError | None = None
        try:
            response = transport.send(request, CancelToken())
            assert (response.status, response.read(100)) == (413, b"too much")
        except NetworkError as error:
            lost = error
        assert lost is None or (tls and lost.transient and "cut off (it ended" in str(lost))


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_reset_before_a_response_is_an_error(
    serve: Callable[..., Any], patient: Callable[..., Transport], *, tls: bool
) -> None:
    def talk(peer: Any) -> None:
        peer.head()
        peer.reset()

    server = serve(talk, tls=tls)
    url = f"{'https' if tls else 'http'}://{server.host}/"
    with pytest.raises(NetworkError, match="cut off") as caught:
        patient().send(HttpRequest("POST", url, body=b"x" * 8_000_000), CancelToken())
    assert caught.value.transient


# Observers


def test_an_observer_that_fails_is_logged_once_and_stops_nothing(
    fake: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Exchange] = []

    def observe(exchange: Exchange) -> None:
        seen.append(exchange)
        raise ValueError(f"number {len(seen)}")

    transport = Transport(connections=1, on_response=observe)
    fake.inject(Fault(SetHeader("RateLimit-Remaining", "7;w=60")))
    url = f"http://me:secret@{fake.host}/v2/?signature=secret"
    with caplog.at_level(logging.ERROR, logger="wherry"):
        for _ in range(3):
            assert transport.send(HttpRequest("GET", url), CancelToken()).read(10) == b"{}"
    transport.close()
    assert fake.connections == 1
    assert [(each.url, each.status, each.rate_limit) for each in seen] == [
        (f"{fake.url}/v2/", 200, "7;w=60")
    ] * 3
    assert [record.exc_info and str(record.exc_info[1]) for record in caplog.records] == [
        "number 1",
    ]
