"""Connections: through proxies, by the certificates that are configured, to whom they belong."""

import base64
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wherry import Client, NetworkError, Store, WherryError
from wherry.testing import (
    FakeRegistry,
    HttpProxy,
    Tunnel,
    build_image,
    make_certificate,
    make_client_certificate,
    refused_port,
    tar_layer,
)

pytestmark = pytest.mark.usefixtures("environment")

IMAGE = build_image([tar_layer({"a": b"x" * 1000})])
NAME = "registry.test:4443"


@pytest.fixture
def secure(certificates: tuple[Path, Path, Path]) -> Iterator[FakeRegistry]:
    with FakeRegistry(tls=certificates[1:]) as registry:
        registry.add_image("app", IMAGE, "t")
        yield registry


@pytest.fixture
def trusted(
    certificates: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))


def pull(store: Store, name: str, **options: Any) -> str:
    with Client(store=store, retries=1, **options) as client:
        return str(client.pull(name).id)


def certs_d(environment: dict[str, str], host: str, **files: Path) -> Path:
    directory = Path(environment["XDG_CONFIG_HOME"]) / "containers" / "certs.d" / host
    directory.mkdir(parents=True)
    for name, file in files.items():
        (directory / name.replace("_", ".")).write_bytes(file.read_bytes())
    return directory


# Proxies


@pytest.mark.parametrize("behind", ["http", "https"])
@pytest.mark.usefixtures("trusted")
def test_https_goes_through_a_tunnel(
    behind: str,
    store: Store,
    secure: FakeRegistry,
    certificates: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SPEC: "`HTTPS_PROXY`/`NO_PROXY`"; the registry's certificate is checked as without one."""
    tls = certificates[1:] if behind == "https" else None
    with HttpProxy({NAME: secure.host}, tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert pull(store, f"{NAME}/app:t") == IMAGE.id
    assert set(proxy.requests) == {Tunnel("CONNECT", NAME)}
    assert len(proxy.requests) == secure.connections  # a tunnel is used again and again


def test_a_certificate_behind_a_proxy_is_checked(
    store: Store, secure: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy({NAME: secure.host}) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(NetworkError, match=r"registry\.test:4443: its certificate"):
            pull(store, f"{NAME}/app:t")
        assert secure.requests == []
        assert pull(store, f"{NAME}/app:t", insecure=True) == IMAGE.id


def test_plain_http_is_asked_for_by_whole_addresses(
    store: Store, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add_image("app", IMAGE, "t")
    with HttpProxy({"registry.test:5000": fake.host}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert pull(store, "registry.test:5000/app:t", insecure=True) == IMAGE.id
    tunnel, *plain = proxy.requests  # first in TLS, which the registry does not speak
    assert tunnel == Tunnel("CONNECT", "registry.test:5000")
    assert plain[0] == Tunnel("HEAD", "http://registry.test:5000/v2/app/manifests/t")
    assert len(plain) == len(fake.requests)
    assert all("proxy-authorization" not in request.headers for request in fake.requests)


def test_plain_http_is_tried_where_nobody_takes_connections_for_tls(
    store: Store, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC: "`--insecure`: https without verification first, http only if …"; port 80 alone."""
    fake.add_image("app", IMAGE, "t")
    host = f"0.0.0.0:{refused_port()}"  # this machine, but one that proxies are asked for
    with HttpProxy({host: fake.host}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert pull(store, f"{host}/app:t", insecure=True) == IMAGE.id
        fake.clear()
        with pytest.raises(NetworkError, match="connection refused") as caught:
            pull(store, f"{host}/app:t")
        assert caught.value.transient
        assert fake.requests == []


def test_who_needs_no_proxy_gets_none(
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


def test_a_proxy_that_is_not_there_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    port = refused_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret-pw@127.0.0.1:{port}")
    with pytest.raises(
        NetworkError, match=rf"h\.test: the proxy http://127\.0\.0\.1:{port}"
    ) as caught:
        pull(store, "h.test/app:t")
    assert "secret-pw" not in str(caught.value)
    assert "refused" in str(caught.value)


def test_a_proxy_that_cannot_be_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks4://me:secret-pw@127.0.0.1:1")
    with pytest.raises(WherryError, match="HTTPS_PROXY: socks4") as caught:
        pull(store, "h.test/app:t")
    assert "secret-pw" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_belongs_to_the_host_is_not_for_the_proxy(
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


# Certificates


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "certs.d", "directory"]
)
def test_an_authority_that_is_configured_is_trusted(
    variable: str,
    environment: dict[str, str],
    store: Store,
    secure: FakeRegistry,
    certificates: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = certificates[0]
    with pytest.raises(NetworkError, match="not trusted"):
        pull(store, f"{secure.host}/app:t")
    if variable == "certs.d":
        certs_d(environment, secure.host, ca_crt=authority)
    elif variable == "directory":  # as OpenSSL's c_rehash fills it: by the hash of the subject
        directory = authority.parent / "hashed"
        directory.mkdir()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority)
        (directory / f"{subject_hash(authority)}.0").write_bytes(authority.read_bytes())
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(directory))
    else:
        monkeypatch.setenv(variable, str(authority))
    assert pull(store, f"{secure.host}/app:t") == IMAGE.id


def subject_hash(certificate: Path) -> str:
    import subprocess

    done = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", certificate],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_file_of_authorities_that_is_not_there_is_named(
    variable: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/no/such/file")
    with pytest.raises(WherryError, match=f"{variable}: /no/such/file: no such file"):
        pull(store, "h.invalid/app:t")


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"\0" * 100])
def test_a_file_that_holds_no_authority_is_named(
    content: bytes, environment: dict[str, str], store: Store, secure: FakeRegistry, tmp_path: Path
) -> None:
    (tmp_path / "bad").write_bytes(content)
    certs_d(environment, secure.host, ca_crt=tmp_path / "bad")
    with pytest.raises(WherryError, match=rf"{secure.host}/ca\.crt: no authorities") as caught:
        pull(store, f"{secure.host}/app:t")
    assert "PEM" in caught.value.hint


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("content", [b"", b"not a certificate"])
def test_a_variable_whose_file_holds_no_authority_is_named(
    variable: str,
    content: bytes,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "bad").write_bytes(content)
    monkeypatch.setenv(variable, str(tmp_path / "bad"))
    with pytest.raises(WherryError, match=f"{variable}: {tmp_path}/bad: no authorities") as caught:
        pull(store, "h.invalid/app:t")
    assert "PEM" in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "said"), [("SSL_CERT_FILE", "no authorities"), ("SSL_CERT_DIR", "no such dir")]
)
def test_a_file_is_no_directory_of_authorities(
    variable: str,
    said: str,
    store: Store,
    certificates: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = certificates[0] if variable == "SSL_CERT_DIR" else certificates[0].parent
    monkeypatch.setenv(variable, str(place))
    with pytest.raises(WherryError, match=f"{variable}: {place}: {said}"):
        pull(store, "h.invalid/app:t")
    if variable == "SSL_CERT_DIR":  # several, of which one will do
        monkeypatch.setenv(variable, f"/no/such/directory:{certificates[0].parent}")
        with pytest.raises(NetworkError, match="no such host"):
            pull(store, "h.invalid/app:t")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_for_another_host_is_not_for_want_of_an_authority(
    host: str,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority, *pair = make_certificate(tmp_path / "other", ["registry.test"])
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with FakeRegistry(tls=(pair[0], pair[1])) as registry:
        name = f"{host}:{registry.port}/app:t"
        with pytest.raises(NetworkError, match="its certificate is for another name") as caught:
            pull(store, name)
    assert "authority" not in caught.value.hint
    assert "SSL_CERT_FILE" not in caught.value.hint
    assert "--insecure" in caught.value.hint


def test_an_expired_certificate_is_not_for_want_of_an_authority(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, *pair = make_certificate(tmp_path / "old", expired=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with (
        FakeRegistry(tls=(pair[0], pair[1])) as registry,
        pytest.raises(NetworkError, match="its certificate is not valid now") as caught,
    ):
        pull(store, f"{registry.host}/app:t")
    assert "authority" not in caught.value.hint
    assert "clock" in caught.value.hint


def test_a_client_certificate_is_shown_to_its_host(
    environment: dict[str, str],
    store: Store,
    certificates: tuple[Path, Path, Path],
) -> None:
    authority, certificate, key = certificates
    _, mine, my_key = make_client_certificate(authority.parent)
    with FakeRegistry(tls=(certificate, key), client_ca=authority) as registry:
        registry.add_image("app", IMAGE, "t")
        directory = certs_d(environment, registry.host, ca_crt=authority)
        with pytest.raises(NetworkError):
            pull(store, f"{registry.host}/app:t")
        for name, file in (("client.cert", mine), ("client.key", my_key)):
            (directory / name).write_bytes(file.read_bytes())
        assert pull(store, f"{registry.host}/app:t") == IMAGE.id


def test_a_client_certificate_is_not_shown_where_its_host_sends_us(
    environment: dict[str, str],
    store: Store,
    certificates: tuple[Path, Path, Path],
) -> None:
    """SPEC: "Credentials go to the host that they are for and to nobody else"."""
    authority, certificate, key = certificates
    _, mine, my_key = make_client_certificate(authority.parent)
    with FakeRegistry(tls=(certificate, key), client_ca=authority) as storage:
        storage.add_image("app", IMAGE, "t")
        with FakeRegistry(
            tls=(certificate, key), client_ca=authority, redirect_blobs_to=storage.url
        ) as registry:
            registry.add_image("app", IMAGE, "t")
            files = {"ca_crt": authority, "client_cert": mine, "client_key": my_key}
            certs_d(environment, registry.host, **files)
            with pytest.raises(NetworkError, match=storage.host):
                pull(store, f"{registry.host}/app:t")
            assert storage.requests == []
            certs_d(environment, storage.host, client_cert=mine, client_key=my_key)
            assert pull(store, f"{registry.host}/app:t") == IMAGE.id


def test_a_key_under_a_passphrase_is_an_error_and_no_question(
    environment: dict[str, str],
    store: Store,
    secure: FakeRegistry,
    certificates: tuple[Path, Path, Path],
) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    _, mine, my_key = make_client_certificate(certificates[0].parent)
    key = load_pem_private_key(my_key.read_bytes(), None)
    form = Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
    my_key.write_bytes(key.private_bytes(*form))
    certs_d(environment, secure.host, client_cert=mine, client_key=my_key)
    with pytest.raises(WherryError, match=r"client\.cert: cannot be used with its key") as caught:
        pull(store, f"{secure.host}/app:t")
    assert "passphrase" in caught.value.hint
