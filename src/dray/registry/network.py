"""What went wrong on the way to a host, in words for people. Loaded when something does."""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from urllib3.exceptions import (
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from dray.errors import DrayError, NetworkError
from dray.registry.transport import NoTls

if TYPE_CHECKING:
    from dray.content.cancel import CancelToken
    from dray.registry.proxies import Proxy
    from dray.registry.transport import Request

_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")  # the standard library's words
_WHO_ARE_YOU, _SERVER_ERROR = 407, 500
_OTHER_NAME = {62, 64}  # of a host, of an IP address; OpenSSL's numbers, as are
_OTHER_TIME = {9, 10}  # not yet valid, expired


def translated(
    error: Exception, request: Request, cancel: CancelToken, proxy: Proxy | None
) -> DrayError:
    """Say what went wrong in the caller's words; raises `Cancelled` if that is what went wrong."""
    cancel.check()
    host = urlsplit(request.url).netloc.rpartition("@")[2]
    if proxy is not None:
        if (refused := _REFUSED.search(str(error))) is not None:
            return _proxy_refused(proxy, host, int(refused.group(1)))
        if isinstance(error, ProxyError):
            host = f"{host}: the proxy {proxy}"
            error = error.original_error
    match error:
        case LocationParseError():
            return NetworkError(f"{host}: is no name of a host", host=host, transient=False)
        case NameResolutionError():
            again = isinstance(error.__cause__, socket.gaierror) and (
                error.__cause__.errno == socket.EAI_AGAIN
            )
            return NetworkError(f"{host}: no such host", host=host, transient=again)
        case SSLError():
            return _tls_failure(error, host)
        case NewConnectionError():  # which is a kind of time-out to the library
            reason = _reason(error)
            # A registry in plain http has port 80 open and not 443.
            nobody = proxy is None and isinstance(error.__cause__, ConnectionRefusedError)
            for_tls = nobody and request.url.startswith("https:")
            kind = NoTls if for_tls else NetworkError
            return kind(f"{host}: {reason[:1].lower()}{reason[1:]}", host=host)
        case Urllib3TimeoutError():
            return NetworkError(f"{host}: no answer within the time-out", host=host)
        case _:
            return NetworkError(f"{host}: the connection was cut off ({_reason(error)})", host=host)


def _proxy_refused(proxy: Proxy, host: str, status: int) -> NetworkError:
    hint = ""
    if status == _WHO_ARE_YOU:
        hint = "HTTPS_PROXY may hold a name and password: http://USER:PASSWORD@HOST:PORT"
    return NetworkError(
        f"{host}: the proxy {proxy} does not connect us ({status})",
        host=host,
        transient=status >= _SERVER_ERROR,
        hint=hint,
    )


def _tls_failure(error: SSLError, host: str) -> NetworkError:
    cause = next((a for a in (error.__cause__, *error.args) if isinstance(a, ssl.SSLError)), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _distrust(cause, host)
    reason = getattr(cause, "reason", "") or ""
    if reason in {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "RECORD_LAYER_FAILURE",
    }:
        return NoTls(f"{host}: does not speak TLS", host=host, transient=False)
    wanted = "CERTIFICATE_REQUIRED" in reason
    return NetworkError(
        f"{host}: TLS failed ({reason or error})",
        host=host,
        transient=not wanted,
        hint=f"it asks for a certificate: NAME.cert and NAME.key in certs.d/{host}"
        if wanted
        else "",
    )


def _distrust(cause: ssl.SSLCertVerificationError, host: str) -> NetworkError:
    """Say what a certificate lacks; no authority helps one that is for another name, or old."""
    problem = cause.verify_message.rstrip(".")
    if cause.verify_code in _OTHER_NAME:
        said = f"its certificate is for another name ({problem})"
        hint = "ask for it by a name that its certificate has; use --insecure if you must"
    elif cause.verify_code in _OTHER_TIME:
        said = f"its certificate is not valid now ({problem})"
        hint = "it needs a new one, or the clock of this machine is wrong; --insecure if you must"
    else:
        said = f"its certificate is not trusted ({problem})"
        hint = (
            "name its authority in SSL_CERT_FILE"
            if " " in host  # it is the proxy
            else "put its authority's certificate into "
            f"~/.config/containers/certs.d/{host}/ca.crt, or name it in SSL_CERT_FILE; "
            "use --insecure if you must"
        )
    return NetworkError(f"{host}: {said}", host=host, transient=False, hint=hint)


def _reason(error: BaseException) -> str:
    """Return the innermost text of a chain of exceptions, without object addresses."""
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "strerror", None) or "it ended early"
