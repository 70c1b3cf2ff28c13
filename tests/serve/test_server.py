"""The server process: start, addresses, certificates, stop."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import wherry
from registry_http import RegistryHttp, digest_of
from wherry.serve.listener import ListenAddress, parse
from wherry.testing.certs import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from asgi_client import AsgiClient

    Serve = Callable[..., AbstractContextManager[str]]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
INDEX = f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}'.encode()
LARGE = os.urandom(1 << 20) * 8  # more than the buffers of a connection


def test_a_server_answers_on_a_free_port(url: str) -> None:
    with urllib.request.urlopen(f"{url}/v2/") as answer:  # noqa: S310 - an http address
        assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        assert answer.read() == b"{}"


def test_the_base_needs_no_slash(api: AsgiClient) -> None:
    with_slash, without = api("GET", "/v2/"), api("GET", "/v2")
    assert (without.status, without.headers) == (200, with_slash.headers)


def test_the_application_answers_without_sockets(api: AsgiClient) -> None:
    answer = api("GET", "/v2/")
    assert (answer.status, answer.body) == (200, b"{}")
    assert api("GET", "/v2/UPPER/tags/list").codes == ["NAME_INVALID"]


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("127.0.0.1:5000", "127.0.0.1:5000", "localhost:5000"),
        ("localhost:5001", "127.0.0.1:5001", "localhost:5001"),
        ("[::1]:5000", "[::1]:5000", "localhost:5000"),
        ("192.0.2.1:80", "192.0.2.1:80", "192.0.2.1:80"),
        ("[2001:db8::1]:5000", "[2001:db8::1]:5000", "[2001:db8::1]:5000"),
        (":5000", "0.0.0.0:5000", f"{socket.gethostname().lower()}:5000"),
    ],
)
def test_addresses(text: str, address: str, name: str) -> None:
    assert (str(parse(text)), parse(text).name) == (address, name)


@pytest.mark.parametrize("text", ["", "5000", "localhost", "localhost:", "a:b", "a:65536", "a:-1"])
def test_texts_that_are_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="write HOST:PORT"):
        parse(text)


@pytest.mark.parametrize("host", ["name.invalid", "a..b", "\0", "é" * 70])
def test_a_host_without_an_address(host: str) -> None:
    with pytest.raises(wherry.WherryError, match="cannot be resolved"):
        parse(f"{host}:5000")


@pytest.mark.parametrize("taken", ["by another program", "by wherry"])
def test_a_port_that_is_in_use(serve_store: Serve, client: wherry.Client, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, serve_store(client.store.path) as url:
        port = other.getsockname()[1] if taken == "by another program" else urlsplit(url).port
        with pytest.raises(wherry.WherryError) as caught:
            client.serve(f"127.0.0.1:{port}")
    assert str(caught.value) == f"127.0.0.1:{port}: cannot listen (Address already in use)"
    assert "--listen" in caught.value.hint


@pytest.mark.parametrize("name", ["", "acme", "a/b", "a_b.c", "host:port", "http://a.b"])
def test_names_that_cannot_be_a_registry(client: wherry.Client, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a registry"):
        client.serve("127.0.0.1:0", name=name)


def test_the_name_of_a_server_is_in_the_names_of_what_is_pushed(
    serve_store: Serve, client: wherry.Client
) -> None:
    with serve_store(client.store.path, name="registry.example.org") as url:
        http_client = RegistryHttp(url)
        assert http_client.put_manifest("acme/app", "1", INDEX, OCI_INDEX).status == 201
        http_client.close()
    assert client.manifest("store:registry.example.org/acme/app:1").raw == INDEX


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_a_server_with_a_certificate(
    serve_store: Serve, tmp_path: Path, certificate: tuple[Path, Path, Path]
) -> None:
    authority, *files = certificate
    with serve_store(tmp_path / "store", tls=tuple(files)) as url:
        assert url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=authority)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.maximum_version = version
            with urllib.request.urlopen(f"{url}/v2/", context=context) as answer:  # noqa: S310 - as above
                assert answer.read() == b"{}"


def test_files_that_are_no_certificate_and_key(
    client: wherry.Client, tmp_path: Path, certificate: tuple[Path, Path, Path]
) -> None:
    _, good, key = certificate
    _, _, other = make_certificate(tmp_path / "other")
    text, locked = tmp_path / "text", tmp_path / "locked"
    text.write_text("nothing\n")
    command = ("openssl", "pkey", "-in", key, "-out", locked, "-aes256", "-passout", "pass:x")
    subprocess.run(command, check=True)
    for pair, message in (
        ((good, other), f"{other}: the key does not belong to {good}"),
        ((text, key), f"{text}: the file has no PEM certificate"),
        ((key, key), f"{key}: the file has no PEM certificate"),
        ((good, text), f"{text}: the file has no PEM key"),
        ((good, locked), f"{locked}: the key has a password"),
        ((good, tmp_path), f"{tmp_path}: Is a directory"),
        ((tmp_path / "none", key), f"{tmp_path / 'none'}: No such file or directory"),
    ):
        with pytest.raises(wherry.WherryError) as caught:
            client.serve("127.0.0.1:0", tls=pair)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"], "private key"),
        (["-newkey", "rsa:1024"], "too small"),
    ],
    ids=["a curve", "a short key"],
)
def test_keys_that_the_server_cannot_use(
    client: wherry.Client, tmp_path: Path, options: list[str], said: str
) -> None:
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    files = ["-keyout", str(key), "-out", str(certificate)]
    make = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=localhost", *options, *files]
    subprocess.run(make, check=True, capture_output=True)
    with pytest.raises(wherry.WherryError) as caught:
        client.serve("127.0.0.1:0", tls=(certificate, key))
    message = f"{certificate}: the server cannot use this certificate and its key"
    assert str(caught.value).startswith(message)
    assert said in str(caught.value)
    assert "P-256" in caught.value.hint


# Stop


def test_a_running_download_is_finished_before_the_end(tmp_path: Path) -> None:
    cancel, begun = wherry.CancelToken(), threading.Event()
    urls: list[str] = []
    got: list[bytes] = []

    def download() -> None:
        http_client = RegistryHttp(urls[0])
        digest = digest_of(LARGE)
        assert http_client("POST", f"/v2/a/blobs/uploads/?digest={digest}", LARGE).status == 201
        http_client.close()
        connection = http.client.HTTPConnection(urlsplit(urls[0]).netloc)
        connection.request("GET", f"/v2/a/blobs/{digest}")
        response = connection.getresponse()
        begun.set()
        time.sleep(0.1)  # the server is stopping meanwhile
        got.append(response.read())

    def ready(url: str) -> None:
        urls.append(url)
        threads[0].start()
        threads[1].start()

    def stop() -> None:
        begun.wait(10)
        cancel.cancel()

    threads = [threading.Thread(target=download), threading.Thread(target=stop)]
    with wherry.Client(store=tmp_path / "store") as client:
        client.serve("127.0.0.1:0", on_ready=ready, cancel=cancel)
    for thread in threads:
        thread.join()
    assert got == [LARGE]


def test_clients_that_stall_do_not_delay_the_end(tmp_path: Path) -> None:
    """This takes the time that running requests get."""
    program = """
import socket, sys, threading, time, wherry
from urllib.parse import urlsplit
cancel, open_ = wherry.CancelToken(), []
def ready(url):
    address = urlsplit(url).hostname, urlsplit(url).port
    for head in (b"", b"GET /v2/ HT", b"POST /v2/a/blobs/uploads/?digest=sha256:" + b"0" * 64
                 + b" HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 99\\r\\n\\r\\nabc"):
        open_.append(socket.create_connection(address))
        open_[-1].sendall(head)
    threading.Timer(0.1, stop).start()
def stop():
    global begin
    begin = time.monotonic()
    cancel.cancel()
with wherry.Client(store=sys.argv[1]) as client:
    client.serve("127.0.0.1:0", on_ready=ready, cancel=cancel)
print(time.monotonic() - begin)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert 0.5 < float(done.stdout) < 1


def test_closing_the_client_ends_the_server(tmp_path: Path) -> None:
    client = wherry.Client(store=tmp_path / "store")
    client.serve("127.0.0.1:0", on_ready=lambda _url: threading.Thread(target=client.close).start())
    with pytest.raises(RuntimeError, match="closed"):
        client.serve("127.0.0.1:0")


def test_a_cancelled_call_serves_nothing(client: wherry.Client) -> None:
    cancel = wherry.CancelToken()
    cancel.cancel()
    client.serve("127.0.0.1:0", cancel=cancel)


def test_an_error_of_on_ready_ends_the_server(client: wherry.Client) -> None:
    urls: list[str] = []

    def fail(url: str) -> None:
        urls.append(url)
        raise LookupError(url)

    with pytest.raises(LookupError):
        client.serve("127.0.0.1:0", on_ready=fail)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(urls[0]).port or 0))


def test_loopback_addresses() -> None:
    assert ListenAddress("127.0.0.2", 1).is_loopback
    assert not ListenAddress("192.0.2.1", 1).is_loopback
    assert not ListenAddress("::1:2", 1).is_loopback
