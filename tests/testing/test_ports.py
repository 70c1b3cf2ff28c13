"""Ports that never answer or refuse connections."""

from __future__ import annotations

import http.client
import socket

import pytest

from plain_http import ask
from waiting import wait_for
from wherry.testing import (
    SilentPort,
    free_port,
    refused_port,
)


def test_silent() -> None:
    with SilentPort() as port:
        with pytest.raises(TimeoutError):
            ask(port.host, "/", timeout=0.2)
        assert port.connections == 1
        assert port.received.startswith(b"GET / HTTP/1.1")
        connection = http.client.HTTPConnection(port.host, timeout=10)
        connection.connect()
        wait_for(lambda: port.connections == 2)
    assert connection.sock.recv(1) == b""
    connection.close()


def test_refused() -> None:
    with pytest.raises(ConnectionRefusedError):
        ask(f"127.0.0.1:{refused_port()}", "/")


def test_no_server_gets_a_refusing_port() -> None:
    port = refused_port()
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            server.bind(("127.0.0.1", port))


def test_a_server_can_listen_on_a_free_port() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        assert server.getsockname()[1] == port
