"""Exceptions for error responses, by status and by the registry's error document."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, quote_plus

from wherry.errors import Denied, NotFound, RateLimited, RegistryError, Unauthorized, WherryError
from wherry.registry.server_text import is_markup, is_page, one_line, plain_text, title

if TYPE_CHECKING:
    from wherry.errors import Places
    from wherry.registry.http.request import HttpRequest
    from wherry.registry.http.response import HttpResponse

MAX_ERROR = 64 * 1024  # bytes of an error's body that are read
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_LOGIN_REQUIRED = 511  # a captive portal responded instead of the registry (RFC 6585, 6)
_PORTAL = "the network wants a login first: open any page in a browser"
_MESSAGE_KEYS = ("details", "message", "error_description", "detail", "error", "title")


def error_for_response(
    response: HttpResponse, body: bytes, where: Places, host: str, *, scope: str = ""
) -> WherryError:
    """Return the exception for a response that is not a success.

    Args:
        response: The response, its body already read.
        body: The first `MAX_ERROR` bytes of the body.
        where: What the request was for, as messages name it.
        host: The registry's name.
        scope: The token scope that the request needs.
    """
    codes, text = _describe(response, body)
    match response.status:
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
    """Return the exception for a status that has no exception of its own."""
    codes, text = _describe(response, body)
    message = f"{response.request.method} {response.url} was answered by {text}"
    return _registry_error(response, codes, message, where)


def refusal_error(
    response: HttpResponse, body: bytes, where: Places, message: str, hint: str = ""
) -> RegistryError:
    """Return the exception for a refusal: ``message``, then what the server said."""
    codes, text = _describe(response, body)
    return _registry_error(response, codes, f"{message} ({text})", where, hint)


def _describe(response: HttpResponse, body: bytes) -> tuple[list[str], str]:
    """Return the error codes of a response, and its status with what the server said."""
    codes, said = _read_errors(body)
    said = _without_secrets(said, response.request)
    return codes, f"{response.status} {said}" if said else str(response.status)


def _registry_error(
    response: HttpResponse, codes: list[str], message: str, where: Places, hint: str = ""
) -> RegistryError:
    return RegistryError(
        message,
        status=response.status,
        method=response.request.method,
        url=response.url,
        codes=codes,
        retry_after=retry_after(response.header("Retry-After")),
        transient=response.status in _TRANSIENT,
        hint=hint or (_PORTAL if response.status == _LOGIN_REQUIRED else ""),
    ).within(*where)


def _read_errors(body: bytes) -> tuple[list[str], str]:
    """Return the error codes of a body and a line with the first code and message.

    The format is that of the OCI distribution spec 1.1, Error Codes; others are read as far as
    possible.
    """
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return [], one_line(title(body) if is_markup(body) else plain_text(body))
    if not isinstance(found, dict):
        return [], one_line(found)
    errors = found.get("errors")
    if not isinstance(errors, list):
        said = [one_line(found.get(key)) for key in _MESSAGE_KEYS]
        return [], next(filter(None, said), "")
    errors = [entry for entry in errors if isinstance(entry, dict)]
    codes = [one_line(entry.get("code")) for entry in errors]
    messages = [one_line(entry.get("message")) for entry in errors]
    said = [part for part in (codes[:1] + messages[:1]) if part]
    return codes, ": ".join(said)


def _quote_all(text: str) -> str:
    return quote(text, safe="")


def _without_secrets(said: str, request: HttpRequest) -> str:
    """Mask the request's credentials in what the server said."""
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
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3)."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return max(0.0, moment.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return None
