"""The address that the server listens on."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import WherryError
from wherry.model.reference import is_domain

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on


class ListenAddress(NamedTuple):
    """An IP address and a port.

    Attributes:
        ip: Without brackets.
        port: 0 stands for a free port.
    """

    ip: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.ip.startswith("127.") or self.ip == "::1"

    @property
    def is_any(self) -> bool:
        """Whether it stands for all addresses of the machine."""
        return self.ip in _ANY

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @property
    def name(self) -> str:
        """The domain of names that clients push here, unless the caller sets another."""
        if self.is_loopback:
            return f"localhost:{self.port}"
        name = f"{socket.gethostname().lower()}:{self.port}" if self.is_any else str(self)
        return name if is_domain(name) else f"localhost:{self.port}"


def parse(text: str) -> ListenAddress:
    """Parse ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``; resolve the host.

    Raises:
        ValueError: The text is no address.
        WherryError: The host has no address.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004 - of TCP
        raise ValueError(f"{text!r} is not an address to listen on: write HOST:PORT")
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        return ListenAddress(_ANY[0], int(port))
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "the name is invalid"
        raise WherryError(f"{host}: cannot be resolved ({reason})") from None
    addresses = sorted(found, key=lambda each: each[0] != socket.AF_INET)
    return ListenAddress(str(addresses[0][4][0]), int(port))


@contextlib.contextmanager
def reserved(address: ListenAddress) -> Iterator[ListenAddress]:
    """Yield the address with its real port, which no other server can take meanwhile.

    Granian listens with SO_REUSEPORT, and so several servers could share a port unnoticed. The
    port is bound without it first; afterwards the option lets Granian listen beside the
    reservation.

    Raises:
        WherryError: The port is in use, or cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in address.ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(address)
        except OSError as error:
            raise _unusable(address, error) from None
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield ListenAddress(address.ip, holder.getsockname()[1])


def _unusable(address: ListenAddress, error: OSError) -> WherryError:
    hint = "choose another address with --listen HOST:PORT; port 0 takes a free one"
    return WherryError(f"{address}: cannot listen ({error.strerror})", hint=hint)
