"""Certificates, and TLS of the fake registry."""

import http.client
import ssl
from pathlib import Path

import pytest

from wherry.testing import (
    Cut,
    FakeRegistry,
    Fault,
    Stall,
    make_certificate,
    make_client_certificate,
)


def ask(host: str, path: str, context: ssl.SSLContext) -> bytes:
    connection = http.client.HTTPSConnection(host, context=context, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_certificate_is_valid_for_its_hosts(tmp_path: Path) -> None:
    authority, certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with FakeRegistry(tls=(certificate, key)) as registry:
        assert registry.url == f"https://127.0.0.1:{registry.port}"
        assert ask(registry.host, "/v2/", context) == b"{}"
        assert ask(f"localhost:{registry.port}", "/v2/", context) == b"{}"
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(registry.host, "/v2/", ssl.create_default_context())


def test_another_host_is_refused(tmp_path: Path) -> None:
    authority, certificate, key = make_certificate(tmp_path, ["example.org"])
    context = ssl.create_default_context(cafile=authority)
    with (
        FakeRegistry(tls=(certificate, key)) as registry,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ask(registry.host, "/v2/", context)


def test_a_server_may_require_client_certificates(tmp_path: Path) -> None:
    authority, certificate, key = make_certificate(tmp_path)
    _, mine, my_key = make_client_certificate(tmp_path)
    context = ssl.create_default_context(cafile=authority)
    with FakeRegistry(tls=(certificate, key), client_ca=authority) as registry:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(registry.host, "/v2/", context)
        context.load_cert_chain(mine, my_key)
        assert ask(registry.host, "/v2/", context) == b"{}"


def test_plain_http_is_told_to_use_tls(tmp_path: Path) -> None:
    _, certificate, key = make_certificate(tmp_path)
    with FakeRegistry(tls=(certificate, key)) as registry:
        connection = http.client.HTTPConnection(registry.host, timeout=10)
        connection.request("GET", "/v2/")
        response = connection.getresponse()
        assert response.status == 400
        assert response.read() == b"Client sent an HTTP request to an HTTPS server.\n"
        connection.close()
        assert registry.requests == []


def test_faults_work_under_tls(tmp_path: Path) -> None:
    authority, certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=authority)
    with FakeRegistry(tls=(certificate, key)) as registry:
        path = "/v2/a/blobs/" + registry.add_blob(bytes(1_000_000))
        registry.inject(Fault(Cut(after=300_000), times=1))
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(registry.host, path, context)
        assert len(caught.value.partial) == 300_000
        registry.inject(Fault(Stall(after=10, seconds=0.1), times=1))
        assert len(ask(registry.host, path, context)) == 1_000_000
