"""Choosing between http and https for registries on this machine and insecure ones."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from waiting import wait_for_server
from wherry import Client, NetworkError, Store
from wherry.testing import FakeRegistry, Fault, HangUp, build_image, find_binary, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Files = tuple[Path, Path, Path]
    Serve = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("environment")

IMAGE = build_image([tar_layer({"a": b"x" * 1000})])
ALERT = bytes.fromhex("15030100020246")  # a TLS alert: fatal, protocol version
DROPS = ["reset", "closed", "alert"]


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def front(registry: FakeRegistry, drop: str) -> Callable[[Any], None]:
    """Make a server that forwards TLS to a registry and drops plain http."""

    def talk(peer: Any) -> None:
        if peer.sock.recv(1, socket.MSG_PEEK) != b"\x16":
            if drop == "reset":
                peer.reset()
                return
            peer.head()
            if drop == "alert":
                peer.sock.sendall(ALERT)
            return
        with socket.create_connection(("127.0.0.1", registry.port)) as there:
            threading.Thread(target=pass_on, args=(there, peer.sock), daemon=True).start()
            pass_on(peer.sock, there)

    return talk


@pytest.mark.parametrize("drop", DROPS)
def test_https_is_tried_if_the_server_drops_plain_http(
    store: Store, serve: Serve, certificates: Files, monkeypatch: pytest.MonkeyPatch, drop: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    with FakeRegistry(tls=certificates[1:]) as registry:
        registry.add_image("app", IMAGE, "t")
        server = serve(front(registry, drop))
        with Client(store=store, retries=1) as asking:
            asking.pull(f"{server.host}/app:t")
            before = server.connections
            asking.digest(f"{server.host}/app:t")
        assert server.connections - before <= 1  # plain http is not tried again


@pytest.mark.parametrize("drop", DROPS)
def test_an_invalid_certificate_is_the_error(
    store: Store, serve: Serve, certificates: Files, drop: str
) -> None:
    with FakeRegistry(tls=certificates[1:]) as registry:
        server = serve(front(registry, drop))
        with Client(store=store, retries=2) as asking:
            with pytest.raises(NetworkError, match="certificate is not trusted") as caught:
                asking.pull(f"{server.host}/app:t")
            assert not caught.value.transient
            assert server.host in caught.value.hint
        assert registry.requests == []


@pytest.mark.parametrize("fault", [HangUp(), HangUp(reset=True)])
def test_dropped_connections_are_reported_if_there_is_no_tls_either(
    store: Store, fake: FakeRegistry, fault: HangUp
) -> None:
    fake.inject(Fault(fault))
    with Client(store=store, retries=1) as asking:
        with pytest.raises(NetworkError, match="connection was cut off") as caught:
            asking.pull(f"{fake.host}/app:t")
        assert caught.value.transient


@pytest.mark.parametrize("fault", [HangUp(), HangUp(reset=True)])
def test_a_single_dropped_connection_is_retried(
    store: Store, fake: FakeRegistry, fault: HangUp
) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(fault, times=1))
    with Client(store=store, retries=3) as asking:
        asking.pull(f"{fake.host}/app:t")


def test_a_port_that_drops_all_connections_is_reported_as_such(store: Store, serve: Serve) -> None:
    server = serve(lambda peer: peer.reset())
    with (
        Client(store=store, retries=1) as asking,
        pytest.raises(NetworkError, match=r"connection was cut off|reset by peer"),
    ):
        asking.pull(f"{server.host}/app:t")


def test_a_dropped_https_connection_does_not_lead_to_plain_http(store: Store, serve: Serve) -> None:
    """Plain http is tried only if the peer does not speak TLS."""
    seen: list[bytes] = []

    def talk(peer: Any) -> None:
        seen.append(peer.sock.recv(1))
        peer.reset()

    server = serve(talk)
    with Client(store=store, retries=1, insecure=True) as asking, pytest.raises(NetworkError):
        asking.pull(f"{server.host}/app:t")
    assert set(seen) <= {b"\x16", b""}


@pytest.mark.parametrize("status", [301, 308])
def test_a_redirect_to_https_on_the_same_port_leads_to_https(
    store: Store,
    serve: Serve,
    certificates: Files,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """nginx: ``error_page 497 =301 https://$http_host$request_uri``. Credentials stay."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    with FakeRegistry(tls=certificates[1:], users={"me": "secret"}, tokens=True) as registry:
        registry.add_image("app", IMAGE, "t")
        forward = front(registry, "closed")

        def talk(peer: Any) -> None:
            if peer.sock.recv(1, socket.MSG_PEEK) == b"\x16":
                forward(peer)
                return
            path = peer.head().split()[1].decode()
            location = f"Location: https://{server.host}{path}"
            peer.answer(b"", location, "Connection: close", status=f"{status} Moved")

        server = serve(talk)
        with Client(store=store, retries=1, credentials=("me", "secret")) as asking:
            asking.pull(f"{server.host}/app:t")


@pytest.mark.parametrize(
    "words",
    [
        "Client sent an HTTP request to an HTTPS server.",
        "The plain HTTP request was sent to HTTPS port",
        "This combination of host and port requires TLS.",
        "You're speaking plain HTTP to an SSL-enabled server port.",
    ],
    ids=["go", "nginx", "tomcat", "apache"],
)
def test_a_400_that_mentions_tls_leads_to_https(
    store: Store, serve: Serve, certificates: Files, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    with FakeRegistry(tls=certificates[1:]) as registry:
        registry.add_image("app", IMAGE, "t")
        forward = front(registry, "closed")

        def talk(peer: Any) -> None:
            if peer.sock.recv(1, socket.MSG_PEEK) == b"\x16":
                forward(peer)
                return
            body = b"" if peer.head().startswith(b"HEAD") else words.encode()
            peer.answer(body, "Connection: close", status="400 Bad Request", length=len(words))

        with Client(store=store, retries=1) as asking:
            asking.pull(f"{serve(talk).host}/app:t")


@pytest.mark.peer("openssl")
def test_a_real_tls_server_gets_https(store: Store, certificates: Files) -> None:
    """``openssl s_server`` responds to plain http with an alert, or not at all."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    _, certificate, key = certificates
    arguments = ["-accept", f"127.0.0.1:{port}", "-cert", str(certificate), "-key", str(key)]
    server = subprocess.Popen(
        [find_binary("openssl") or "", "s_server", "-quiet", "-www", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_for_server("127.0.0.1", port)
        with (
            Client(store=store, retries=1) as asking,
            pytest.raises(NetworkError, match="certificate is not trusted"),
        ):
            asking.pull(f"127.0.0.1:{port}/app:t")
    finally:
        server.terminate()
        server.wait(10)
