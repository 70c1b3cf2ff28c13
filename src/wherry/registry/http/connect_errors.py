"""Errors of connecting to a host, to a proxy, or through a proxy to a host."""

from __future__ import annotations

from wherry.errors import NetworkError


class ConnectFailure(OSError):
    """No address of the host accepted a connection; ``__cause__`` is the last error."""


class PrivatePeer(OSError):
    """The peer has a private address, and the request is for public addresses only."""


class ProxyFailure(OSError):
    """Connecting to the proxy failed; ``__cause__`` says why.

    The subclass `SocksRefusal` means that the proxy responded and refused to connect.
    """


class TlsUnavailable(NetworkError):
    """The peer does not speak TLS, or its TLS port is closed."""


class PrivateHost(NetworkError):
    """The peer has a private address, and the request is ``public_only``."""
