"""Which token servers a registry may name, and where credentials may travel. No I/O."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry.registry.http.redirect import is_http_url

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_PUBLIC = ipaddress.IPv6Network("2000::/3")  # RFC 3587, 2: of IPv6, all global unicast so far
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # RFC 9637
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1


def address_problem(realm: str) -> str | None:
    """Return why a realm cannot be requested at all; None if it can."""
    return None if is_http_url(realm) else "is not an http or https address"


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
        return _is_inside(_inner(ipaddress.ip_address(host)))
    except ValueError:
        pass
    try:  # the resolver takes 127.1, 0x7f000001 and the like for addresses
        return _is_inside(ipaddress.IPv4Address(socket.inet_aton(host)))
    except (OSError, ValueError):
        return False


def _is_inside(address: IPv4Address | IPv6Address) -> bool:
    """Return whether the public network does not route to an address; multicast is no host."""
    if not address.is_global or address.is_multicast:
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return False
    return address not in _PUBLIC or address in _DOCUMENTATION


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to, or else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
