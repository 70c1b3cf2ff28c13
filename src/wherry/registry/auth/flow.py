"""One call to one endpoint, sent again with the authorization that the registry asks for.

Loaded with the first registry that refuses something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Cancelled, WherryError
from wherry.registry.auth.authenticator import AuthAttempts
from wherry.registry.auth.challenge import ChallengeContext, parse_challenges
from wherry.registry.requester import Call, is_from_endpoint
from wherry.registry.status_errors import MAX_ERROR, error_for_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.content.cancel import CancelToken
    from wherry.registry.auth.authenticator import Authenticator, Authorization
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.requester import HostState, Requester

UNAUTHORIZED = 401
HIDING = frozenset({403, 404})  # what registries answer to strangers instead of 401
# For a registry that names no challenge: the password by RFC 7617, without being asked for it.
UNASKED = ("Basic",)
_BAD_REQUEST, _NOT_FOUND = 400, 404
_KNOWN = {"basic", "bearer"}


class AuthorizedCall:
    """A call, and what has been tried to have it answered. Used once, by one thread."""

    def __init__(
        self,
        requester: Requester,
        identity: Authenticator,
        endpoint: Endpoint,
        state: HostState,
        call: Call,
        cancel: CancelToken,
    ) -> None:
        self._requester = requester
        self._identity = identity
        self._endpoint = endpoint
        self._state = state
        self._call = call
        self._cancel = cancel
        self._attempts = AuthAttempts(identity, cancel)

    def send(self, first: HttpResponse | None = None) -> HttpResponse:
        """Return the answer; ``first`` is the one to the same call without authorization.

        Raises `Unauthorized` for 401, except for a HEAD where the same by GET is not refused.
        """
        response = first or self._ask(self._initial())
        try:
            while is_from_endpoint(response, self._endpoint, self._state):
                body = response.read_secret(MAX_ERROR) if response.status == UNAUTHORIZED else b""
                challenges = self._challenges(response)
                fresh = self._attempts.next(self._context(challenges)) if challenges else None
                if fresh is None:
                    return self._conclude(response, body)
                response.drain()
                response = self._ask(fresh)
        except BaseException:
            response.close()
            raise
        return response

    def _initial(self) -> Authorization | None:
        """Return an authorization for a host that has asked for one before."""
        if not self._state.challenges:
            return None
        fresh = self._attempts.next(self._context(self._state.challenges))
        problem = self._attempts.problem
        if fresh is None and problem is not None and problem.transient:
            raise problem
        return fresh

    def _challenges(self, response: HttpResponse) -> Sequence[str]:
        """Return the challenges to answer before a response is believed; () for none.

        Some registries tell strangers that what is private does not exist. Their challenge is
        at ``/v2/``. It is asked for once for a host, and only if there are credentials for it.
        """
        own = response.headers("WWW-Authenticate")
        if self._asks(response, own):
            self._state.challenges, self._state.peer = own, response.peer
            return own
        hiding = response.status == UNAUTHORIZED or response.status in HIDING
        wanted = hiding or (self._call.unasked and response.status < _BAD_REQUEST)
        if not wanted or self._has_sent() or not self._has_credentials():
            return ()
        if self._call.unasked:
            self._state.is_open = not hiding
            return own or UNASKED
        if not self._state.challenges and not self._state.is_open:
            self._probe()
        return self._state.challenges

    def _asks(self, response: HttpResponse, own: Sequence[str]) -> bool:
        """Return whether a response asks for an authorization by challenges of its own."""
        if response.status == UNAUTHORIZED:
            return bool(own)
        final = response.status == _NOT_FOUND and self._has_sent()
        return response.status in HIDING and not final and bool(_schemes(own) & _KNOWN)

    def _has_sent(self) -> bool:
        return self._attempts.last is not None and self._attempts.last.secret

    def _probe(self) -> None:
        """Ask ``/v2/`` how the registry wants to be asked."""
        call = Call("GET", "/v2/", "")
        response = self._ask(None, call)
        body = response.read_secret(MAX_ERROR)
        challenges = response.headers("WWW-Authenticate")
        own = is_from_endpoint(response, self._endpoint, self._state)
        if own and challenges and response.status >= _BAD_REQUEST:
            self._state.challenges, self._state.peer = challenges, response.peer
            return
        if response.status >= _BAD_REQUEST:
            name = self._endpoint.name
            problem = error_for_response(response, body, (name,), name)
            if problem.transient:
                raise problem
        self._state.is_open = True

    def _conclude(self, response: HttpResponse, body: bytes) -> HttpResponse:
        """Return a response that no authorization helps any more, or raise what it means."""
        problem, sent = self._attempts.problem, self._has_sent()
        if response.status == UNAUTHORIZED:
            other = "basic" in _schemes(self._state.challenges)
            if problem is not None and not sent and (problem.transient or not other):
                raise problem
            return self._refused(response, body)
        hiding = response.status in HIDING
        if not sent and (hiding or self._call.unasked) and self._has_credentials():
            if problem is not None:
                raise problem  # the credentials were not sent, so this may not be the truth
            if hiding and self._state.is_open:
                return self._unasked(response)
        if problem is not None and sent and response.status < _BAD_REQUEST:
            self._keep_password()
        return response

    def _keep_password(self) -> None:
        """Send the password at once from now on, if a token server failed and it was taken."""
        last = self._attempts.last
        if last is not None and last.header.startswith("Basic "):
            self._state.challenges = UNASKED

    def _refused(self, response: HttpResponse, body: bytes) -> HttpResponse:
        """Raise `Unauthorized`; a HEAD is sent as GET first, because its answer has no words."""
        if self._call.method == "HEAD":
            asked = self._call.replace(method="GET")
            again = self._ask(self._attempts.last, asked)
            body = again.read_secret(MAX_ERROR)
            if again.status != UNAUTHORIZED:
                return response  # it is HEAD that is refused
        name, repository = self._endpoint.name, self._call.repository
        where = (f"{name}/{repository}" if repository else name,)
        error = error_for_response(response, body, where, name, scope=self._call.scope)
        problem = self._attempts.problem
        schemes = _schemes(self._state.challenges)
        if problem is not None:
            error.message += f"; {problem.text_within(name)}"
        elif schemes and not schemes & _KNOWN:
            wanted = ", ".join(scheme.capitalize() for scheme in sorted(schemes))
            error.hint = (
                f"{name} asks for {wanted}, wherry answers Basic and Bearer: no password was sent"
            )
        raise error

    def _unasked(self, response: HttpResponse) -> HttpResponse:
        """Send the password to a registry that asks for none, and take the better answer."""
        fresh = self._attempts.next(self._context(UNASKED))
        if fresh is None:
            return response
        again = self._ask(fresh)
        if again.status == UNAUTHORIZED or again.status in HIDING:
            again.drain()
            return response
        response.drain()
        if again.status < _BAD_REQUEST:
            self._state.challenges = UNASKED
        return again

    def _has_credentials(self) -> bool:
        try:
            return self._identity.find(self._context(()), self._cancel) is not None
        except Cancelled:
            raise
        except WherryError:  # a file that cannot be read: nothing has asked for it yet
            return False

    def _ask(self, authorization: Authorization | None, call: Call | None = None) -> HttpResponse:
        return self._requester.ask(
            self._endpoint,
            self._state,
            call or self._call,
            authorization.header if authorization is not None else None,
            self._cancel,
        )

    def _context(self, challenges: Sequence[str]) -> ChallengeContext:
        endpoint, state = self._endpoint, self._state
        return ChallengeContext(
            endpoint,
            f"{state.scheme or endpoint.schemes[0]}://{endpoint.host}",
            state.peer,
            self._call.repository,
            self._call.scope,
            challenges,
        )


def _schemes(challenges: Sequence[str]) -> set[str]:
    return {challenge.scheme for challenge in parse_challenges(challenges)}
