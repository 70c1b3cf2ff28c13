"""Which token servers a registry may name, and where credentials may travel. No I/O."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dray.registry.redirect import is_address

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1


def address_problem(realm: str) -> str | None:
    """Return why a realm cannot be requested at all; None if it can."""
    return None if is_address(realm) else "is not an http or https address"


def leaves_tls(registry: str, realm: str) -> bool:
    """Return whether a request to ``realm`` is less protected than one to ``registry``."""
    return urlsplit(registry).scheme == "https" and urlsplit(realm).scheme == "http"


def is_private(host: str) -> bool:
    """Return whether the public network does not route to a host, as far as its text says.

    ``host`` is an address or a name. Other names than ``localhost`` count as public.
    """
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not _inner(ipaddress.ip_address(host)).is_global
    except ValueError:
        pass
    try:  # the resolver takes 127.1, 0x7f000001 and the like for addresses
        return not ipaddress.IPv4Address(socket.inet_aton(host)).is_global
    except (OSError, ValueError):
        return False


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to, or else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
