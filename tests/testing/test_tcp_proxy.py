"""The TCP proxy: counts, cuts, stalls, rates and round trips."""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest

from waiting import wait_for
from wherry.testing import (
    FakeRegistry,
    Link,
    SilentPort,
    TcpProxy,
    build_image,
    make_certificate,
    pseudo_random_files,
    random_cuts,
    refused_port,
    tar_layer,
)

DATA = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.add_blob(DATA)
        yield running


def blob_request(registry: FakeRegistry) -> bytes:
    (digest,) = registry.blobs
    return f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def connect(proxy: TcpProxy, request: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    connection.sendall(request)
    return connection


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def fetch(proxy: TcpProxy, registry: FakeRegistry) -> bytes:
    """Return all bytes of a response, including its head."""
    with connect(proxy, blob_request(registry)) as connection:
        return read_all(connection)


def test_bytes_pass_and_are_counted(registry: FakeRegistry) -> None:
    with TcpProxy(registry.port) as proxy:
        whole = fetch(proxy, registry)
        wait_for(lambda: proxy.connections[0].closed)
    assert whole.endswith(DATA)
    assert (proxy.sent, proxy.received) == (len(whole), len(blob_request(registry)))
    assert [(each.sent, each.cut) for each in proxy.connections] == [(len(whole), False)]


def test_one_connection_carries_several_requests(registry: FakeRegistry) -> None:
    with TcpProxy(registry.port) as proxy:
        connection = HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        for _ in range(3):
            connection.request("GET", "/v2/")
            assert connection.getresponse().read() == b"{}"
        connection.close()
        assert len(proxy.connections) == registry.connections == 1


def test_tls_passes_through(tmp_path: Path) -> None:
    authority, certificate, key = make_certificate(tmp_path)
    with FakeRegistry(tls=(certificate, key)) as registry, TcpProxy(registry.port) as proxy:
        context = ssl.create_default_context(cafile=authority)
        connection = HTTPSConnection("localhost", proxy.port, timeout=10, context=context)
        connection.request("GET", "/v2/")
        assert connection.getresponse().read() == b"{}"
        connection.close()


def test_half_closed_connections_get_their_response() -> None:
    """A client may shut down its sending side and still receive."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_at_the_end() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(read_all(connection)[::-1])

    threading.Thread(target=answer_at_the_end, daemon=True).start()
    port = listener.getsockname()[1]
    with listener, TcpProxy(port) as proxy, connect(proxy, b"abc") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"cba"


@pytest.mark.parametrize("after", [0, 1, 1000, 65536, 65537, 700_001])
def test_a_cut_comes_after_exactly_its_bytes(registry: FakeRegistry, after: int) -> None:
    with TcpProxy(registry.port, cuts=[after, None]) as proxy:
        assert len(fetch(proxy, registry)) == after
        wait_for(lambda: proxy.connections[0].closed)
        assert (proxy.connections[0].sent, proxy.connections[0].cut) == (after, True)
        assert fetch(proxy, registry).endswith(DATA)
        assert fetch(proxy, registry).endswith(DATA)  # the cuts are used up


def test_a_reset_is_an_error_to_the_client(registry: FakeRegistry) -> None:
    proxy = TcpProxy(registry.port, cuts=[100_000], reset=True)
    with proxy, pytest.raises(ConnectionResetError):
        fetch(proxy, registry)


def test_random_cuts_repeat() -> None:
    def some(seed: int) -> list[int]:
        return list(itertools.islice(random_cuts(seed, 10, 10**6), 50))

    assert some(1) == some(1) != some(2)
    assert all(10 <= cut <= 10**6 for cut in some(1))


def test_cut_ends_open_connections(registry: FakeRegistry) -> None:
    with TcpProxy(registry.port, link=Link(rate=100_000)) as proxy:
        with connect(proxy, blob_request(registry)) as connection:
            assert connection.recv(1)
            proxy.cut()
            assert len(read_all(connection)) < len(DATA)
        wait_for(lambda: proxy.connections[0].closed)
        assert proxy.connections[0].cut
        proxy.link = Link()
        assert fetch(proxy, registry).endswith(DATA)


def test_a_stall_holds_bytes_and_loses_none(registry: FakeRegistry) -> None:
    with TcpProxy(registry.port) as proxy, connect(proxy) as connection:
        wait_for(lambda: len(proxy.connections) == 1)
        proxy.stall()
        connection.sendall(blob_request(registry))
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert proxy.sent == 0
        connection.settimeout(10)
        proxy.resume()
        assert read_all(connection).endswith(DATA)


# These tests check lower bounds alone. A link must not be faster than configured; how much slower
# it is depends on the machine.


def test_a_link_is_no_faster_than_its_rate(registry: FakeRegistry) -> None:
    with TcpProxy(registry.port, link=Link(rate=4e6)) as proxy:
        start = time.monotonic()
        assert fetch(proxy, registry).endswith(DATA)
        assert time.monotonic() - start > 0.9 * (len(DATA) / 4e6 - 0.02)


def test_connections_may_share_a_rate(registry: FakeRegistry) -> None:
    with TcpProxy(registry.port, link=Link(shared_rate=8e6)) as proxy:
        start = time.monotonic()
        threads = [threading.Thread(target=fetch, args=(proxy, registry)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert time.monotonic() - start > 0.9 * (3 * len(DATA) / 8e6 - 0.02)
        assert proxy.sent > 3 * len(DATA)


def test_a_link_delays_by_its_round_trips(registry: FakeRegistry) -> None:
    """One round trip to connect and one for each request; data does not wait for more."""
    with TcpProxy(registry.port, link=Link(rate=50e6, round_trip=0.1)) as proxy:
        connection = HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        for trips in (2, 1):
            start = time.monotonic()
            connection.request("GET", "/v2/")
            connection.getresponse().read()
            assert time.monotonic() - start > trips * 0.099
        connection.close()
        assert fetch(proxy, registry).endswith(DATA)


def test_the_count_of_sent_bytes_is_close_to_what_the_client_read() -> None:
    """A small send buffer bounds the bytes between proxy and client."""
    image = build_image([tar_layer(pseudo_random_files(1, 24 * 2**20, 1))], compression="none")
    with FakeRegistry() as registry, TcpProxy(registry.port, link=Link(send_buffer=65536)) as proxy:
        registry.add_blob(image.layers[0].data)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.connect(("127.0.0.1", proxy.port))
            client.sendall(blob_request(registry))
            client.recv(1)
            time.sleep(0.2)
            assert proxy.sent < 2**20


def test_a_missing_server_ends_the_connection() -> None:
    with TcpProxy(refused_port()) as proxy, connect(proxy) as connection:
        assert read_all(connection) == b""


def test_a_client_that_disconnects_ends_the_connection_to_the_server() -> None:
    with SilentPort() as port, TcpProxy(port.port) as proxy:
        connect(proxy, b"hello").close()
        wait_for(lambda: port.received == b"hello")
        proxy.cut()
        wait_for(lambda: proxy.connections[0].closed)


def test_close_ends_all_connections_and_is_idempotent(registry: FakeRegistry) -> None:
    with TcpProxy(registry.port, link=Link(rate=10_000)) as proxy:
        connection = connect(proxy, blob_request(registry))
        connection.recv(1)
    with connection:
        read_all(connection)
    proxy.close()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    TcpProxy(registry.port).close()


def test_a_proxy_ends_after_its_lifetime(registry: FakeRegistry) -> None:
    proxy = TcpProxy(registry.port, lifetime=0.1).__enter__()

    def refused() -> bool:
        try:
            connect(proxy).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_for(refused)
    proxy.close()


def test_clear_resets_the_counts(registry: FakeRegistry) -> None:
    with TcpProxy(registry.port) as proxy:
        fetch(proxy, registry)
        wait_for(lambda: proxy.connections[0].closed)
        proxy.clear()
        assert (proxy.connections, proxy.sent, proxy.received) == ([], 0, 0)
