"""The access log: one line for each request."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from wherry.serve.observe import USER

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from wherry.serve.observe import Exchange

# Parameters of the distribution spec. Others are not logged: they may be secret.
_LOGGED = frozenset(
    ("artifactType", "digest", "digest-algorithm", "from", "last", "mount", "n", "ns", "tag")
)
_LONGEST = 300  # characters of a path, a query or an agent
_SAFE = "/:@+,=!$&'()*;"


class AccessLog:
    """Writes a line for each exchange.

    Its fields: client, user, time, request, status, bytes received and sent, milliseconds, agent.
    Lines are printable ASCII, and have no credentials and no queries but those of the
    distribution spec.

    Args:
        write: Called with a line in the event loop.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def __call__(self, exchange: Exchange) -> None:
        """Write the line of an exchange."""
        scope = exchange.scope
        client = (scope.get("client") or ("-",))[0]
        user = quote(scope.get(USER) or "-", safe="@+-_.")
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        request = f"{_shown(scope['method'])} {_target(scope)}"
        size = f"{exchange.received} {exchange.sent}"
        took = f"{exchange.seconds * 1000:.0f}ms"
        agent = _shown(_header(scope, b"user-agent") or "-")
        self._write(f'{client} {user} {now} "{request}" {exchange.status} {size} {took} "{agent}"')


def _target(scope: Scope) -> str:
    path = quote(scope["path"], safe=_SAFE)[:_LONGEST]
    raw = scope["query_string"][: 10 * _LONGEST].decode("latin-1")
    known = [pair for pair in parse_qsl(raw, keep_blank_values=True) if pair[0] in _LOGGED]
    return f"{path}?{urlencode(known, safe=_SAFE)[:_LONGEST]}" if known else path


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _shown(text: str) -> str:
    """Replace what could begin another line or field."""
    return "".join(
        each if each.isascii() and each.isprintable() and each != '"' else "?"
        for each in text[:_LONGEST]
    )
