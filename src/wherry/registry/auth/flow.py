"""Sending a call until its authorization is accepted; loaded on first use."""

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
HIDING = frozenset({403, 404})  # some registries send these to anonymous clients instead of 401
# The challenge of a registry that sends none: credentials go preemptively (RFC 7617, 2.2).
PREEMPTIVE = ("Basic",)
_BAD_REQUEST, _NOT_FOUND = 400, 404
_SUPPORTED_SCHEMES = {"basic", "bearer"}


class AuthorizedCall:
    """A call and the authorizations tried for it. One thread uses it once."""

    def __init__(
        self,
        requester: Requester,
        authenticator: Authenticator,
        endpoint: Endpoint,
        state: HostState,
        call: Call,
        cancel: CancelToken,
    ) -> None:
        self._requester = requester
        self._authenticator = authenticator
        self._endpoint = endpoint
        self._state = state
        self._call = call
        self._cancel = cancel
        self._attempts = AuthAttempts(authenticator, cancel)

    def send(self, first: HttpResponse | None = None) -> HttpResponse:
        """Return the response; ``first`` is that to an unauthorized call, if sent.

        Raises:
            Unauthorized: The status is 401. For a HEAD it is returned instead if the same
                request by GET is not refused.
        """
        response = first or self._send(self._first_authorization())
        try:
            while is_from_endpoint(response, self._endpoint, self._state):
                body = response.read_secret(MAX_ERROR) if response.status == UNAUTHORIZED else b""
                challenges = self._challenges(response)
                fresh = self._attempts.next(self._context(challenges)) if challenges else None
                if fresh is None:
                    return self._conclude(response, body)
                response.drain()
                response = self._send(fresh)
        except BaseException:
            response.close()
            raise
        return response

    def _first_authorization(self) -> Authorization | None:
        """Return an authorization for a host that has sent challenges before."""
        if not self._state.challenges:
            return None
        fresh = self._attempts.next(self._context(self._state.challenges))
        problem = self._attempts.problem
        if fresh is None and problem is not None and problem.transient:
            raise problem
        return fresh

    def _challenges(self, response: HttpResponse) -> Sequence[str]:
        """Return the challenges to answer before a response is final; () for none.

        Some registries hide private repositories from anonymous clients and send a challenge
        only at ``/v2/``. It is requested once for a host, if there are credentials for it.
        """
        own = response.headers("WWW-Authenticate")
        if self._is_challenge(response, own):
            self._state.challenges, self._state.peer = own, response.peer
            return own
        is_refusal = response.status == UNAUTHORIZED or response.status in HIDING
        may_help = is_refusal or (self._call.preemptive and response.status < _BAD_REQUEST)
        if not may_help or self._has_sent() or not self._has_credentials():
            return ()
        if self._call.preemptive:
            self._state.is_open = not is_refusal
            return own or PREEMPTIVE
        if not self._state.challenges and not self._state.is_open:
            self._probe()
        return self._state.challenges

    def _is_challenge(self, response: HttpResponse, own: Sequence[str]) -> bool:
        """Return whether a response asks for an authorization by its own challenges."""
        if response.status == UNAUTHORIZED:
            return bool(own)
        is_final = response.status == _NOT_FOUND and self._has_sent()
        is_supported = bool(_schemes(own) & _SUPPORTED_SCHEMES)
        return response.status in HIDING and not is_final and is_supported

    def _has_sent(self) -> bool:
        """Return whether credentials are behind the last authorization."""
        return self._attempts.last is not None and self._attempts.last.secret

    def _probe(self) -> None:
        """Request ``/v2/`` without credentials to get the registry's challenge."""
        call = Call("GET", "/v2/", "")
        response = self._send(None, call)
        body = response.read_secret(MAX_ERROR)
        challenges = response.headers("WWW-Authenticate")
        is_own = is_from_endpoint(response, self._endpoint, self._state)
        if is_own and challenges and response.status >= _BAD_REQUEST:
            self._state.challenges, self._state.peer = challenges, response.peer
            return
        if response.status >= _BAD_REQUEST:
            name = self._endpoint.name
            problem = error_for_response(response, body, (name,), name)
            if problem.transient:
                raise problem
        self._state.is_open = True

    def _conclude(self, response: HttpResponse, body: bytes) -> HttpResponse:
        """Return a response that no other authorization improves, or raise its error."""
        problem, has_sent = self._attempts.problem, self._has_sent()
        if response.status == UNAUTHORIZED:
            has_other = "basic" in _schemes(self._state.challenges)
            if problem is not None and not has_sent and (problem.transient or not has_other):
                raise problem
            return self._raise_refusal(response, body)
        is_hiding = response.status in HIDING
        if not has_sent and (is_hiding or self._call.preemptive) and self._has_credentials():
            if problem is not None:
                raise problem  # without credentials the response may be untrue
            if is_hiding and self._state.is_open:
                return self._try_preemptively(response)
        if problem is not None and has_sent and response.status < _BAD_REQUEST:
            self._prefer_password()
        return response

    def _prefer_password(self) -> None:
        """Send the password at once from now on if it worked after a token server failed."""
        last = self._attempts.last
        if last is not None and last.header.startswith("Basic "):
            self._state.challenges = PREEMPTIVE

    def _raise_refusal(self, response: HttpResponse, body: bytes) -> HttpResponse:
        """Raise `Unauthorized`; repeat a HEAD as GET first to get a message."""
        if self._call.method == "HEAD":
            again = self._send(self._attempts.last, self._call.replace(method="GET"))
            body = again.read_secret(MAX_ERROR)
            if again.status != UNAUTHORIZED:
                return response  # the registry refuses only HEAD
        name, repository = self._endpoint.name, self._call.repository
        where = (f"{name}/{repository}" if repository else name,)
        error = error_for_response(response, body, where, name, scope=self._call.scope)
        problem = self._attempts.problem
        schemes = _schemes(self._state.challenges)
        if problem is not None:
            error.message += f"; {problem.text_within(name)}"
        elif schemes and not schemes & _SUPPORTED_SCHEMES:
            wanted = ", ".join(scheme.capitalize() for scheme in sorted(schemes))
            error.hint = (
                f"{name} asks for {wanted}, wherry answers Basic and Bearer: no password was sent"
            )
        raise error

    def _try_preemptively(self, response: HttpResponse) -> HttpResponse:
        """Send the password to a registry without challenges; return the better response."""
        fresh = self._attempts.next(self._context(PREEMPTIVE))
        if fresh is None:
            return response
        again = self._send(fresh)
        if again.status == UNAUTHORIZED or again.status in HIDING:
            again.drain()
            return response
        response.drain()
        if again.status < _BAD_REQUEST:
            self._state.challenges = PREEMPTIVE
        return again

    def _has_credentials(self) -> bool:
        try:
            return self._authenticator.find(self._context(()), self._cancel) is not None
        except Cancelled:
            raise
        except WherryError:  # an unreadable file, which the registry has not asked for yet
            return False

    def _send(self, authorization: Authorization | None, call: Call | None = None) -> HttpResponse:
        header = authorization.header if authorization is not None else None
        call = (call or self._call).replace(authorization=header)
        return self._requester.send(self._endpoint, self._state, call, self._cancel)

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
