"""Telling private addresses from public ones. Does no I/O."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_PUBLIC = ipaddress.IPv6Network("2000::/3")  # all global unicast allocated so far (RFC 3587, 2)
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # RFC 9637
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1


def is_private(host: str) -> bool:
    """Return whether ``host`` is an address that is not routed on the public Internet.

    Names are not looked up: ``localhost`` is private, every other name counts as public.
    """
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return _is_private_address(_embedded_address(ipaddress.ip_address(host)))
    except ValueError:
        pass
    try:  # the resolver accepts 127.1, 0x7f000001 and similar forms as addresses
        return _is_private_address(ipaddress.IPv4Address(socket.inet_aton(host)))
    except (OSError, ValueError):
        return False


def _is_private_address(address: IPv4Address | IPv6Address) -> bool:
    if not address.is_global or address.is_multicast:  # no host has a multicast address
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return False
    return address not in _PUBLIC or address in _DOCUMENTATION


def _embedded_address(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address embeds, or else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
