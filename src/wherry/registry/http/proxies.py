"""Choosing a proxy by ``HTTPS_PROXY``, ``NO_PROXY`` and the like."""

from __future__ import annotations

import base64
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from wherry.errors import WherryError
from wherry.model.record import Record
from wherry.model.secret import Secret

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_PORTS = {"http": 80, "https": 443, "socks": 1080, "socks5": 1080, "socks5h": 1080}
_MAX_SOCKS = 255  # characters of a user name, and of a password (RFC 1929, 2)


class ProxyAddress(Record):
    """The address of a proxy; its text omits ``user`` and ``password``.

    With ``socks5`` the client looks names up. With ``socks5h``, and ``socks`` as desktops write
    it, the proxy does. ``variable`` is the environment variable, or the path of the
    registries.conf, that names the proxy.
    """

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""
    variable: str = ""

    def __repr__(self) -> str:
        return f"ProxyAddress({str(self)!r})"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        """Whether the proxy speaks SOCKS5 and not HTTP."""
        return self.scheme.startswith("socks")


def authorization_headers(proxy: ProxyAddress) -> dict[str, str]:
    """Return the ``Proxy-Authorization`` header, if the proxy has credentials."""
    if not (proxy.user or proxy.password):
        return {}
    # In UTF-8, as net/http in Go sends it.
    pair = base64.b64encode(f"{proxy.user}:{proxy.password}".encode(errors="surrogateescape"))
    return {"Proxy-Authorization": Secret(f"Basic {pair.decode('ascii')}")}


class ProxySettings(Record):
    """The values of the proxy variables, parsed when a request needs them.

    The rules are those of ``golang.org/x/net/http/httpproxy``, which docker, podman and skopeo
    use. ``other`` applies to a scheme without a proxy of its own, as ``ALL_PROXY`` does in curl.
    """

    http: str = ""
    https: str = ""
    no_proxy: str = ""
    other: str = ""
    names: tuple[str, str, str] = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

    def __repr__(self) -> str:  # the addresses may hold passwords
        found = f"http={bool(self.http)}, https={bool(self.https)}, other={bool(self.other)}"
        return f"ProxySettings({found})"

    def choose(self, scheme: str, host: str, port: int | None) -> ProxyAddress | None:
        """Return the proxy for a host, or None for a direct connection.

        Raises:
            WherryError: The variable is not the address of a supported proxy.
        """
        setting, variable = self._setting(scheme)
        if not setting or self._is_excepted(host.lower(), port or _PORTS.get(scheme, 0)):
            return None
        return parse_proxy(setting, variable)

    def _setting(self, scheme: str) -> tuple[str, str]:
        """Return the value for a scheme and the variable that it comes from."""
        own, number = (self.https, 1) if scheme == "https" else (self.http, 0)
        return (Secret(own), self.names[number]) if own else (Secret(self.other), self.names[2])

    def _is_excepted(self, host: str, port: int) -> bool:
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        entries = [entry.strip().lower() for entry in self.no_proxy.split(",")]
        return any(_matches(entry, host, port, address) for entry in entries if entry)


def _matches(entry: str, host: str, port: int, address: IPv4Address | IPv6Address | None) -> bool:
    """Return whether an entry of ``NO_PROXY`` matches a host."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, wanted = entry, ""
    if ":" in entry and _address(entry) is None:
        name, _, wanted = entry.rpartition(":")
    if wanted and wanted != str(port):
        return False
    if (listed := _address(name.strip("[]"))) is not None:
        return listed == address
    name = name.removeprefix("*")
    return host.endswith(name) if name.startswith(".") else f".{host}".endswith(f".{name}")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def parse_proxy(setting: str, variable: str) -> ProxyAddress:
    """Parse a proxy's address; without a scheme it is an http proxy.

    ``variable`` names the setting in messages.

    Raises:
        WherryError: The address is invalid. The message omits it, since it may hold a password.
    """
    proxy = _split(setting, variable)
    if proxy is None:
        raise WherryError("not an address", hint="it should read http://HOST:PORT").within(variable)
    if proxy.scheme not in _PORTS:
        raise WherryError(
            f"{proxy.scheme} proxies are not supported",
            hint="name an http, https, socks5 or socks5h proxy there, "
            "or except the host in NO_PROXY",
        ).within(variable)
    if proxy.is_socks:
        _check_socks(proxy, variable)
    return proxy


def _split(setting: str, variable: str) -> ProxyAddress | None:
    """Split a proxy's address, whatever its scheme; None if it is not an address."""
    try:
        parts = urlsplit(setting if "://" in setting else f"http://{setting}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    user, password = (Secret(unquote(part or "")) for part in (parts.username, parts.password))
    port = port or _PORTS.get(parts.scheme, 0)
    return ProxyAddress(parts.scheme, host, port, user, password, variable)


def _check_socks(proxy: ProxyAddress, variable: str) -> None:
    """Raise `WherryError` for credentials that cannot be sent (RFC 1929, 2)."""
    pair = (proxy.user, proxy.password)
    if any(pair) and not all(pair):
        message = "a SOCKS5 proxy takes a user name and a password, or neither"
        raise WherryError(message).within(variable)
    if not all(text.isascii() and len(text) <= _MAX_SOCKS for text in pair):
        raise WherryError(
            f"user name and password of a SOCKS5 proxy have at most {_MAX_SOCKS} "
            "ASCII characters each"
        ).within(variable)
