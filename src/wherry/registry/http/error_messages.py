"""Turning errors of connections into `NetworkError`s; loaded when an error occurs."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from wherry.errors import NetworkError, WherryError
from wherry.registry.http.connect_errors import (
    ConnectFailure,
    PrivateHost,
    PrivatePeer,
    ProxyFailure,
    TlsUnavailable,
)
from wherry.registry.http.deadlines import SlowBlob, SlowResponse
from wherry.registry.http.framing import UnacceptableResponse

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.registry.http.proxies import ProxyAddress
    from wherry.registry.http.request import HttpRequest
    from wherry.registry.http.socks import SocksRefusal

_PROXY_AUTH_REQUIRED, _SERVER_ERROR = 407, 500
# OpenSSL's codes of a failed verification.
_NAME_MISMATCH = {62, 64}  # of a host name, of an IP address
_NOT_VALID_NOW = {9, 10}  # not yet valid, expired

_SPELLED = "is it spelled right, and is the network up?"
_NO_NAMES = "the name server did not answer: is the network up? (/etc/resolv.conf)"
_PLAIN = "if it is meant to speak plain http: --insecure, or insecure = true in registries.conf"


class _Peer(NamedTuple):
    """The host of a request, or the proxy on the way to it if the proxy failed."""

    host: str
    proxy: ProxyAddress | None = None

    def error(
        self,
        message: str,
        kind: type[NetworkError] = NetworkError,
        *,
        transient: bool = True,
        hint: str = "",
    ) -> NetworkError:
        """Make an error at this peer; without a hint, a proxy's setting is named."""
        error = kind(message, host=self.host, transient=transient, hint=hint or self.proxy_hint)
        return error.within(self.host, "" if self.proxy is None else f"the proxy {self.proxy}")

    @property
    def proxy_hint(self) -> str:
        """The hint that names the proxy's setting; empty if the peer is the host."""
        return _variable_hint(self.proxy) if self.proxy is not None and self.proxy.variable else ""


def network_error(
    error: BaseException, request: HttpRequest, cancel: CancelToken, proxy: ProxyAddress | None
) -> WherryError:
    """Return the `NetworkError` for an error; raise `Cancelled` if cancelled."""
    cancel.check()
    found = _translate(error, request, proxy)
    if proxy is not None and proxy.variable and not found.hint:
        found.hint = f"the connection goes through the proxy {proxy}; {_variable_hint(proxy)}"
    return found


def _variable_hint(proxy: ProxyAddress) -> str:
    if "/" in proxy.variable:
        return f"{proxy.variable} names this proxy"
    return f"{proxy.variable} names this proxy; NO_PROXY lists the hosts to reach without it"


def _translate(
    error: BaseException, request: HttpRequest, proxy: ProxyAddress | None
) -> WherryError:
    peer = _Peer(urlsplit(request.url).netloc.rpartition("@")[2])
    if proxy is not None:
        refusal = _proxy_refusal(error, request, peer.host, proxy)
        if refusal is not None:
            return refusal
        if isinstance(error, ProxyFailure):
            peer = peer._replace(proxy=proxy)
            error = error.__cause__ or error
    is_connected = not isinstance(error, ConnectFailure)
    if not is_connected:
        error = error.__cause__ or error
    match error:
        case http.client.InvalidURL() | socket.gaierror():
            return _unknown_host(error, peer, proxy)
        case PrivatePeer():
            return peer.error(f"has the private address {error}", PrivateHost, transient=False)
        case ssl.SSLError() if not isinstance(error, ssl.SSLEOFError):
            return _tls_failure(error, peer)
        case TimeoutError() | UnacceptableResponse():
            return _limit_exceeded(error, peer)
        case _ if not is_connected:
            return _not_connected(error, request, peer, proxy)
        case _:
            return peer.error(f"the connection was cut off ({_reason(error)})")


def _limit_exceeded(error: TimeoutError | UnacceptableResponse, peer: _Peer) -> NetworkError:
    if not isinstance(error, SlowResponse | UnacceptableResponse):
        return peer.error("no answer within the time-out")
    hint = "--timeout SECONDS allows for more" if isinstance(error, SlowResponse) else ""
    return peer.error(str(error), transient=isinstance(error, SlowBlob), hint=hint)


def was_dropped(error: NetworkError) -> bool:
    """Return whether a peer accepted the connection and closed it without a response."""
    cause = error.__cause__
    if isinstance(cause, ConnectFailure):  # reset while the client was still connecting
        return isinstance(cause.__cause__, ConnectionResetError)
    other = (
        ProxyFailure
        | PrivatePeer
        | TimeoutError
        | ssl.SSLError
        | socket.gaierror
        | UnacceptableResponse
    )
    return isinstance(cause, OSError | http.client.HTTPException) and not isinstance(
        cause, other | http.client.InvalidURL
    )


def spoke_tls(error: NetworkError) -> bool:
    """Return whether a peer that speaks TLS caused the error."""
    early = ssl.SSLEOFError | ssl.SSLZeroReturnError
    cause = error.__cause__
    failed = isinstance(cause, ssl.SSLError) and not isinstance(cause, early)
    return failed and type(error) is not TlsUnavailable


def _unknown_host(
    error: http.client.InvalidURL | socket.gaierror, peer: _Peer, proxy: ProxyAddress | None
) -> NetworkError:
    if isinstance(error, http.client.InvalidURL):
        return peer.error("is not a valid host name", transient=False)
    if error.errno == socket.EAI_AGAIN:
        return peer.error("its name cannot be looked up now", hint=peer.proxy_hint or _NO_NAMES)
    hint = peer.proxy_hint or _SPELLED
    if peer.proxy is None and proxy is not None and proxy.scheme == "socks5":
        hint = "this machine looked the name up; with socks5h:// the proxy does"
    return peer.error("no such host", transient=False, hint=hint)


def _proxy_refusal(
    error: BaseException, request: HttpRequest, host: str, proxy: ProxyAddress
) -> NetworkError | None:
    """Return the error for a proxy that refused to connect; None for other errors."""
    if proxy.is_socks:
        from wherry.registry.http.socks import SocksRefusal

        return (
            _socks_refusal(error, request, host, proxy) if isinstance(error, SocksRefusal) else None
        )
    from wherry.registry.http.tunnel import TunnelRefusal

    return _tunnel_refusal(proxy, host, error.status) if isinstance(error, TunnelRefusal) else None


def _not_connected(
    error: BaseException, request: HttpRequest, peer: _Peer, proxy: ProxyAddress | None
) -> NetworkError:
    # A registry in plain http has port 80 open and port 443 closed.
    is_closed = proxy is None and isinstance(error, ConnectionRefusedError)
    kind = TlsUnavailable if is_closed and request.url.startswith("https:") else NetworkError
    reason = _reason(error)
    return peer.error(f"{reason[:1].lower()}{reason[1:]}", kind)


def _socks_refusal(
    error: SocksRefusal, request: HttpRequest, host: str, proxy: ProxyAddress
) -> NetworkError:
    hint = _variable_hint(proxy) if proxy.variable else ""
    if error.asks_for_password:
        hint = (
            f"the variable may hold a name and password: {proxy.scheme}://USER:PASSWORD@HOST:PORT"
        )
    elif error.is_other_protocol:
        hint = f"if it is an HTTP proxy, name it http://{proxy.host}:{proxy.port}"
    # A registry in plain http has port 80 open and port 443 closed.
    is_closed = error.refused_by_host and request.url.startswith("https:")
    return (TlsUnavailable if is_closed else NetworkError)(
        f"the proxy {proxy} refused to connect ({error.reason[:1].lower()}{error.reason[1:]})",
        host=host,
        transient=error.transient,
        hint=hint,
    ).within(host)


def _tunnel_refusal(proxy: ProxyAddress, host: str, status: int) -> NetworkError:
    hint = _variable_hint(proxy) if proxy.variable else ""
    if status == _PROXY_AUTH_REQUIRED:
        name = proxy.variable or "HTTPS_PROXY"
        hint = f"{name} may hold a name and password: http://USER:PASSWORD@HOST:PORT"
    return NetworkError(
        f"the proxy {proxy} refused to connect ({status})",
        host=host,
        transient=status >= _SERVER_ERROR,
        hint=hint,
    ).within(host)


def _tls_failure(error: ssl.SSLError, peer: _Peer) -> NetworkError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_failure(error, peer)
    reason = error.reason or ""
    if reason in {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "RECORD_LAYER_FAILURE",
    }:
        hint = peer.proxy_hint or _PLAIN
        return peer.error("does not speak TLS", TlsUnavailable, transient=False, hint=hint)
    is_required = "CERTIFICATE_REQUIRED" in reason
    hint = f"it asks for a certificate: NAME.cert and NAME.key in certs.d/{peer.host}"
    return peer.error(
        f"TLS failed ({reason or error})",
        transient=not is_required,
        hint=hint if is_required else "",
    )


def _certificate_failure(cause: ssl.SSLCertVerificationError, peer: _Peer) -> NetworkError:
    """Return the error for a certificate: its name, its dates, or its trust."""
    problem = cause.verify_message.rstrip(".")
    if cause.verify_code in _NAME_MISMATCH:
        said = f"its certificate is for another name ({problem})"
        hint = "ask for it by a name that its certificate has; use --insecure if you must"
    elif cause.verify_code in _NOT_VALID_NOW:
        said = f"its certificate is not valid now ({problem})"
        hint = "it needs a new one, or the clock of this machine is wrong; --insecure if you must"
    else:
        said = f"its certificate is not trusted ({problem})"
        hint = (
            "name its authority in SSL_CERT_FILE"
            if peer.proxy is not None
            else "put its authority's certificate into "
            f"~/.config/containers/certs.d/{peer.host}/ca.crt, or name it in SSL_CERT_FILE; "
            "use --insecure if you must"
        )
    return peer.error(said, transient=False, hint=hint)


def _reason(error: BaseException) -> str:
    """Return the operating system's reason."""
    if isinstance(error, ssl.SSLEOFError):  # OpenSSL's text says less
        return "it ended early"
    return getattr(error, "strerror", None) or "it ended early"
