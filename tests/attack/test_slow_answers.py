"""Slow and endless responses, which a limit of the client ends with one clear line."""

from __future__ import annotations

import contextlib
import itertools
import socketserver
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import wherry as library
from wherry.content.cancel import CancelToken
from wherry.errors import NetworkError
from wherry.registry.certs_d import CaBundle
from wherry.registry.http.deadlines import Timeouts
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.transport import Transport
from wherry.testing import HttpProxy, build_image, make_certificate, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    Answers = Callable[[str], Iterable[bytes]]

pytestmark = pytest.mark.usefixtures("environment")

READ = 0.75  # seconds without a byte; limits: twice that for a head, four times for a document
STEP = 0.02  # seconds between two pieces of a slow response
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
IMAGE = build_image([tar_layer({"a": b"1"})])


class HostileServer(socketserver.ThreadingTCPServer):
    """A server that answers with the pieces that a function of the target yields."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answers: Answers) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.StreamRequestHandler)
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.targets: list[str] = []
        self._answers = answers

    def finish_request(self, request: Any, client_address: object) -> None:  # noqa: ARG002
        request.settimeout(30)
        with contextlib.suppress(OSError), request.makefile("rb") as file:
            while line := file.readline():
                while file.readline().strip():
                    pass
                target = line.split()[1].decode("latin-1")
                self.targets.append(target)
                for piece in self._answers(target):
                    request.sendall(piece)


@pytest.fixture
def hostile() -> Iterator[Callable[[Answers], HostileServer]]:
    """Return a function that starts a server, which runs until the test ends."""
    with contextlib.ExitStack() as end:

        def start(answers: Answers) -> HostileServer:
            server = end.enter_context(HostileServer(answers))
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            end.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(connections=1, timeouts=Timeouts(connect=5.0, read=READ))
    yield made
    made.close()


@pytest.fixture
def quick(store: library.Store) -> Iterator[library.Client]:
    """A client with the timeouts of the transport of these tests."""
    with library.Client(store=store, timeout=READ, retries=2) as made:
        yield made


def drip(*pieces: bytes) -> Iterator[bytes]:
    """Yield bytes one by one, and then the last piece without end."""
    for piece in itertools.chain(pieces[:-1], itertools.repeat(pieces[-1])):
        for each in piece:
            time.sleep(STEP)
            yield bytes([each])


def endless(start: bytes, piece: bytes) -> Iterator[bytes]:
    """Yield a piece without end, as fast as the client reads."""
    return itertools.chain([start], itertools.repeat(piece))


HEADS = {
    "one byte after the other": lambda: drip(b"H", b"TTP/1.1 200 OK\r\nX: ", b"y"),
    "interim answers": lambda: endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "100 Continue": lambda: endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "slow interim answers": lambda: drip(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"),
    "interim answers with fields": lambda: endless(b"", b"HTTP/1.1 102 P\r\nX: y\r\n\r\n"),
    "fields of 100 Continue": lambda: endless(
        b"HTTP/1.1 100 C\r\n", b"X: " + b"y" * 60_000 + b"\r\n"
    ),
    "fields": lambda: endless(OK, b"X: y\r\n"),
    "long fields": lambda: endless(OK, b"X: " + b"y" * 60_000 + b"\r\n"),
    "one field": lambda: endless(OK + b"X: ", b"y" * 10_000),
    "folded lines": lambda: endless(OK + b"X: y\r\n", b" y\r\n"),
    "status line": lambda: endless(b"HTTP/1.1 200 ", b"y" * 10_000),
}


@pytest.mark.parametrize("attack", HEADS)
def test_heads(
    hostile: Callable[[Answers], HostileServer], transport: Transport, attack: str
) -> None:
    server = hostile(lambda _: HEADS[attack]())
    with pytest.raises(NetworkError) as error:
        transport.send(HttpRequest("GET", f"http://{server.host}/"), CancelToken())
    assert not error.value.transient
    assert str(error.value).startswith(f"{server.host}: ")
    bounds = ("seconds", "256 KiB", "100 fields", "16 interim answers")
    assert any(bound in error.value.message for bound in bounds)


BODIES = {
    "one byte after the other": lambda: drip(OK + b"Content-Length: 99999\r\n\r\n", b"y"),
    "chunks of a byte": lambda: drip(CHUNKED, b"1\r\ny\r\n"),
    "trailers": lambda: endless(CHUNKED + b"1\r\ny\r\n0\r\n", b"X: y\r\n"),
    "slow trailers": lambda: drip(CHUNKED + b"1\r\ny\r\n0\r\n", b"X: y\r\n"),
    "an extension": lambda: endless(CHUNKED + b"1;", b"y" * 10_000),
    "extensions": lambda: endless(CHUNKED, b"1;" + b"y" * 60_000 + b"\r\ny\r\n"),
    "zeros of a size": lambda: endless(CHUNKED, b"0" * 10_000),
    "an end that does not come": lambda: drip(OK + b"\r\n", b"y"),
}


@pytest.mark.parametrize("attack", BODIES)
def test_documents(
    hostile: Callable[[Answers], HostileServer], transport: Transport, attack: str
) -> None:
    server = hostile(lambda _: BODIES[attack]())
    with pytest.raises(NetworkError) as error:
        transport.send(HttpRequest("GET", f"http://{server.host}/"), CancelToken()).read(2**22)
    assert not error.value.transient
    assert str(error.value).startswith(f"{server.host}: ")


# Through the whole client


def reply(raw: bytes, *fields: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(raw)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + raw


def honest(target: str) -> bytes:
    """Return the response of a registry: the manifest for any tag, or a blob of the image."""
    if "/manifests/" in target:
        kind, raw = IMAGE.manifest.media_type, IMAGE.manifest.data
        return reply(raw, f"Content-Type: {kind}", f"Docker-Content-Digest: {IMAGE.digest}")
    found = [blob.data for blob in IMAGE.blobs() if target.endswith(blob.digest)]
    return reply(found[0]) if found else reply(b"{}")


def slowly(answer: bytes) -> Iterator[bytes]:
    """Yield the head at once, and the body byte by byte."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    return itertools.chain([head + blank], drip(body, b""))


CONFIG, LAYER = IMAGE.config.digest, IMAGE.layers[0].digest
ASKS = 'WWW-Authenticate: Bearer realm="http://{host}/token",service="s"'
PLACES: dict[str, tuple[str, Callable[[library.Client, str], object]]] = {
    "the manifest": ("/manifests/", lambda it, name: it.inspect(name)),
    "the config": (CONFIG, lambda it, name: it.config(name)),
    "a layer": (LAYER, lambda it, name: it.pull(name)),
    "the tag list": ("/tags/list", lambda it, name: it.tags(name.rpartition(":")[0])),
    "the referrers": ("/referrers/", lambda it, name: it.referrers(name)),
    "a token": ("/token", lambda it, name: it.inspect(name)),
    "an error": ("/manifests/", lambda it, name: it.inspect(name)),
}


@pytest.mark.parametrize("place", PLACES)
def test_each_answer_of_a_registry(
    hostile: Callable[[Answers], HostileServer], quick: library.Client, place: str
) -> None:
    part, call = PLACES[place]

    def answers(target: str) -> Iterable[bytes]:
        if place == "a token" and "/manifests/" in target:
            return [reply(b"", ASKS.format(host=server.host), status="401 Unauthorized")]
        if part in target and place == "an error":
            return slowly(reply(b"x" * 60_000, status="400 Bad Request"))
        return slowly(reply(b"x" * 60_000)) if part in target else [honest(target)]

    server = hostile(answers)
    with pytest.raises(NetworkError) as error:
        call(quick, f"{server.host}/app:t")
    assert "takes over 3 seconds at less than" in error.value.message
    assert sum(part in target for target in server.targets) <= 2


def test_a_redirect_with_a_slow_body(
    hostile: Callable[[Answers], HostileServer], quick: library.Client
) -> None:
    def answers(target: str) -> Iterable[bytes]:
        if "old" in target:
            return slowly(reply(b"x" * 60_000, "Location: /v2/app/manifests/t", status="307 X"))
        return [honest(target)]

    server = hostile(answers)
    assert quick.inspect(f"{server.host}/app:old").digest == IMAGE.digest


def test_the_command_says_what_was_bounded(
    hostile: Callable[[Answers], HostileServer], wherry: Any
) -> None:
    server = hostile(lambda _: HEADS["slow interim answers"]())
    done = wherry("inspect", f"{server.host}/app:t", "--timeout", str(READ))
    assert done.returncode == 6
    assert f"{server.host}: the head of its answer takes over 1.5 seconds" in done.stderr
    assert "--timeout" in done.stderr
    assert "Traceback" not in done.stderr


# Before the first request


PROXIES: dict[str, tuple[str, Callable[[], Iterable[bytes]]]] = {
    "an answer to CONNECT": ("http", lambda: drip(b"HTTP/1.1 200 OK\r\nX: ", b"y")),
    "interim answers to CONNECT": ("http", lambda: endless(b"", b"HTTP/1.1 103 X\r\n\r\n")),
    "an answer in SOCKS5": ("socks5h", lambda: drip(b"\5\0\5\0\0\3\377", b"y")),
}


@pytest.mark.parametrize("attack", PROXIES)
def test_proxies(hostile: Callable[[Answers], HostileServer], attack: str) -> None:
    scheme, pieces = PROXIES[attack]

    def answers(_: str) -> Iterable[bytes]:
        return pieces()

    server = EagerServer(answers) if scheme == "socks5h" else hostile(answers)
    proxies = ProxySettings(https=f"{scheme}://{server.host}")
    with contextlib.ExitStack() as end:
        if isinstance(server, EagerServer):
            end.enter_context(server)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            end.callback(server.shutdown)
        made = Transport(connections=1, timeouts=Timeouts(connect=READ, read=READ), proxies=proxies)
        end.callback(made.close)
        with pytest.raises(NetworkError) as error:
            made.send(HttpRequest("GET", "https://registry.test/"), CancelToken())
    assert "the proxy" in str(error.value)


class EagerServer(HostileServer):
    """A server that sends its pieces without reading a request."""

    def finish_request(self, request: Any, client_address: object) -> None:  # noqa: ARG002
        with contextlib.suppress(OSError):
            for piece in self._answers(""):
                request.sendall(piece)


@pytest.mark.parametrize("within", [False, True], ids=["tls", "tls within tls"])
def test_a_slow_handshake(tmp_path: Path, *, within: bool) -> None:
    """A TLS record of 16 KB arrives byte by byte."""
    authority, *pair = make_certificate(tmp_path / "tls", ["127.0.0.1"])
    with contextlib.ExitStack() as end:
        server = end.enter_context(EagerServer(lambda _: drip(b"\x16\3\3\x40\0\2", b"\0")))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        end.callback(server.shutdown)
        proxies = ProxySettings()
        if within:
            hosts = {"registry.test:443": server.host}
            proxy = end.enter_context(HttpProxy(hosts, tls=(pair[0], pair[1])))
            proxies = ProxySettings(https=proxy.url)
        made = Transport(
            connections=1,
            timeouts=Timeouts(connect=READ, read=READ),
            proxies=proxies,
            ca_bundle=CaBundle("REQUESTS_CA_BUNDLE", authority),
        )
        end.callback(made.close)
        url = "https://registry.test/" if within else f"https://{server.host}/"
        with pytest.raises(NetworkError):
            made.send(HttpRequest("GET", url), CancelToken())


# Slow, but honest


def test_an_honest_server_may_be_slow(
    hostile: Callable[[Answers], HostileServer], quick: library.Client
) -> None:
    """10 KB/s is ten times the minimum for a blob, which takes far longer than a head."""
    large = build_image([tar_layer({"a": bytes(range(256)) * 240})], compression="none")

    def pieces(blob: bytes) -> Iterator[bytes]:
        answer = reply(blob)
        for at in range(0, len(answer), 200):
            time.sleep(STEP)
            yield answer[at : at + 200]

    def answers(target: str) -> Iterable[bytes]:
        found = [blob.data for blob in large.blobs() if target.endswith(blob.digest)]
        if not found:
            kind = large.manifest.media_type
            return [reply(large.manifest.data, f"Content-Type: {kind}")]
        return pieces(found[0])

    server = hostile(answers)
    assert quick.pull(f"{server.host}/app:t").id == large.id
    assert len(server.targets) <= 4  # no blob in two pieces


def test_interim_answers_extensions_and_trailers_are_allowed(
    hostile: Callable[[Answers], HostileServer], transport: Transport
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5
    extension = b";chunk-signature=" + b"0" * 64
    chunks = (b"400" + extension + b"\r\n" + b"y" * 1024 + b"\r\n") * 3000
    server = hostile(lambda _: [early + CHUNKED, chunks, b"0\r\nDigest: x\r\nExpires: y\r\n\r\n"])
    request = HttpRequest("GET", f"http://{server.host}/")
    for _ in range(2):
        assert transport.send(request, CancelToken()).read(2**22) == b"y" * 1024 * 3000


def test_tiny_chunks_are_allowed(
    hostile: Callable[[Answers], HostileServer], transport: Transport
) -> None:
    server = hostile(lambda _: [CHUNKED + b"0001\r\ny\r\n" * 100_000 + b"0\r\n\r\n"])
    request = HttpRequest("GET", f"http://{server.host}/")
    assert transport.send(request, CancelToken()).read(2**22) == b"y" * 100_000
