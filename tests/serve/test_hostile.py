"""Hostile clients: wrong requests, lies about lengths, stalls, and very many of them."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

import wherry
from registry_http import RegistryHttp, digest_of
from wherry.config import host_platform
from wherry.serve.listener import ListenAddress
from wherry.serve.registry import Registry, RegistryOptions
from wherry.serve.server import Binding, run
from wherry.store import LocalStore

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from conftest import Wherry

SHORT = 0.3  # seconds until the server of these tests gives up a client
BLOB = bytes(range(256)) * 400
DIGEST = digest_of(BLOB)
MOST_MIB = 200  # of memory, for any number of clients
CONNECTIONS = 2000


class Address(NamedTuple):
    """The address of a server."""

    host: str
    port: int

    def connect(self) -> socket.socket:
        """Return a connection; it waits less than the server does outside of these tests."""
        return socket.create_connection(self, timeout=10)

    def send(self, raw: bytes, *, shut: bool = False) -> bytes:
        """Send bytes; return all that the server sends until it closes the connection."""
        with self.connect() as connection:
            connection.sendall(raw)
            if shut:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A server that does not wait for long."""
    store = LocalStore(tmp_path_factory.mktemp("served") / "store")
    options = RegistryOptions(stall_seconds=SHORT)
    registry = Registry(store, host_platform(), lambda: pytest.fail("no session"), options)
    binding = Binding(ListenAddress("127.0.0.1", 0), head_seconds=SHORT)
    cancel, ready = wherry.CancelToken(), threading.Event()
    urls: list[str] = []

    def started(url: str) -> None:
        urls.append(url)
        ready.set()

    thread = threading.Thread(target=run, args=(registry, binding, started, cancel))
    thread.start()
    assert ready.wait(10)
    yield Address("127.0.0.1", int(urls[0].rpartition(":")[2]))
    cancel.cancel()
    thread.join()
    store.close()


@pytest.fixture
def http(impatient: Address) -> Iterator[RegistryHttp]:
    """A client; the server must still answer after each test."""
    made = RegistryHttp(f"http://{impatient.host}:{impatient.port}")
    yield made
    made.close()
    assert status(impatient.send(request("GET", "/v2/"))) == 200


def request(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request that asks to close the connection."""
    lines = [f"{method} {target} HTTP/1.1", "Host: a", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("code", "raw"),
    [
        *((404, request("GET", target)) for target in (
            "/v2/../../etc/passwd", "/v2/%2e%2e/%2e%2e/etc/passwd", "//v2/", "/v2/a/blobs",
            "/etc/passwd", "/v2//", "/healthz/", "/v2/a/blobs/sha256:%2e%2e%2f",
            "/v2/a/blobs/../../../etc/passwd",
        )),
        *((400, request("GET", target)) for target in (
            "/v2/a%00b/tags/list", "/v2/A/tags/list", "/v2/../tags/list", "/v2/a/../tags/list",
            "/v2/%ff/tags/list", "/v2/a//b/tags/list", f"/v2/{'a/' * 4000}a/tags/list",
            "/v2/a/blobs/sha256:0", "/v2/a/blobs/sha256:" + "G" * 64, "/v2/a/blobs/md5:" + "0" * 32,
            "/v2/a/blobs/" + "9" * 5000, "/v2/a/referrers/latest",
        )),
        (405, request("BREW", "/v2/")),
        (405, request("DELETE", "/v2/_catalog")),
        (414, request("GET", "/v2/" + "a" * 100_000)),
        (431, request("GET", "/v2/", *(f"X-{number}: a" for number in range(1000)))),
        (400, b"\0\1\2\r\n\r\n"),
        (400, b"GET /v2/ HTTP/9.9\r\n\r\n"),
        (400, request("POST", "/v2/a/blobs/uploads/", "Content-Length: -1")),
        (400, request("POST", "/v2/a/blobs/uploads/", "Content-Length: 1", "Content-Length: 2")),
        (400, request("GET", "/v2/", "Na me: a")),
    ],
    ids=lambda part: part[:45] if isinstance(part, bytes) else None,
)  # fmt: skip
def test_wrong_requests(impatient: Address, http: RegistryHttp, code: int, raw: bytes) -> None:
    answer = impatient.send(raw)
    assert status(answer) == code
    assert b"Traceback" not in answer
    assert len(answer) < 20_000
    assert http("GET", "/v2/").status == 200


@pytest.mark.parametrize(
    ("given", "code", "length"),
    [
        ("bytes=0-0", 206, 1),
        ("bytes=-5", 206, 5),
        (f"bytes={len(BLOB) - 1}-", 206, 1),
        (f"bytes=0-{2**64 - 1}", 206, len(BLOB)),
        (f"bytes=0-{10**30}", 416, None),
        (f"bytes={len(BLOB)}-", 416, None),
        (f"bytes={10**30}-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-2", 416, None),
        ("bytes=0-1,3-4", 200, len(BLOB)),
        ("bytes=" + ",".join(["0-"] * 3000), 200, len(BLOB)),
        ("bytes=a-b", 416, None),
        ("lines=0-1", 200, len(BLOB)),
    ],
)
def test_ranges(http: RegistryHttp, given: str, code: int, length: int | None) -> None:
    http("POST", f"/v2/ranges/blobs/uploads/?digest={DIGEST}", BLOB)
    answer = http("GET", f"/v2/ranges/blobs/{DIGEST}", None, ("Range", given))
    assert answer.status == code
    if length is not None:
        assert len(answer.body) == length


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((f"Content-Length: {len(BLOB) + 10}",), BLOB),
        (("Transfer-Encoding: chunked",), b"%x\r\n%b\r\n" % (len(BLOB), BLOB)),
        (("Transfer-Encoding: chunked",), b"zz\r\n" + BLOB),
        (("Transfer-Encoding: chunked",), b"ffffffffffffffffff\r\n" + BLOB),
    ],
    ids=["too short", "no last chunk", "no length", "a huge length"],
)
@pytest.mark.parametrize("shut", [True, False], ids=["closed", "stalled"])
def test_a_body_that_lies_becomes_no_blob(
    impatient: Address, http: RegistryHttp, repository: str, shut: bool,
    headers: tuple[str, ...], body: bytes,
) -> None:  # fmt: skip
    target = f"/v2/{repository}/blobs/uploads/?digest={DIGEST}"
    answer = impatient.send(request("POST", target, *headers, body=body), shut=shut)
    assert not answer or status(answer) == 400
    assert http("GET", f"/v2/{repository}/blobs/{DIGEST}").status == 404


@pytest.mark.parametrize("target", ["manifests/1", f"blobs/uploads/?digest={DIGEST}"])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_body_that_is_no_sequence_of_chunks(
    impatient: Address, http: RegistryHttp, repository: str, method: str, target: str
) -> None:
    raw = request(method, f"/v2/{repository}/{target}", "Transfer-Encoding: chunked", body=b"!\xf2")
    assert status(impatient.send(raw)) in {400, 405}
    assert http("GET", f"/v2/{repository}/tags/list").status == 404


def test_a_body_longer_than_its_length_is_another_request(
    impatient: Address, http: RegistryHttp, repository: str
) -> None:
    target = f"/v2/{repository}/blobs/uploads/?digest={DIGEST}"
    smuggled = BLOB + request("DELETE", f"/v2/{repository}/blobs/{DIGEST}")
    head = request("POST", target, f"Content-Length: {len(BLOB)}")
    assert status(impatient.send(head + smuggled)) == 201
    assert http("GET", f"/v2/{repository}/blobs/{DIGEST}").body == BLOB


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v2/ HTTP/1.1\r\nHost:"], ids=["nothing", "half a head"]
)
def test_a_client_that_sends_no_request_is_given_up(impatient: Address, sent: bytes) -> None:
    begin = time.monotonic()
    assert impatient.send(sent) == b""
    assert time.monotonic() - begin > SHORT / 2


# Very many clients, of a server that is a process of its own


@contextlib.contextmanager
def served(wherry: Wherry) -> Iterator[tuple[Address, subprocess.Popen[str]]]:
    """Run `wherry serve`."""
    process = wherry.start("serve", "--listen", "127.0.0.1:0")
    assert process.stderr is not None
    line = process.stderr.readline()
    try:
        yield Address("127.0.0.1", int(line.partition(";")[0].rpartition(":")[2])), process
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def peak_mib(process: subprocess.Popen[str]) -> int:
    """Return the peak of the memory of a process."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:  # noqa: PTH123 - not a path
        return next(int(line.split()[1]) >> 10 for line in file if line.startswith("VmHWM"))


@pytest.fixture
def many_files() -> Iterator[int]:
    """Raise the limit of open files; yield how many connections a test can open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(CONNECTIONS, hard // 2 - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_idle_connections(wherry: Wherry, many_files: int) -> None:
    with served(wherry) as (address, process), contextlib.ExitStack() as idle:
        for _ in range(many_files):
            idle.enter_context(address.connect())
        assert status(address.send(request("GET", "/v2/"))) == 200
        assert peak_mib(process) < MOST_MIB


def test_many_clients_that_do_not_read(wherry: Wherry, many_files: int) -> None:
    large = bytes(20 << 20)
    digest = digest_of(large)
    with served(wherry) as (address, process), contextlib.ExitStack() as slow:
        http = RegistryHttp(f"http://{address.host}:{address.port}")
        assert http("POST", f"/v2/a/blobs/uploads/?digest={digest}", large).status == 201
        for _ in range(min(200, many_files)):
            slow.enter_context(address.connect()).sendall(request("GET", f"/v2/a/blobs/{digest}"))
        assert len(http("GET", f"/v2/a/blobs/{digest}").body) == len(large)
        assert peak_mib(process) < MOST_MIB
        http.close()


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_half_open_uploads(wherry: Wherry, count: int) -> None:
    with served(wherry) as (address, process):
        http = RegistryHttp(f"http://{address.host}:{address.port}")
        begun = [http.started("a/b") for _ in range(count)]
        assert http("PATCH", begun[0].location, BLOB).status == 202
        assert http("PUT", f"{begun[0].location}?digest={DIGEST}", b"").status == 201
        assert f"wherry_uploads_open {count - 1}.0\n".encode() in http("GET", "/metrics").body
        assert peak_mib(process) < MOST_MIB
        http.close()
