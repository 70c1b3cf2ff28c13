import socket
import sys

import pytest

from dray.content.cancel import CancelToken
from dray.errors import NetworkError
from dray.registry.connections import Operation, Route, Timeouts
from dray.registry.pool import Pool
from dray.registry.transport import Request, Response, Transport
from dray.testing import CutHead, FakeRegistry, Fault


def get(registry: FakeRegistry, transport: Transport) -> Response:
    return transport.send(Request("GET", f"{registry.url}/v2/"), CancelToken())


@pytest.mark.parametrize("left_out", [1, 2, 3, 20, 60, None])
def test_an_answer_whose_head_is_cut_is_none(fake: FakeRegistry, left_out: int | None):
    """The library would take what there is of it for all of it."""
    with socket.create_connection(("127.0.0.1", fake.port), timeout=10) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        whole = b"".join(iter(lambda: connection.recv(4096), b""))
    size = whole.index(b"\r\n\r\n") + 4
    transport = Transport(connections=1)
    fake.inject(Fault(CutHead(size - left_out if left_out else 5), times=1))
    with pytest.raises(NetworkError, match="cut off") as caught:
        get(fake, transport)
    assert caught.value.transient
    assert get(fake, transport).read(10) == b"{}"
    transport.close()


@pytest.mark.skipif(sys.platform != "linux", reason="there a connection begins as it will")
@pytest.mark.parametrize("room", [None, 16 * 1024])
def test_a_connection_takes_in_a_megabyte_from_the_beginning(fake: FakeRegistry, room: int | None):
    """Linux begins with 64 KB, for which a small blob would wait several times."""
    pool = Pool(Route("127.0.0.1", fake.port, Timeouts(), room=room), 1)
    taken = pool.ask(Operation(CancelToken()), "GET", "/v2/", None, {})
    sock = taken.connection.sock
    size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert size == 2 * room if room else size >= 1 << 20
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1  # or small answers hang
    assert taken.answer.read() == b"{}"
    taken.finish()
    pool.close()
