"""Responses that are not HTTP, or HTTP with hostile parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wherry import Client
from wherry.errors import WherryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Wherry
    from raw_server import Peer, RawServer
    from wherry import Store

OK = b"HTTP/1.1 200 OK\r\n"
MOVED = b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\nLocation: "
DIGEST = "sha256:" + "a" * 64

ANSWERS = {
    "nothing": b"",
    "a line of noise": b"\x00\xff\x1b[31m\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS instead of HTTP": b"\x15\x03\x01\x00\x02\x02\x46",
    "a status that is no number": b"HTTP/1.1 ABC OK\r\n\r\n",
    "a status of many digits": b"HTTP/1.1 " + b"2" * 5000 + b" OK\r\n\r\n",
    "status 99": b"HTTP/1.1 99 Low\r\n\r\n",
    "status 999": b"HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n",
    "a version from the future": b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status line of 1 MiB": b"HTTP/1.1 200 " + b"A" * (1 << 20) + b"\r\n\r\n",
    "a header of 1 MiB": OK + b"X-Long: " + b"A" * (1 << 20) + b"\r\n\r\n",
    "5,000 headers": OK + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
    "a header without a colon": OK + b"Content-Length 2\r\n\r\n{}",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n{}",
    "a length that is no ASCII digit": OK + b"Content-Length: \xc2\xb2\r\n\r\n{}",
    "a length of many digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}!",
    "a chunk size of many digits": OK
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"F" * 5000
    + b"\r\n{}",
    "a chunk size that is no number": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}",
    "an encoding that was not asked for": OK
    + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
    "a redirect to NUL": MOVED + b"http://127.0.0.1\x00.example/\r\n\r\n",
    "a redirect to no address": MOVED + b"http://[::1/\r\n\r\n",
    "a redirect to a port of many digits": MOVED + b"http://127.0.0.1:99999999999/\r\n\r\n",
    "a redirect to a file": MOVED + b"file:///etc/passwd\r\n\r\n",
    "a redirect without an address": b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\n\r\n",
    "a redirect in bytes": MOVED + b"\xff\xfe\x80\r\n\r\n",
    "a challenge that is cut off": b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n"
    b'WWW-Authenticate: Bearer realm="http://127.0.0.1/\r\n\r\n',
    "a challenge in bytes": b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n"
    b"WWW-Authenticate: \xff\xfe \x80=\xff\r\n\r\n",
}
REQUESTS: dict[str, Callable[[Client, str], object]] = {
    "pull": lambda client, host: client.pull(f"{host}/app:t"),
    "inspect": lambda client, host: client.inspect(f"{host}/app:t"),
    "validate": lambda client, host: client.validate(f"{host}/app:t"),
    "tags": lambda client, host: client.tags(f"{host}/app"),
    "referrers": lambda client, host: client.referrers(f"{host}/app@{DIGEST}"),
}


@pytest.fixture
def hostile(answer: str, serve: Callable[..., RawServer]) -> str:
    """Host and port of a server that answers every request alike."""

    def talk(peer: Peer) -> None:
        if peer.head():
            peer.sock.sendall(ANSWERS[answer])

    return serve(talk).host


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.usefixtures("environment")
def test_the_library_raises_its_own_error(
    hostile: str,
    request_: str,
    store: Store,
) -> None:
    with Client(store=store, retries=1) as client, pytest.raises(WherryError) as caught:
        REQUESTS[request_](client, hostile)
    assert len(str(caught.value)) < 2000
    assert not list(store.path.glob("blobs/*/*"))


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_command_fails_with_one_clear_line(hostile: str, wherry: Wherry) -> None:
    done = wherry("inspect", "--retries=1", f"{hostile}/app:t")
    assert done.returncode in {1, 3, 4, 5, 6}, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("wherry: ")
    assert len(done.stderr) < 4000
    assert "Traceback" not in done.stderr
    assert done.stderr.replace("\n", "").isprintable()
