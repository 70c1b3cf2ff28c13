"""The application with what surrounds it: access, metrics, the access log, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.serve.access import BasicAccess, NoForeignPages
from wherry.serve.access_log import AccessLog
from wherry.serve.app import create_app
from wherry.serve.metrics import Health, Metrics
from wherry.serve.observe import Observed
from wherry.serve.stalled import STALL_SECONDS, StallGuard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from wherry.serve.context import Context
    from wherry.serve.htpasswd import Htpasswd
    from wherry.serve.observe import Exchange

_HEALTH = "/healthz"
_METRICS = "/metrics"


class Guards(NamedTuple):
    """What surrounds the application.

    Attributes:
        users: Verifies passwords; without it every client has access.
        log: Called with one line for each request.
        stall_seconds: How long the server waits for the next byte of a body.
    """

    users: Htpasswd | None = None
    log: Callable[[str], None] | None = None
    stall_seconds: float = STALL_SECONDS


def create_guarded_app(context: Context, guards: Guards) -> ASGIApp:
    """Return the application of a server that others can reach."""
    metrics = Metrics(context.store)
    answers = {_HEALTH: Health(context.store).answer, _METRICS: metrics.answer}
    app: ASGIApp = NoForeignPages(_WithEndpoints(create_app(context), answers))
    if guards.users is not None:
        app = BasicAccess(app, guards.users, public=frozenset({_HEALTH}))
    app = StallGuard(app, guards.stall_seconds)
    observers: list[Callable[[Exchange], None]] = [metrics]
    if guards.log is not None:
        observers.append(AccessLog(guards.log))
    return Observed(app, observers)


class _WithEndpoints:
    """Adds paths with fixed answers to an application."""

    def __init__(
        self, app: ASGIApp, answers: Mapping[str, Callable[[], Awaitable[Response]]]
    ) -> None:
        self._app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_read = scope["method"] in {"GET", "HEAD"}
        answer = self._answers.get(scope["path"]) if is_read else None
        app = self._app if answer is None else await answer()
        await app(scope, receive, send)
