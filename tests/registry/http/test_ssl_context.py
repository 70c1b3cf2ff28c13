"""Authorities and client certificates: which are trusted, and which host they are shown to."""

import ssl
from pathlib import Path

import pytest

from tls_pulls import IMAGE, certs_d, pull
from wherry import NetworkError, Store, WherryError
from wherry.testing import (
    FakeRegistry,
    make_certificate,
    make_client_certificate,
)

pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "certs.d", "directory"]
)
def test_a_configured_authority_is_trusted(
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
    elif variable == "directory":  # as c_rehash of OpenSSL names files: by the hash of the subject
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
def test_a_missing_file_of_authorities_is_named(
    variable: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/no/such/file")
    with pytest.raises(WherryError, match=f"{variable}: /no/such/file: no such file"):
        pull(store, "h.invalid/app:t")


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"\0" * 100])
def test_a_file_without_authorities_is_named(
    content: bytes, environment: dict[str, str], store: Store, secure: FakeRegistry, tmp_path: Path
) -> None:
    (tmp_path / "bad").write_bytes(content)
    certs_d(environment, secure.host, ca_crt=tmp_path / "bad")
    with pytest.raises(WherryError, match=rf"{secure.host}/ca\.crt: no authorities") as caught:
        pull(store, f"{secure.host}/app:t")
    assert "PEM" in caught.value.hint


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("content", [b"", b"not a certificate"])
def test_a_variable_with_a_file_without_authorities_is_named(
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
def test_a_file_is_not_a_directory_of_authorities(
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
    if variable == "SSL_CERT_DIR":  # one of several directories is enough
        monkeypatch.setenv(variable, f"/no/such/directory:{certificates[0].parent}")
        with pytest.raises(NetworkError, match="no such host"):
            pull(store, "h.invalid/app:t")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_for_another_host_has_its_own_hint(
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


def test_an_expired_certificate_has_its_own_hint(
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


def test_a_client_certificate_is_sent_to_its_host(
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


def test_a_client_certificate_is_not_sent_behind_a_redirect(
    environment: dict[str, str],
    store: Store,
    certificates: tuple[Path, Path, Path],
) -> None:
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


def test_a_key_with_a_passphrase_is_an_error_without_a_prompt(
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
