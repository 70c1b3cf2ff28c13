"""What a registry's refusals mean: from status and error codes to exceptions."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, quote_plus

from wherry.errors import Denied, NotFound, RateLimited, RegistryError, Unauthorized, WherryError
from wherry.registry.web_page import is_markup, is_page, title

if TYPE_CHECKING:
    from wherry.errors import Places
    from wherry.registry.http.request import HttpRequest
    from wherry.registry.http.response import HttpResponse

MAX_ERROR = 64 * 1024  # bytes of an error's body that are read
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_LOGIN_REQUIRED = 511  # RFC 6585, 6: a portal answers for the registry
_PORTAL = "the network wants a login first: open any page in a browser"
_WORDS = ("details", "message", "error_description", "detail", "error", "title")
_SHOWN = 300  # characters of a registry's words that an error quotes


def error_for_response(
    response: HttpResponse, body: bytes, where: Places, host: str, *, scope: str = ""
) -> WherryError:
    """Make the error for an unsuccessful response of ``host`` to the request for ``where``."""
    codes, said = _read_errors(body)
    status = response.status
    said = _without_secrets(said, response.request)
    text = f"{status} {said}" if said else str(status)
    match status:
        case 401:
            return Unauthorized(f"access denied ({text})", host=host, scope=scope).within(*where)
        case 403:
            return Denied(f"access denied ({text})", host=host).within(*where)
        case 404:
            page = body and is_page(response.header("Content-Type"), body)
            hint = f"{host} answered by a web page: is it a registry?" if page else ""
            return NotFound(f"not found ({text})", codes=codes, hint=hint).within(*where)
        case 429:
            return RateLimited(
                f"{host} asks to slow down ({text})",
                host=host,
                retry_after=retry_after(response.header("Retry-After")),
            ).within(*where)
        case _:
            return unexpected_status_error(response, body, where)


def unexpected_status_error(response: HttpResponse, body: bytes, where: Places) -> RegistryError:
    """Make the error for a status that says nothing about what was requested."""
    codes, said = _read_errors(body)
    said = _without_secrets(said, response.request)
    text = f"{response.status} {said}" if said else str(response.status)
    return RegistryError(
        f"{response.request.method} {response.url} was answered by {text}",
        status=response.status,
        method=response.request.method,
        url=response.url,
        codes=codes,
        retry_after=retry_after(response.header("Retry-After")),
        transient=response.status in _TRANSIENT,
        hint=_PORTAL if response.status == _LOGIN_REQUIRED else "",
    ).within(*where)


def _read_errors(body: bytes) -> tuple[list[str], str]:
    """Return the codes of a registry's error document and its first message, for one line."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return [], one_line(title(body) if is_markup(body) else _plain_text(body))
    if not isinstance(found, dict):
        return [], one_line(found)
    errors = found.get("errors")
    if not isinstance(errors, list):
        said = [one_line(found.get(key)) for key in _WORDS]
        return [], next(filter(None, said), "")
    errors = [entry for entry in errors if isinstance(entry, dict)]
    codes = [one_line(entry.get("code")) for entry in errors]
    messages = [one_line(entry.get("message")) for entry in errors]
    said = [part for part in (codes[:1] + messages[:1]) if part]
    return codes, ": ".join(said)


def _plain_text(body: bytes) -> str:
    """Return a body that is text, without the status before it; nothing for other bytes."""
    text = body[: 4 * _SHOWN].decode(errors="replace")
    if text.lstrip()[:1] in {"{", "["}:  # JSON, broken
        return ""
    odd = sum(
        c == "\N{REPLACEMENT CHARACTER}" or not (c.isprintable() or c.isspace()) for c in text
    )
    return "" if odd > len(text) // 10 else re.sub(r"^\s*\d{3}\s+", "", text)


def one_line(text: Any) -> str:
    """Reduce what a server said to printable characters of one line."""
    if not isinstance(text, str):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * _SHOWN])
    line = " ".join(printable.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _quote_all(text: str) -> str:
    return quote(text, safe="")


def _without_secrets(said: str, request: HttpRequest) -> str:
    """Take out what the server repeats of the credentials that it was sent."""
    secrets = [request.headers.get("Authorization", "").rpartition(" ")[2]]
    with contextlib.suppress(ValueError):
        pair = base64.b64decode(secrets[0], validate=True).decode(errors="replace")
        secrets += [pair, pair.partition(":")[2]]
    form = parse_qs((request.body or b"").decode(errors="replace"))
    secrets += form.get("refresh_token", []) + form.get("password", [])
    secrets += [way(secret) for secret in secrets for way in (quote, _quote_all, quote_plus)]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        said = said.replace(secret, "***")
    return said


def retry_after(value: str) -> float | None:
    """Read ``Retry-After`` in either form (RFC 9110, 10.2.3) as seconds from now."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return max(0.0, moment.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return None
