"""The parts of `http.client` that wherry relies on beyond its documentation.

`registry/http/framing.py`, `connection.py`, `tunnel.py` and `pool.py` use private attributes and
undocumented behaviour of the standard library. Each test pins one of them, so that a new version
of Python that changes it fails here, by name. The tests need no server.
"""

from __future__ import annotations

import http.client
import inspect
import io
import socket
from typing import TYPE_CHECKING, Any

import pytest

from wherry.registry.http.connection import Connection, Route
from wherry.registry.http.deadlines import DeadlineFile, Timeouts
from wherry.registry.http.framing import StrictResponse, UnacceptableResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Respond = Callable[..., http.client.HTTPResponse]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def respond() -> Iterator[Respond]:
    """Make a response of a class that reads given bytes from a socket."""
    sockets: list[socket.socket] = []

    def make(
        raw: bytes, method: str = "GET", kind: Callable[..., Any] = http.client.HTTPResponse
    ) -> Any:
        ours, theirs = socket.socketpair()
        sockets.extend((ours, theirs))
        ours.settimeout(5)
        theirs.sendall(raw)
        theirs.shutdown(socket.SHUT_WR)
        return kind(ours, method=method)

    yield make
    for each in sockets:
        each.close()


def strict(sock: socket.socket, method: str) -> StrictResponse:
    return StrictResponse(sock, method=method, timeouts=Timeouts())


# HTTPResponse


def test_a_response_takes_a_socket_and_a_method() -> None:
    """`HTTPConnection.getresponse` calls ``response_class(sock, method=...)``."""
    parameters = list(inspect.signature(http.client.HTTPResponse.__init__).parameters)
    assert parameters[:4] == ["self", "sock", "debuglevel", "method"]


def test_fp_is_a_buffered_reader_of_the_sockets_file(respond: Respond) -> None:
    """`StrictResponse` detaches the raw file from ``fp`` and keeps the socket open with it."""
    response = respond(OK + b"\r\n")
    assert isinstance(response.fp, io.BufferedReader)
    raw = response.fp.detach()
    assert isinstance(raw, socket.SocketIO)
    raw.close()


def test_fp_can_be_replaced_before_the_head_is_read(respond: Respond) -> None:
    response = respond(b"")
    response.fp.close()
    response.fp = io.BufferedReader(io.BytesIO(OK + b"Content-Length: 3\r\n\r\nabc"))
    response.begin()
    assert (response.status, response.read()) == (200, b"abc")


def test_begin_reads_the_head_by_readline_alone(respond: Respond) -> None:
    """`_HeadFile` has no other method for reading, and passes a limit on."""
    limits: list[int] = []

    class Lines:
        def __init__(self, file: Any) -> None:
            self._file = file
            self.close = file.close

        def readline(self, limit: int) -> bytes:
            limits.append(limit)
            line: bytes = self._file.readline(limit)
            return line

    response = respond(OK + b"A: b\r\nContent-Length: 0\r\n\r\n")
    file, response.fp = response.fp, Lines(response.fp)  # type: ignore[assignment]
    response.begin()
    assert len(limits) == 4
    assert set(limits) == {http.client._MAXLINE + 1}  # type: ignore[attr-defined]  # noqa: SLF001 - pinned here
    file.close()


def test_begin_returns_at_once_if_headers_are_set(respond: Respond) -> None:
    """After an interim response `StrictResponse` sets ``headers`` to None to read on."""
    first, second = b"HTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\n", OK + b"A: 2\r\n\r\n"
    response = respond(first + second)
    assert response.headers is None
    response.begin()
    response.begin()
    assert (response.status, response.headers["A"]) == (103, "1")
    response.headers = None
    response.begin()
    assert (response.status, response.headers["A"]) == (200, "2")


def test_begin_skips_only_100(respond: Respond) -> None:
    response = respond(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"\r\n")
    response.begin()
    assert response.status == 200


def test_a_peer_that_sends_nothing_has_disconnected(respond: Respond) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        respond(b"").begin()


def test_fp_is_none_after_an_invalid_status_line(respond: Respond) -> None:
    """`StrictResponse` restores ``fp`` after an error only if it is not None."""
    response = respond(b"SSH-2.0-OpenSSH_9.2\r\n")
    with pytest.raises(http.client.BadStatusLine):
        response.begin()
    assert response.fp is None


def test_too_many_fields_are_a_plain_http_exception(respond: Respond) -> None:
    """`StrictResponse` recognises the library's limit by the exact class."""
    raw = OK + b"A: b\r\n" * 200 + b"\r\n"
    with pytest.raises(http.client.HTTPException) as caught:
        respond(raw).begin()
    assert type(caught.value) is http.client.HTTPException
    with pytest.raises(UnacceptableResponse):
        respond(raw, kind=strict).begin()


@pytest.mark.parametrize("method", ["GET", "HEAD", "CONNECT"])
def test_the_method_is_kept(respond: Respond, method: str) -> None:
    assert respond(OK, method)._method == method  # type: ignore[attr-defined]  # noqa: SLF001 - pinned here


def test_a_head_that_is_cut_off_is_accepted(respond: Respond) -> None:
    """So `StrictResponse` has to compare the last line; if this changes, it need not."""
    response = respond(OK + b"Location: /half")
    response.begin()
    assert response.headers["Location"] == "/half"
    with pytest.raises(http.client.RemoteDisconnected):
        respond(OK + b"Location: /half", kind=strict).begin()


# Bodies


def test_length_counts_down_as_the_body_is_read(respond: Respond) -> None:
    """`StrictResponse.read1` takes a length that is left for a truncated body."""
    response = respond(OK + b"Content-Length: 5\r\n\r\nabc")
    response.begin()
    assert response.length == 5
    assert response.read1(3) == b"abc"
    assert response.length == 2
    assert response.read1(3) == b""


def test_length_is_set_before_the_body_is_read(respond: Respond) -> None:
    """`StrictResponse` sets a length that the library did not accept, or not strictly."""
    response = respond(OK + b"Content-Length: 3, 3\r\n\r\nabcde")
    response.begin()
    assert response.length is None
    response.length = 3
    assert response.read() == b"abc"


def test_a_truncated_body_is_an_error_in_a_strict_response(respond: Respond) -> None:
    response = respond(OK + b"Content-Length: 5\r\n\r\nabc", kind=strict)
    response.begin()
    assert response.read1(9) == b"abc"
    with pytest.raises(http.client.IncompleteRead):
        response.read1(9)


def test_chunked_is_an_attribute_that_decides_how_the_body_is_read(respond: Respond) -> None:
    response = respond(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
    response.begin()
    assert response.chunked
    response.chunked = False
    assert response.read() == b"3\r\nabc\r\n0\r\n\r\n"


def test_chunk_sizes_are_read_by_a_method_that_can_be_overridden(respond: Respond) -> None:
    """`StrictResponse._read_next_chunk_size` checks the line that the library has parsed."""
    sizes: list[int] = []

    class Watching(http.client.HTTPResponse):
        def _read_next_chunk_size(self) -> int:
            size: int = super()._read_next_chunk_size()  # type: ignore[misc]
            sizes.append(size)
            return size

    raw = CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for read in (Watching.read, lambda response: response.read1(3) + response.read1(3)):
        sizes.clear()
        response: Any = respond(raw, kind=Watching)
        response.begin()
        assert read(response) == b"abcde"
        assert sizes[:2] == [3, 2]


def test_chunk_left_is_what_is_left_of_the_chunk(respond: Respond) -> None:
    response = respond(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
    response.begin()
    assert response.chunk_left is None
    assert response.read1(2) == b"ab"
    assert response.chunk_left == 1


def test_a_chunked_body_is_read_by_four_methods_of_fp(respond: Respond) -> None:
    """`_ChunkedFile` has these methods only; the library must not use others."""

    class Narrow:
        def __init__(self, file: Any) -> None:
            self.readline, self.read, self.read1 = file.readline, file.read, file.read1
            self.flush, self.close = file.flush, file.close

    raw = CHUNKED + b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
    for read in ("read", "read1"):
        response = respond(raw)
        response.begin()
        response.fp = Narrow(response.fp)  # type: ignore[assignment]
        found = b""
        while data := getattr(response, read)(2):
            found += data
        assert found == b"abcde"
        response.close()


@pytest.mark.parametrize("size", [b"+3", b"0x3", b"3_0", b" 3", b"-1"])
def test_a_chunk_size_that_int_accepts_is_an_error_in_a_strict_response(
    respond: Respond, size: bytes
) -> None:
    response = respond(CHUNKED + size + b"\r\nabc\r\n0\r\n\r\n", kind=strict)
    response.begin()
    with pytest.raises((http.client.HTTPException, ValueError)):
        response.read1(9)


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (OK + b"Content-Length: 0\r\n\r\n", False),
        (OK + b"Content-Length: 0\r\nConnection: close\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (OK + b"\r\n", True),
    ],
)
def test_will_close_says_whether_the_connection_can_be_reused(
    respond: Respond, head: bytes, *, closes: bool
) -> None:
    response = respond(head)
    response.begin()
    assert bool(response.will_close) is closes


# DeadlineFile below StrictResponse


def test_a_strict_response_reads_through_a_file_with_a_deadline(respond: Respond) -> None:
    response = respond(OK + b"Content-Length: 3\r\n\r\nabc", kind=strict)
    assert isinstance(response.fp, io.BufferedReader)
    assert isinstance(response.fp.raw, DeadlineFile)
    response.begin()
    assert response.read() == b"abc"
    assert response.isclosed()


# HTTPConnection


def test_a_connection_makes_its_responses_by_response_class() -> None:
    assert http.client.HTTPConnection.response_class is http.client.HTTPResponse
    connection = Connection(Route("h.example", None, Timeouts()))
    ours, theirs = socket.socketpair()
    with theirs:
        connection.sock = ours
        theirs.sendall(OK + b"Content-Length: 0\r\n\r\n")
        connection.request("GET", "/")
        response = connection.getresponse()
        assert isinstance(response, StrictResponse)
        assert response.read() == b""
        connection.close()


def test_a_connection_uses_four_methods_of_its_socket() -> None:
    """`InnerTls` is a socket with these methods only."""
    ours, theirs = socket.socketpair()

    class Narrow:
        def __init__(self) -> None:
            self.sendall, self.makefile = ours.sendall, ours.makefile
            self.recv_into, self.close = ours.recv_into, ours.close

    connection = Connection(Route("h.example", None, Timeouts()))
    with theirs:
        connection.sock = Narrow()
        theirs.sendall(OK + b"Content-Length: 2\r\n\r\n{}")
        connection.request("GET", "/v2/", b"body", {"A": "b"})
        sent = theirs.recv(1000)
        assert sent.startswith(b"GET /v2/ HTTP/1.1\r\nHost: h.example\r\n")
        assert sent.endswith(b"\r\nContent-Length: 4\r\nA: b\r\n\r\nbody")
        response = connection.getresponse()
        assert response.read() == b"{}"
        response.close()
        connection.close()


def test_a_connection_connects_only_where_it_has_no_socket() -> None:
    """`Connection.use` connects before `request`, which must not connect once more."""
    connection = http.client.HTTPConnection("127.0.0.1", 9)
    ours, theirs = socket.socketpair()
    with theirs:
        connection.sock = ours
        connection.connect = lambda: pytest.fail("it connects")  # type: ignore[method-assign]
        connection.request("GET", "/")
        assert theirs.recv(1000).startswith(b"GET / HTTP/1.1\r\n")
        connection.close()


def test_the_default_port_is_not_sent() -> None:
    """`Connection` sets ``default_port`` before the library's ``__init__`` reads it."""
    connection = http.client.HTTPConnection("h.example", 443)
    connection.default_port = 443
    ours, theirs = socket.socketpair()
    with theirs:
        connection.sock = ours
        connection.request("GET", "/")
        assert b"\r\nHost: h.example\r\n" in theirs.recv(1000)
        connection.close()


def test_closing_a_connection_closes_its_last_response_too() -> None:
    """`Connection.retire` relies on it while a body is still being read."""
    connection = Connection(Route("h.example", None, Timeouts()))
    ours, theirs = socket.socketpair()
    with theirs:
        connection.sock = ours
        theirs.sendall(OK + b"Content-Length: 10\r\n\r\nhalf")
        connection.request("GET", "/")
        response = connection.getresponse()
        connection.retire()
        assert response.isclosed()
        assert ours.fileno() == -1
