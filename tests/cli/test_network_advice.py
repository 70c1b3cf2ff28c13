"""Hints for hosts that cannot be reached: proxies, names, plain HTTP."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from wherry.testing import FakeRegistry, refused_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Wherry


def advice(wherry: Wherry, *arguments: str, env: dict[str, str] | None = None) -> tuple[str, str]:
    done = wherry("digest", "--retries=1", *arguments, env=env)
    assert (done.returncode, done.stdout) == (6, "")
    first, *rest = done.stderr.splitlines()
    return first.removeprefix("wherry: "), "\n".join(rest)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize("address", ["{}", "http://{}", "http://me:hunter2@{}", "https://{}"])
def test_a_proxy_that_is_down(wherry: Wherry, variable: str, address: str) -> None:
    proxy = f"127.0.0.1:{refused_port()}"
    said, hint = advice(wherry, "registry.example/a:t", env={variable: address.format(proxy)})
    scheme = "https" if "https" in address else "http"
    assert said == f"registry.example: the proxy {scheme}://{proxy}: connection refused"
    assert hint.startswith(f"  {variable} names this proxy; NO_PROXY lists")
    assert "hunter2" not in said + hint


def test_a_proxy_for_plain_http_that_is_down(wherry: Wherry) -> None:
    proxy = f"127.0.0.1:{refused_port()}"
    env = {"HTTP_PROXY": f"http://{proxy}", "HTTPS_PROXY": f"http://{proxy}"}
    said, hint = advice(wherry, "--insecure", "registry.example/a:t", env=env)
    assert f"the proxy http://{proxy}" in said
    assert "_PROXY names this proxy" in hint


def test_a_proxy_with_an_unknown_name(wherry: Wherry) -> None:
    env = {"HTTPS_PROXY": "http://no-such-proxy.invalid:3128"}
    said, hint = advice(wherry, "registry.example/a:t", env=env)
    assert said.startswith("registry.example: the proxy http://no-such-proxy.invalid:3128: ")
    assert hint.startswith("  HTTPS_PROXY names this proxy")


@pytest.fixture
def refusing_proxy() -> Iterator[str]:
    """A proxy that refuses every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def test_a_proxy_that_does_not_connect(wherry: Wherry, refusing_proxy: str) -> None:
    env = {"HTTPS_PROXY": refusing_proxy}
    said, hint = advice(wherry, "registry.example/a:t", env=env)
    assert said == f"registry.example: the proxy http://{refusing_proxy} refused to connect (403)"
    assert hint.startswith("  HTTPS_PROXY names this proxy")


def test_an_unknown_host(wherry: Wherry) -> None:
    said, hint = advice(wherry, "no-such-host.invalid/a:t")
    assert said in {
        "no-such-host.invalid: no such host",
        "no-such-host.invalid: its name cannot be looked up now",
    }
    assert "is the network up?" in hint


def test_a_plain_http_server_without_tls(wherry: Wherry, fake: FakeRegistry) -> None:
    # Not a name of this machine, for which wherry uses plain HTTP.
    port = fake.host.rpartition(":")[2]
    name = f"0.0.0.0:{port}/app:t"
    said, hint = advice(wherry, name)
    assert said == f"0.0.0.0:{port}: does not speak TLS"
    assert "--insecure" in hint
