"""What a registry's refusals mean: from status and error codes to exceptions."""

from __future__ import annotations

import email.utils
import json
import re
import time
from typing import TYPE_CHECKING, Any

from dray.errors import Denied, DrayError, NotFound, RateLimited, RegistryError, Unauthorized

if TYPE_CHECKING:
    from dray.registry.transport import Response

MAX_ERROR = 64 * 1024  # bytes of an error's body that are read
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_SHOWN = 300  # characters of a registry's words that an error quotes


def failure(response: Response, body: bytes, what: str, host: str, *, scope: str = "") -> DrayError:
    """Make the exception for an answer that is not success; ``what`` was asked for."""
    codes, said = _read_errors(body)
    status = response.status
    text = f"{status} {said}" if said else str(status)
    match status:
        case 401:
            return Unauthorized(f"{what}: access denied ({text})", host=host, scope=scope)
        case 403:
            return Denied(f"{what}: access denied ({text})", host=host)
        case 404:
            return NotFound(f"{what}: not found ({text})")
        case 429:
            return RateLimited(
                f"{what}: {host} asks to slow down ({text})",
                host=host,
                retry_after=retry_after(response.header("Retry-After")),
            )
        case _:
            return RegistryError(
                f"{what}: {response.request.method} {response.url} was answered by {text}",
                status=status,
                method=response.request.method,
                url=response.url,
                codes=codes,
                retry_after=retry_after(response.header("Retry-After")),
                transient=status in _TRANSIENT,
            )


def _read_errors(body: bytes) -> tuple[list[str], str]:
    """Return the codes of a registry's error document and its first message, for one line."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return [], _title(body)
    errors = found.get("errors") if isinstance(found, dict) else None
    if not isinstance(errors, list):
        details = found.get("details") or found.get("message") if isinstance(found, dict) else ""
        return [], _one_line(details)
    errors = [entry for entry in errors if isinstance(entry, dict)]
    codes = [_one_line(entry.get("code")) for entry in errors]
    messages = [_one_line(entry.get("message")) for entry in errors]
    said = ": ".join(part for part in (codes[:1] + messages[:1]) if part)
    return codes, said


def _title(body: bytes) -> str:
    """Return what a page of a proxy says in its title, without the status."""
    found = re.search(rb"<title>\s*(?:\d{3}\s+)?([^<]*)</title>", body[:4096], re.IGNORECASE)
    return _one_line(found.group(1).decode(errors="replace")) if found else ""


def _one_line(text: Any) -> str:
    """Reduce what a server said to printable characters of one line."""
    if not isinstance(text, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in text[:_SHOWN]).strip()


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
