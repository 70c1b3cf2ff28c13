"""Pulls through HTTP proxies: tunnels, plain http, passwords, and proxies that fail."""

import base64
from pathlib import Path

import pytest

from tls_pulls import IMAGE, certs_d, pull
from wherry import NetworkError, Store, WherryError
from wherry.testing import (
    FakeRegistry,
    HttpProxy,
    Tunnel,
    refused_port,
)

pytestmark = pytest.mark.usefixtures("environment")

NAME = "registry.test:4443"


@pytest.mark.parametrize("behind", ["http", "https"])
@pytest.mark.usefixtures("trusted")
def test_https_goes_through_a_tunnel(
    behind: str,
    store: Store,
    secure: FakeRegistry,
    certificates: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The registry's certificate is checked as without a proxy."""
    tls = certificates[1:] if behind == "https" else None
    with HttpProxy({NAME: secure.host}, tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert pull(store, f"{NAME}/app:t") == IMAGE.id
    assert set(proxy.requests) == {Tunnel("CONNECT", NAME)}
    assert len(proxy.requests) == secure.connections  # the tunnel is reused


def test_a_certificate_behind_a_proxy_is_checked(
    store: Store, secure: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy({NAME: secure.host}) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(NetworkError, match=r"registry\.test:4443: its certificate"):
            pull(store, f"{NAME}/app:t")
        assert secure.requests == []
        assert pull(store, f"{NAME}/app:t", insecure=True) == IMAGE.id


def test_plain_http_sends_absolute_urls_to_the_proxy(
    store: Store, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9112, 3.2.2."""
    fake.add_image("app", IMAGE, "t")
    with HttpProxy({"registry.test:5000": fake.host}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert pull(store, "registry.test:5000/app:t", insecure=True) == IMAGE.id
    tunnel, *plain = proxy.requests  # TLS first, which the registry does not speak
    assert tunnel == Tunnel("CONNECT", "registry.test:5000")
    assert plain[0] == Tunnel("HEAD", "http://registry.test:5000/v2/app/manifests/t")
    assert len(plain) == len(fake.requests)
    assert all("proxy-authorization" not in request.headers for request in fake.requests)


def test_an_insecure_registry_may_have_its_tls_port_closed(
    store: Store, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only port 80 is open."""
    fake.add_image("app", IMAGE, "t")
    host = f"0.0.0.0:{refused_port()}"  # this machine, by a name that proxies are used for
    with HttpProxy({host: fake.host}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert pull(store, f"{host}/app:t", insecure=True) == IMAGE.id
        fake.clear()
        with pytest.raises(NetworkError, match="connection refused") as caught:
            pull(store, f"{host}/app:t")
        assert caught.value.transient
        assert fake.requests == []


def test_a_host_in_no_proxy_is_reached_directly(
    store: Store, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add_image("app", IMAGE, "t")
    with HttpProxy({}) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert pull(store, f"{fake.host}/app:t") == IMAGE.id
        monkeypatch.setenv("NO_PROXY", ".invalid")
        with pytest.raises(NetworkError, match="no such host"):
            pull(store, "registry.invalid/app:t")
    assert proxy.requests == []


@pytest.mark.usefixtures("trusted")
def test_a_proxy_with_a_password(
    store: Store, secure: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy({NAME: secure.host}, credentials=("me", "p@ss:w€rd")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss%3Aw%E2%82%ACrd@{proxy.host}")
        assert pull(store, f"{NAME}/app:t") == IMAGE.id
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:wrong-pw@{proxy.host}")
        with pytest.raises(NetworkError, match="407") as caught:
            pull(store, f"{NAME}/app:t")
    shown = str(caught.value) + caught.value.hint + repr(caught.value)
    assert "wrong-pw" not in shown
    assert base64.b64encode(b"me:wrong-pw").decode() not in shown
    assert proxy.host in shown
    assert not caught.value.transient


def test_a_missing_proxy_is_named_in_the_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = refused_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret-pw@127.0.0.1:{port}")
    with pytest.raises(
        NetworkError, match=rf"h\.test: the proxy http://127\.0\.0\.1:{port}"
    ) as caught:
        pull(store, "h.test/app:t")
    assert "secret-pw" not in str(caught.value)
    assert "refused" in str(caught.value)


def test_a_proxy_of_an_unsupported_scheme_is_an_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks4://me:secret-pw@127.0.0.1:1")
    with pytest.raises(WherryError, match="HTTPS_PROXY: socks4") as caught:
        pull(store, "h.test/app:t")
    assert "secret-pw" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_hosts_authorities_are_not_used_for_the_proxy(
    scheme: str,
    environment: dict[str, str],
    store: Store,
    secure: FakeRegistry,
    certificates: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An authority that vouches for the host alone vouches for no proxy."""
    certs_d(environment, NAME, ca_crt=certificates[0])
    with HttpProxy(
        {NAME: secure.host}, tls=certificates[1:] if scheme == "https" else None
    ) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        if scheme == "http":
            assert pull(store, f"{NAME}/app:t") == IMAGE.id
            return
        with pytest.raises(NetworkError, match=rf"the proxy {proxy.url}: its certificate"):
            pull(store, f"{NAME}/app:t")
    assert secure.requests == []
