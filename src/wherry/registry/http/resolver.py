"""Host names: their form on the wire, and look-ups that can be cancelled."""

from __future__ import annotations

import http.client
import queue
import re
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken

_MAX_NAME, _MAX_LABEL = 254, 63  # characters, a trailing dot included (RFC 1035, 2.3.4)
_HOST = re.compile(r"[A-Za-z0-9._:%-]*")  # names, addresses, and zones of addresses


def ascii_name(host: str) -> str:
    """Return a host name as it is sent (RFC 5890).

    Raises:
        http.client.InvalidURL: It is not a valid host name.
    """
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise http.client.InvalidURL(str(error)) from error
    if not _HOST.fullmatch(name) or len(name) > _MAX_NAME:
        raise http.client.InvalidURL("it is too long, or has characters that no name has")
    labels = name.removesuffix(".").split(".")
    if not all(0 < len(label) <= _MAX_LABEL for label in labels):
        raise http.client.InvalidURL("a part of the name is empty or too long")
    return name


def look_up(host: str, port: int, cancel: CancelToken | None) -> list[Any]:
    """Return the addresses of a host, as `socket.getaddrinfo` does.

    Nothing interrupts a look-up, so it runs in a thread that a cancelled caller leaves behind.
    """
    name = host.encode("ascii")  # with a str, Python would load the IDNA codec
    if host.replace(".", "").isdigit() or ":" in host:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    results: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def look_up_name() -> None:
        try:
            results.put(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except OSError as error:
            results.put(error)

    threading.Thread(target=look_up_name, name="wherry-resolve", daemon=True).start()
    cancelled = socket.gaierror(socket.EAI_FAIL, "cancelled")
    forget = cancel.on_cancel(lambda: results.put(cancelled)) if cancel else None
    try:
        found = results.get()
    finally:
        if forget is not None:
            forget()
    if isinstance(found, Exception):
        raise found
    return found
