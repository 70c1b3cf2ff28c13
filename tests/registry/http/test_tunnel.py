"""CONNECT tunnels through a proxy, and TLS inside TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wherry import Client, NetworkError, Store
from wherry.content.cancel import CancelToken
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.request import HttpRequest
from wherry.testing import (
    Chunked,
    ContentLength,
    Cut,
    FakeRegistry,
    Fault,
    HttpProxy,
    SetHeader,
    TcpProxy,
    Tunnel,
    build_image,
    make_certificate,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from wherry.registry.http.transport import Transport

    Files = tuple[Path, Path, Path]

pytestmark = pytest.mark.usefixtures("environment")

NAME = "registry.test:4443"
BLOB = bytes(range(256)) * 12_000  # 3 MB
IMAGE = build_image([tar_layer(pseudo_random_files(8, 4_000_000, 3))])


@pytest.fixture
def within(way: Callable[[str], Any]) -> Iterator[Any]:
    with way("within") as made:
        yield made


@pytest.fixture
def behind(
    certificates: Files, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[FakeRegistry, HttpProxy]]:
    """A registry with an image, which a client reaches through an https proxy."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    with (
        FakeRegistry(tls=certificates[1:]) as registry,
        HttpProxy({NAME: registry.host}, tls=certificates[1:]) as proxy,
    ):
        registry.add_image("app", IMAGE, "t")
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        yield registry, proxy


def pull(store: Store, **options: Any) -> str:
    with Client(store=store, **options) as client:
        return str(client.pull(f"{NAME}/app:t").id)


@pytest.mark.usefixtures("behind")
def test_a_large_layer_is_received_through_tls_within_tls(store: Store) -> None:
    assert len(IMAGE.layers[0].data) > 2_000_000
    assert pull(store, retries=1) == IMAGE.id
    assert store.check().problems == []


@pytest.mark.parametrize("reset", [False, True])
def test_a_download_resumes_after_a_cut_within_the_tunnel(
    store: Store, behind: tuple[FakeRegistry, HttpProxy], *, reset: bool
) -> None:
    registry, _ = behind
    fault = registry.inject(Fault(Cut(after=1_000_000, reset=reset), path="/blobs/", times=1))
    assert pull(store) == IMAGE.id
    assert fault.count == 1


@pytest.mark.parametrize("reset", [False, True])
def test_a_download_resumes_after_a_cut_before_the_proxy(
    store: Store,
    behind: tuple[FakeRegistry, HttpProxy],
    monkeypatch: pytest.MonkeyPatch,
    *,
    reset: bool,
) -> None:
    port = int(behind[1].host.rpartition(":")[2])
    with TcpProxy(port, cuts=[700_000, 1_000_000], reset=reset) as cutting:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{cutting.host}")
        assert pull(store) == IMAGE.id
    assert any(each.cut for each in cutting.connections)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 1_000_000, len(BLOB) - 1])
def test_a_truncated_body_within_the_tunnel_is_a_transient_error(
    within: Any, cut: int, *, chunked: bool
) -> None:
    path = f"/v2/app/blobs/{within.registry.add_blob(BLOB)}"
    within.registry.inject(Fault(Cut(after=cut), times=1))
    if chunked:
        within.registry.inject(Fault(Chunked()))
    response = within.send(path=path)
    with pytest.raises(NetworkError, match=rf"^{NAME}: the connection was cut off") as caught:
        response.read(len(BLOB))
    assert caught.value.transient
    response.close()
    assert within.send(path=path).read(len(BLOB)) == BLOB


@pytest.mark.parametrize(
    "ends",
    [[], [Chunked()], [SetHeader("Connection", "close")], [ContentLength(None)]],
    ids=["length", "chunks", "close", "only close"],
)
@pytest.mark.parametrize("kind", ["tunnel", "within"])
def test_a_body_of_every_framing_is_complete(
    way: Callable[[str], Any], kind: str, ends: list[Any]
) -> None:
    with way(kind) as to:
        path = f"/v2/app/blobs/{to.registry.add_blob(BLOB)}"
        for action in ends:
            to.registry.inject(Fault(action))
        for _ in range(2):
            assert to.send(path=path).read(len(BLOB)) == BLOB
        closing = bool(ends) and not isinstance(ends[0], Chunked)
        assert to.registry.connections == len(to.proxy.requests) == 1 + closing
        assert to.send("HEAD", path).read(10) == b""


def test_a_large_request_body_is_sent_through_tls_within_tls(within: Any) -> None:
    assert within.send("POST", body=BLOB).status == 405
    request = within.registry.requests[-1]
    assert request.bytes_received == len(BLOB)
    assert request.body == BLOB[: len(request.body)]


@pytest.mark.parametrize("behind_tls", [False, True], ids=["http proxy", "https proxy"])
def test_a_wrong_certificate_of_the_registry_is_not_blamed_on_the_proxy(
    patient: Callable[..., Transport], certificates: Files, *, behind_tls: bool
) -> None:
    other = make_certificate(certificates[0].parent / "other", ["other.test"])
    tls = certificates[1:]
    for pair, problem in ((other[1:], "not trusted"), (tls, "for another name")):
        with (
            FakeRegistry(tls=pair) as registry,
            HttpProxy({"h.test:443": registry.host}, tls=tls if behind_tls else None) as proxy,
        ):
            transport = patient(ProxySettings(https=proxy.url))
            with pytest.raises(NetworkError, match=rf"^h\.test: .*{problem}") as caught:
                transport.send(HttpRequest("GET", "https://h.test/v2/"), CancelToken())
            assert proxy.requests == [Tunnel("CONNECT", "h.test:443")]
            assert registry.requests == []
        assert not caught.value.transient
        assert "proxy" not in str(caught.value)
        assert "certs.d/h.test" in caught.value.hint or problem != "not trusted"


def test_a_proxy_with_a_wrong_certificate_gets_no_request(
    patient: Callable[..., Transport], certificates: Files
) -> None:
    other = make_certificate(certificates[0].parent, ["other.test"])
    with HttpProxy({}, tls=other[1:]) as proxy:
        transport = patient(ProxySettings(https=proxy.url))
        with pytest.raises(NetworkError, match=rf"the proxy {proxy.url}: .* another name"):
            transport.send(HttpRequest("GET", "https://h.test/v2/"), CancelToken())
        assert proxy.requests == []


@pytest.mark.parametrize("kind", ["http", "https"])
def test_an_ipv6_address_has_brackets_for_the_proxy_as_well(
    patient: Callable[..., Transport], certificates: Files, kind: str
) -> None:
    """RFC 9110, 7.1; the certificate has the address without brackets."""
    pair = make_certificate(certificates[0].parent, ["2001:db8::1", "127.0.0.1"])[1:]
    with (
        FakeRegistry(tls=pair) as registry,
        HttpProxy(
            {"[2001:db8::1]:4443": registry.host}, tls=pair if kind == "https" else None
        ) as proxy,
    ):
        transport = patient(ProxySettings(https=proxy.url))
        request = HttpRequest("GET", "https://[2001:db8::1]:4443/v2/")
        assert transport.send(request, CancelToken()).read(10) == b"{}"
    assert proxy.requests == [Tunnel("CONNECT", "[2001:db8::1]:4443")]
    assert registry.requests[0].headers["host"] == "[2001:db8::1]:4443"


HEADS = [
    (b"", "cut off"),
    (b"HTTP/1.1 200 OK\r\n", "cut off"),
    (b"HTTP/1.1 200 OK\r\nA: b", "cut off"),
    (b"SSH-2.0-OpenSSH\r\n\r\n", "cut off"),
    (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", r"refused to connect \(502\)"),
    (b"HTTP/1.1 403 No\r\nContent-Length: 9999\r\n\r\nno", r"refused to connect \(403\)"),
]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(("head", "said"), HEADS, ids=range(len(HEADS)))
def test_a_response_of_the_proxy_that_opens_no_tunnel(
    serve: Callable[..., Any],
    patient: Callable[..., Transport],
    head: bytes,
    said: str,
    *,
    tls: bool,
) -> None:
    asked = []

    def talk(peer: Any) -> None:
        asked.append(peer.head())
        peer.sock.sendall(head)

    proxy = serve(talk, tls=tls)
    transport = patient(ProxySettings(https=f"{'https' if tls else 'http'}://me:pw@{proxy.host}"))
    with pytest.raises(NetworkError, match=said) as caught:
        transport.send(HttpRequest("GET", "https://h.test/v2/"), CancelToken())
    assert f"{proxy.host}" in str(caught.value) + caught.value.hint
    assert "me:pw" not in str(caught.value) + caught.value.hint
    assert caught.value.transient == (b"403" not in head)
    first, *fields = asked[0].decode().split("\r\n")
    assert first == "CONNECT h.test:443 HTTP/1.1"
    assert {"Host: h.test:443", "Proxy-Authorization: Basic bWU6cHc="} <= set(fields)
