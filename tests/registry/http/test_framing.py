"""Framing of responses, and URLs, against servers that send exact bytes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from wherry.content.cancel import CancelToken
from wherry.errors import Cancelled, NetworkError
from wherry.model.digest import Digest
from wherry.registry.blob_response import BlobSizes
from wherry.registry.distribution_api import open_url
from wherry.registry.http.connection import Route
from wherry.registry.http.deadlines import Timeouts
from wherry.registry.http.operation import Operation
from wherry.registry.http.pool import ConnectionPool
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.transport import Transport
from wherry.registry.session import Session
from wherry.testing import HttpProxy, Tunnel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from raw_server import Script

PATIENCE = 10.0  # seconds for events that happen at once
OK = b"HTTP/1.1 200 OK\r\n"
LAST = OK + b"Content-Length: 4\r\n\r\nlast"


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(connections=1, timeouts=Timeouts(connect=PATIENCE, read=PATIENCE / 2))
    yield made
    made.close()


def get(transport: Transport, server: Script) -> bytes:
    request = HttpRequest("GET", server.url)
    return transport.send(request, CancelToken()).read(1 << 20)


# Framing


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints", "199 X"])
def test_interim_responses_are_skipped(
    transport: Transport, status: str, scripted: Callable[..., Script]
) -> None:
    """RFC 9110, 15.2: "A client MUST be able to parse one or more 1xx responses"."""
    before = f"HTTP/1.1 {status}\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n".encode()
    first = OK + b"Content-Length: 5\r\n\r\nfirst"
    server = scripted(before + before + first, LAST)
    assert get(transport, server) == b"first"
    assert get(transport, server) == b"last"


@pytest.mark.parametrize(
    "coding",
    [
        "gzip, chunked",
        "chunked, chunked",
        "gzip",
        "identity",
        "chunked\r\nTransfer-Encoding: chunked",
        "",
        "x",
    ],
)
def test_other_transfer_codings_are_refused_at_once(
    transport: Transport, coding: str, scripted: Callable[..., Script]
) -> None:
    """RFC 9112, 6.3: such a body may end only with the connection."""
    server = scripted(
        OK + f"Transfer-Encoding: {coding}\r\n\r\n".encode() + b"5\r\nfirst\r\n0\r\n\r\n"
    )
    with pytest.raises(NetworkError, match="a transfer coding that is not supported"):
        get(transport, server)


@pytest.mark.parametrize("coding", ["chunked", "Chunked", " CHUNKED"])
def test_chunked_bodies_are_read(
    transport: Transport, coding: str, scripted: Callable[..., Script]
) -> None:
    server = scripted(
        OK + f"Transfer-Encoding:{coding}\r\n\r\n5\r\nfirst\r\n0\r\n\r\n".encode(), LAST
    )
    assert get(transport, server) == b"first"
    assert get(transport, server) == b"last"


@pytest.mark.parametrize("said", ["Content-Length: 5, 5", "Content-Length: 5\r\nContent-Length: 5"])
def test_a_repeated_length_is_accepted(
    transport: Transport, said: str, scripted: Callable[..., Script]
) -> None:
    server = scripted(OK + f"{said}\r\n\r\nfirst".encode(), LAST)
    assert get(transport, server) == b"first"
    assert get(transport, server) == b"last"


@pytest.mark.parametrize(
    "said",
    [
        "Content-Length: 5, 6",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -5, -5",
        f"Content-Length: {'9' * 5000}, {'9' * 5000}",
    ],
)
def test_different_lengths_are_an_error(
    transport: Transport, said: str, scripted: Callable[..., Script]
) -> None:
    """RFC 9112, 6.3: "the message framing is invalid"; the next bytes may be anything."""
    server = scripted(OK + f"{said}\r\n\r\nfirst!".encode(), LAST)
    with pytest.raises(NetworkError, match="cut off"):
        get(transport, server)
    assert get(transport, server) == b"last"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none_whatever_the_headers_say(
    transport: Transport, status: int, scripted: Callable[..., Script]
) -> None:
    """RFC 9112, 6.3."""
    first = f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    server = scripted(first, LAST)
    assert get(transport, server) == b""
    assert get(transport, server) == b"last"


# Ends


@pytest.mark.parametrize("body", [b"zz\r\n", b"5\r\nfi"])
def test_a_failed_read_closes_the_connection(body: bytes, scripted: Callable[..., Script]) -> None:
    transport = Transport(connections=1, timeouts=Timeouts(connect=PATIENCE, read=0.1))
    cancel = CancelToken()
    server = scripted(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    response = transport.send(HttpRequest("GET", server.url), cancel)
    with pytest.raises(NetworkError):
        response.read(100)
    assert server.left.acquire(timeout=PATIENCE / 2)
    transport.close()


def test_a_cancelled_body_without_a_length_is_not_complete(
    transport: Transport, scripted: Callable[..., Script]
) -> None:
    """Cancelling ends the connection, and the end of the connection ends such a body."""
    cancel = CancelToken()
    server = scripted(OK + b"\r\nhalf")
    response = transport.send(HttpRequest("GET", server.url), cancel)
    assert response.read1(100) == b"half"
    cancel.cancel()
    with pytest.raises(Cancelled):
        response.read1(100)
    assert server.left.acquire(timeout=PATIENCE / 2)


def test_a_cancelled_operation_does_not_connect(scripted: Callable[..., Script]) -> None:
    """Otherwise the next address of the host would be tried after the first one."""
    cancel = CancelToken()
    cancel.cancel()
    server = scripted(LAST)
    pool = ConnectionPool(Route("127.0.0.1", int(server.host.partition(":")[2]), Timeouts()), 1)
    with pytest.raises(Cancelled):
        pool.send(Operation(cancel), "GET", "/", None, {})
    assert server.heads == []


_SCRIPT = """
import os, resource
from wherry import NetworkError
from wherry.content.cancel import CancelToken
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.transport import Transport
import wherry.registry.http.error_messages  # no file can be opened later
transport = Transport(connections=1)
least = os.open("/dev/null", os.O_RDONLY)
os.close(least)
resource.setrlimit(resource.RLIMIT_NOFILE, (least, least))
try:
    transport.send(HttpRequest("GET", "http://127.0.0.1:1/"), CancelToken())
except NetworkError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
def test_a_socket_that_cannot_be_created_is_a_failed_address() -> None:
    """Without IPv6 in the kernel, the next address is tried in the same way."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout == "127.0.0.1:1: too many open files\n"


# URLs


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["\xe9\x80.test", f"{'a' * 64}.\xfc", "a..b", ".a", ".", "a" * 64])
def test_an_invalid_host_is_not_sent_to_a_proxy(host: str, scheme: str) -> None:
    with HttpProxy({}) as proxy:
        transport = Transport(connections=1, proxies=ProxySettings(http=proxy.url, https=proxy.url))
        with pytest.raises(NetworkError, match="not a valid host name") as caught:
            transport.send(HttpRequest("GET", f"{scheme}://{host}/"), CancelToken())
        assert proxy.requests == []
    assert not caught.value.transient


def test_a_proxy_gets_international_names_in_ascii() -> None:
    with HttpProxy({}) as proxy:
        transport = Transport(connections=1, proxies=ProxySettings(http=proxy.url, https=proxy.url))
        transport.send(HttpRequest("GET", "http://b\xfc.test:5000/x"), CancelToken()).close()
        with pytest.raises(NetworkError, match="502"):
            transport.send(HttpRequest("GET", "https://b\xfc.test/x"), CancelToken())
    assert proxy.requests == [
        Tunnel("GET", "http://xn--b-eha.test:5000/x"),
        Tunnel("CONNECT", "xn--b-eha.test:443"),
    ]


def test_blanks_around_a_header_are_removed(
    transport: Transport, scripted: Callable[..., Script]
) -> None:
    server = scripted(OK + b"Location: \t/a \t\r\nContent-Length: 0\r\n\r\n")
    response = transport.send(HttpRequest("GET", server.url), CancelToken())
    assert response.header("Location") == "/a"
    response.drain()


@pytest.mark.parametrize("path", ["b\xfc?\xe9", "b%C3%BC?%C3%A9"])
def test_a_url_in_a_document_is_sent_as_utf_8(path: str, scripted: Callable[..., Script]) -> None:
    """A URL in a header is decoded as Latin-1 and sent as the same bytes."""
    session = Session(connections=1)
    server = scripted(LAST)
    sizes = BlobSizes(4)
    opened = open_url(session, f"{server.url}{path}", Digest.of(b"blob"), sizes, 0, CancelToken())
    assert opened.stream.read1(9) == b"last"
    opened.stream.close()
    assert server.heads[0].startswith(b"GET /b%C3%BC?%C3%A9 HTTP/1.1\r\n")
    session.close()
