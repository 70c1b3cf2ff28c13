"""SOCKS5 proxies: microsocks, and a fake proxy that fails on demand."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from waiting import wait_for, wait_for_server
from wherry.content.cancel import CancelToken
from wherry.errors import Cancelled, NetworkError, WherryError
from wherry.registry.http.connect_errors import PrivateHost, TlsUnavailable
from wherry.registry.http.proxies import ProxyAddress, ProxySettings
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.socks import SocksRefusal, connect_through
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    SilentPort,
    SocksProxy,
    build_image,
    find_binary,
    make_certificate,
    refused_port,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Wherry
    from wherry.registry.http.transport import Transport

IMAGE = build_image([tar_layer({"a": b"1" * 100_000})])
SECRET = "topsecret-pw"
# A form of 127.0.0.1 that `NO_PROXY` does not recognise as an address.
NAME = "127.1"


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, Path, Path]:
    return make_certificate(tmp_path / "socks-tls", [NAME, "registry.test", "127.0.0.1"])


@pytest.fixture
def registry(authority: tuple[Path, Path, Path]) -> Iterator[FakeRegistry]:
    with FakeRegistry(tls=authority[1:]) as made:
        made.add_image("app", IMAGE, "t")
        yield made


# A real proxy


@contextlib.contextmanager
def microsocks(log: Path, *options: str) -> Iterator[str]:
    """The address of a running microsocks, which logs each connection that it makes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [find_binary("microsocks") or "microsocks", "-i", "127.0.0.1", "-p", str(port),
             *options],
            stderr=stream,
        )  # fmt: skip
    try:
        wait_for_server("127.0.0.1", port)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.peer("microsocks")
@pytest.mark.parametrize(
    ("scheme", "variable"),
    [
        ("socks5", "ALL_PROXY"),
        ("socks5h", "all_proxy"),
        ("socks5h", "HTTPS_PROXY"),
        ("socks5", "https_proxy"),
        ("socks", "all_proxy"),  # as GNOME writes it
    ],
)
def test_a_pull_through_a_proxy_checks_the_certificate(
    wherry: Wherry, registry: FakeRegistry, authority: tuple[Path, Path, Path], tmp_path: Path,
    scheme: str, variable: str,
) -> None:  # fmt: skip
    name = f"{NAME}:{registry.port}/app:t"
    with microsocks(tmp_path / "log") as proxy:
        env = {variable: f"{scheme}://{proxy}", "SSL_CERT_FILE": str(authority[0])}
        done = wherry("pull", "-q", name, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{IMAGE.id}\n"
        assert f":{registry.port}" in (tmp_path / "log").read_text()
        del env["SSL_CERT_FILE"]
        done = wherry("digest", name, env=env)
        assert done.returncode == 6
        assert f"{NAME}:{registry.port}: its certificate is not trusted" in done.stderr


@pytest.mark.peer("microsocks")
def test_a_proxy_gets_a_user_name_and_a_password(
    wherry: Wherry, registry: FakeRegistry, authority: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    name = f"{NAME}:{registry.port}/app:t"
    with microsocks(tmp_path / "log", "-u", "me", "-P", SECRET) as proxy:
        env = {"SSL_CERT_FILE": str(authority[0])}
        good = wherry("digest", name, env=env | {"ALL_PROXY": f"socks5h://me:{SECRET}@{proxy}"})
        assert (good.returncode, good.stderr) == (0, "")
        for pair in ("", "me:wrong-secret@"):
            done = wherry("digest", name, env=env | {"ALL_PROXY": f"socks5h://{pair}{proxy}"})
            assert done.returncode == 6
            said, hint = done.stderr.splitlines()
            assert f": the proxy socks5h://{proxy} refused to connect (" in said
            assert "authentication" in said
            assert "socks5h://USER:PASSWORD@HOST:PORT" in hint
            assert "secret" not in done.stderr


@pytest.mark.peer("microsocks")
def test_a_real_proxy_reports_unreachable_hosts(wherry: Wherry, tmp_path: Path) -> None:
    with microsocks(tmp_path / "log") as proxy:
        env = {"ALL_PROXY": f"socks5h://{proxy}", "WHERRY_RETRIES": "1"}
        closed = f"{NAME}:{refused_port()}"
        done = wherry("digest", f"{closed}/app:t", env=env)
        assert done.returncode == 6
        said, hint = done.stderr.splitlines()
        assert "ALL_PROXY names this proxy" in hint
        assert said.startswith(f"wherry: {closed}: the proxy socks5h://{proxy} refused to connect")
        assert "connection refused" in said


@pytest.mark.peer("microsocks")
def test_hosts_of_no_proxy_are_reached_directly(
    wherry: Wherry, registry: FakeRegistry, authority: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    name = f"{NAME}:{registry.port}/app:t"
    with microsocks(tmp_path / "log") as proxy:
        env = {
            "ALL_PROXY": f"socks5h://{proxy}",
            "SSL_CERT_FILE": str(authority[0]),
            "NO_PROXY": NAME,
        }
        assert wherry("digest", name, env=env).returncode == 0
        assert (tmp_path / "log").read_text() == ""


def test_a_proxy_in_registries_conf_overrides_the_variables(
    wherry: Wherry, registry: FakeRegistry, authority: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """It is also used for redirected blobs, and for this machine."""
    host, other = f"127.0.0.1:{registry.port}", f"{NAME}:{registry.port}"
    blob = f"/v2/app/blobs/{IMAGE.config.digest}"
    moved = FixedReply(307, {"Location": f"https://{other}{blob}?signed=1"})
    registry.inject(Fault(moved, path=blob, times=1))
    conf = tmp_path / "registries.conf"
    hosts: dict[str, str | int] = {host: registry.host, other: registry.host}
    with SocksProxy(hosts, credentials=("me", SECRET)) as proxy:
        conf.write_text(
            f'[[registry]]\nlocation = "{host}"\nproxy = "socks5://me:{SECRET}@{proxy.host}"\n'
        )
        env = {
            "ALL_PROXY": f"http://127.0.0.1:{refused_port()}",
            "CONTAINERS_REGISTRIES_CONF": str(conf),
            "SSL_CERT_FILE": str(authority[0]),
        }
        done = wherry("pull", "-q", f"{host}/app:t", env=env)
        assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n"), done.stderr
        assert set(proxy.requests) == {host, other}
        shown = wherry("why", "--offline", f"{host}/app:t", env=env).stdout
        assert f"socks5h://{proxy.host}, by {conf}" in shown
    done = wherry("digest", "--retries", "1", f"{host}/app:t", env=env)
    assert done.returncode == 6
    said, hint = done.stderr.splitlines()
    assert said.startswith(f"wherry: {host}: the proxy socks5h://{proxy.host}: connection refused")
    assert hint.strip() == f"{conf} names this proxy"
    assert SECRET not in done.stderr + shown


def test_a_token_server_is_reached_through_its_registrys_proxy(
    wherry: Wherry, authority: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    with FakeRegistry(tls=authority[1:], tokens=True, public=True) as made:
        made.add_image("app", IMAGE, "t")
        name = f"{NAME}:{made.port}"
        with SocksProxy({name: made.host, made.host: made.host}) as proxy:
            conf = tmp_path / "registries.conf"
            conf.write_text(
                f'[[registry]]\nlocation = "{name}"\nproxy = "socks5h://{proxy.host}"\n'
            )
            env = {"CONTAINERS_REGISTRIES_CONF": str(conf), "SSL_CERT_FILE": str(authority[0])}
            done = wherry("pull", "-q", f"{name}/app:t", env=env)
            assert done.returncode == 0, done.stderr
            assert any("token" in request.path for request in made.requests)
            assert set(proxy.requests) == {name, made.host}  # the realm is on the second port
            assert made.connections == len(proxy.requests)


def test_why_shows_the_proxy_without_the_password(wherry: Wherry) -> None:
    env = {"ALL_PROXY": f"socks5h://me:{SECRET}@proxy.example"}
    done = wherry("why", "--offline", "h.example/app", env=env)
    assert "socks5h://proxy.example:1080" in done.stdout
    assert SECRET not in done.stdout + done.stderr


# Names, addresses and refusals


def test_names_are_looked_up_by_the_proxy(
    patient: Callable[..., Transport], certificates: tuple[Path, Path, Path]
) -> None:
    with (
        FakeRegistry(tls=certificates[1:]) as there,
        SocksProxy({"registry.test:443": there.host}) as proxy,
    ):
        transport = patient(ProxySettings(other=f"socks5h://{proxy.host}"))
        answer = transport.send(HttpRequest("GET", "https://registry.test/v2/"), CancelToken())
        assert answer.status == 200
        assert proxy.requests == ["registry.test:443"]


def test_names_are_looked_up_by_the_client(
    patient: Callable[..., Transport], fake: FakeRegistry
) -> None:
    with SocksProxy({fake.host: fake.host}) as proxy:
        transport = patient(ProxySettings(other=f"socks5://{proxy.host}"))
        answer = transport.send(HttpRequest("GET", f"http://{NAME}:{fake.port}/v2/"), CancelToken())
        assert answer.status == 200
        assert proxy.requests == [fake.host]


def test_a_public_only_request_is_not_sent_to_a_private_address(
    patient: Callable[..., Transport], fake: FakeRegistry
) -> None:
    """The client looked the name up."""
    with SocksProxy({fake.host: fake.host}) as proxy:
        transport = patient(ProxySettings(other=f"socks5://{proxy.host}"))
        request = HttpRequest("GET", f"http://{NAME}:{fake.port}/v2/", public_only=True)
        with pytest.raises(PrivateHost, match=r"127\.0\.0\.1"):
            transport.send(request, CancelToken())
        assert fake.requests == []


@pytest.mark.parametrize("reply", [3, 4, 5, 6, 8])
def test_the_next_address_of_a_host_is_tried(fake: FakeRegistry, reply: int) -> None:
    """A proxy without IPv6 cannot reach the host's IPv6 address."""
    with SocksProxy({"[fd00::1]:80": reply, "192.0.2.1:80": fake.host}) as server:
        host, _, port = server.host.rpartition(":")
        proxy = ProxyAddress("socks5", host, int(port))
        made: list[socket.socket] = []

        def dial() -> socket.socket:
            made.append(socket.create_connection((host, int(port)), 10))
            return made[-1]

        sock, reached = connect_through(proxy, ["fd00::1", "192.0.2.1"], 80, dial)
        with sock:
            assert (sock, reached) == (made[1], "192.0.2.1")
        assert server.requests == ["[fd00::1]:80", "192.0.2.1:80"]
        with pytest.raises(SocksRefusal):
            connect_through(proxy, ["192.0.2.1", "fd00::1"], 81, dial)
        assert server.requests[2:] == ["192.0.2.1:81", "[fd00::1]:81"]


def test_a_refusal_by_rule_stops_trying_addresses(fake: FakeRegistry) -> None:
    with SocksProxy({"192.0.2.1:80": 2, "192.0.2.2:80": fake.host}) as server:
        host, _, port = server.host.rpartition(":")
        proxy = ProxyAddress("socks5", host, int(port))

        def dial() -> socket.socket:
            return socket.create_connection((host, int(port)), 10)

        with pytest.raises(SocksRefusal, match="ruleset"):
            connect_through(proxy, ["192.0.2.1", "192.0.2.2"], 80, dial)
        assert server.requests == ["192.0.2.1:80"]


def test_a_name_that_the_client_cannot_look_up(patient: Callable[..., Transport]) -> None:
    with SocksProxy({}) as proxy:
        transport = patient(ProxySettings(other=f"socks5://{proxy.host}"))
        with pytest.raises(NetworkError, match=r"nosuch\.invalid: no such host") as caught:
            transport.send(HttpRequest("GET", "https://nosuch.invalid/v2/"), CancelToken())
        assert "socks5h://" in caught.value.hint
        assert proxy.requests == []


def test_plain_http_is_the_same_as_without_a_proxy(
    patient: Callable[..., Transport], fake: FakeRegistry
) -> None:
    """No absolute URLs, and no headers for the proxy."""
    with SocksProxy({"plain.test:80": fake.host}, credentials=("me", SECRET)) as proxy:
        transport = patient(ProxySettings(other=f"socks5h://me:{SECRET}@{proxy.host}"))
        answer = transport.send(HttpRequest("GET", "http://plain.test/v2/"), CancelToken())
        assert answer.status == 200
        (request,) = fake.requests
        assert request.path == "/v2/"
        assert "proxy-authorization" not in request.headers


@pytest.mark.parametrize(
    ("reply", "said", "transient"),
    [
        (1, "general SOCKS server failure", True),
        (2, "connection not allowed by ruleset", False),
        (3, "network unreachable", True),
        (4, "host unreachable", True),
        (5, "connection refused by destination host", True),
        (6, "TTL expired", True),
        (7, "command not supported", False),
        (8, "address type not supported", False),
        (99, "invalid reply code", True),
    ],
)
def test_refusals_of_the_proxy(
    patient: Callable[..., Transport], reply: int, said: str, *, transient: bool
) -> None:
    with SocksProxy({"h.test:443": reply}) as proxy:
        transport = patient(ProxySettings(other=f"socks5h://{proxy.host}"))
        with pytest.raises(NetworkError) as caught:
            transport.send(HttpRequest("GET", "https://h.test/"), CancelToken())
    begins = f"h.test: the proxy socks5h://{proxy.host} refused to connect ("
    assert str(caught.value).startswith(begins)
    assert said.lower() in str(caught.value).lower()
    assert caught.value.transient is transient
    # An insecure host that does not listen for TLS may speak plain http.
    assert isinstance(caught.value, TlsUnavailable) == (reply == 5)


@pytest.mark.parametrize(
    ("sent", "said", "transient"),
    [
        (b"", "connection closed unexpectedly", True),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unexpected SOCKS version number", False),
        (b"\x05\xff", "authentication methods", False),
        (b"\x05\x01", "authentication method", False),
        (b"\x05\x00", "connection closed unexpectedly", True),
        (b"\x05\x00\x05\x00\x00\x01", "connection closed unexpectedly", True),
    ],
)
def test_a_server_of_another_protocol(
    serve: Callable[..., Any], patient: Callable[..., Transport], sent: bytes, said: str,
    *, transient: bool,
) -> None:  # fmt: skip
    def talk(peer: Any) -> None:
        peer.sock.recv(100)
        peer.sock.sendall(sent)
        peer.sock.shutdown(socket.SHUT_WR)
        while peer.sock.recv(100):
            pass

    proxy = serve(talk)
    transport = patient(ProxySettings(other=f"socks5h://{proxy.host}"))
    with pytest.raises(NetworkError) as caught:
        transport.send(HttpRequest("GET", "https://h.test/"), CancelToken())
    assert said.lower() in str(caught.value).lower()
    assert caught.value.transient is transient
    if b"HTTP" in sent:
        assert f"http://{proxy.host}" in caught.value.hint


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_missing_proxy(patient: Callable[..., Transport], scheme: str) -> None:
    gone = f"127.0.0.1:{refused_port()}"
    transport = patient(ProxySettings(other=f"{scheme}://me:{SECRET}@{gone}"))
    said = f"{NAME}: the proxy {scheme}://{gone}: connection refused"
    with pytest.raises(NetworkError, match=said) as caught:
        transport.send(HttpRequest("GET", f"https://{NAME}/"), CancelToken())
    assert not isinstance(caught.value, TlsUnavailable)
    assert SECRET not in str(caught.value) + caught.value.hint


def test_a_silent_proxy_times_out_and_is_named(wherry: Wherry) -> None:
    with SilentPort() as port:
        env = {"ALL_PROXY": f"socks5h://me:{SECRET}@{port.host}"}
        arguments = ("--timeout", "0.5", "--retries", "1", "h.test/app:t")
        done = wherry("digest", *arguments, env=env)
        assert done.returncode == 6
        said, hint = done.stderr.splitlines()
        named = f"the proxy socks5h://{port.host}"
        assert said == f"wherry: h.test: {named}: no answer within the time-out"
        assert "ALL_PROXY" in hint
        debug = wherry("--debug", "digest", *arguments, env=env)
        assert SECRET not in done.stderr + debug.stderr


def test_a_host_name_that_is_too_long_for_socks5(patient: Callable[..., Transport]) -> None:
    with SocksProxy({}) as proxy:
        transport = patient(ProxySettings(other=f"socks5h://{proxy.host}"))
        host = ".".join(["x" * 60] * 5)
        with pytest.raises(WherryError, match="is not a valid host name"):
            transport.send(HttpRequest("GET", f"https://{host}/"), CancelToken())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.timeout(20)
def test_waiting_for_a_silent_proxy_can_be_cancelled(patient: Callable[..., Transport]) -> None:
    with SilentPort() as port:
        transport = patient(ProxySettings(other=f"socks5h://{port.host}"))
        cancel = CancelToken()

        def stop() -> None:
            wait_for(lambda: port.received)
            cancel.cancel()

        thread = threading.Thread(target=stop)
        thread.start()
        before = descriptors()
        with pytest.raises(Cancelled):
            transport.send(HttpRequest("GET", "https://h.test/"), cancel)
        thread.join()
        wait_for(lambda: descriptors() <= before)


def test_python_socks_is_loaded_only_for_socks_proxies(fake: FakeRegistry) -> None:
    """Other requests must not take the time for it."""
    code = """
import sys
from wherry.content.cancel import CancelToken
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.transport import Transport
transport = Transport(connections=1, proxies=ProxySettings(other=sys.argv[2]))
print(transport.send(HttpRequest("GET", sys.argv[1]), CancelToken()).status)
print(any(name.startswith("python_socks") for name in sys.modules))
"""
    with SocksProxy({"h.test:80": fake.host}) as proxy:
        for url, setting, loaded in (
            (
                f"{fake.url}/v2/",
                f"socks5h://{proxy.host}",
                False,
            ),  # this machine is never reached through a proxy
            ("http://h.test/v2/", f"socks5h://{proxy.host}", True),
        ):
            done = subprocess.run(
                [sys.executable, "-c", code, url, setting],
                check=True, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert done.stdout == f"200\n{loaded}\n"
