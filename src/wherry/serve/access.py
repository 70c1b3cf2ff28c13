"""Access to the registry: passwords (RFC 7617), and no writes by pages of other sites."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from wherry.serve.answers import ApiError
from wherry.serve.observe import USER
from wherry.serve.request_body import drain

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from wherry.serve.htpasswd import Htpasswd

_CHALLENGE = {
    "WWW-Authenticate": 'Basic realm="wherry", charset="UTF-8"',
    "Docker-Distribution-API-Version": "registry/2.0",
}
_READS = frozenset({"GET", "HEAD"})
_THREADS = 2  # passwords that are verified at a time
MAX_WAITING = 100


class BasicAccess:
    """Answer 401 unless a request has the password of a user.

    Args:
        app: The application.
        users: Verifies passwords.
        public: Paths that need no password.
    """

    def __init__(self, app: ASGIApp, users: Htpasswd, public: frozenset[str]) -> None:
        self._app = app
        self._users = users
        self._public = public
        self._limiter = CapacityLimiter(_THREADS)
        self._running: dict[tuple[str, str], asyncio.Future[bool]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["path"] in self._public:
            await self._app(scope, receive, send)
            return
        try:
            scope[USER] = await self._user(scope)
        except ApiError as error:
            await drain(Request(scope, receive))
            await error.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _user(self, scope: Scope) -> str:
        """Return the user of a request; raises `ApiError`."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        found = _parse(given[0]) if len(given) == 1 else None
        if found is None:
            raise _refused("authentication required")
        if self._users.remembers(*found) or await self._verify(found):
            return found[0]
        raise _refused("the user or the password is wrong")

    async def _verify(self, given: tuple[str, str]) -> bool:
        """Verify a password once, however many requests come with it at the same time."""
        running = self._running.get(given)
        if running is None:
            if len(self._running) >= MAX_WAITING:
                later = {"Retry-After": "1"}
                raise ApiError("TOOMANYREQUESTS", "too many logins at a time", headers=later)
            call = to_thread.run_sync(self._users.verify, *given, limiter=self._limiter)
            running = self._running[given] = asyncio.ensure_future(call)
            running.add_done_callback(lambda _done: self._running.pop(given))
        return await asyncio.shield(running)


class NoForeignPages:
    """Refuse changes that a web page asks for.

    A page of any site can send requests to a server on this machine. Browsers add Origin to
    all that change something; clients of registries never send it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        app = self._app
        if scope["method"] not in _READS and any(key == b"origin" for key, _ in scope["headers"]):
            await drain(Request(scope, receive))
            app = ApiError("DENIED", "web pages cannot change anything here").response()
        await app(scope, receive, send)


def _parse(header: bytes) -> tuple[str, str] | None:
    """Return the user and the password of an Authorization header, or None."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon else None


def _refused(message: str) -> ApiError:
    return ApiError("UNAUTHORIZED", message, headers=_CHALLENGE)
