"""From a reference to the endpoints to try, in order."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dray.model.reference import Reference

# Where the registry behind a name of Docker Hub really is.
_ENDPOINTS = {"docker.io": "registry-1.docker.io"}


class Endpoint(NamedTuple):
    """A registry's address; ``schemes`` are tried in order, the next one only where allowed.

    ``verify`` is whether certificates have to be good. ``name`` is how people and files of
    credentials call the host.
    """

    name: str
    host: str
    schemes: tuple[str, ...] = ("https",)
    verify: bool = True


def endpoints(reference: Reference, *, insecure: bool = False) -> tuple[Endpoint, ...]:
    """Return where to look for a repository."""
    name = reference.domain
    host = _ENDPOINTS.get(name, name)
    if insecure:
        return (Endpoint(name, host, ("https", "http"), verify=False),)
    if is_loopback(host):
        return (Endpoint(name, host, ("http", "https")),)
    return (Endpoint(name, host),)


def is_loopback(host: str) -> bool:
    """Tell whether ``host[:port]`` is this machine."""
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
