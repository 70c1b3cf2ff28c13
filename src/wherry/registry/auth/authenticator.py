"""The credentials for an endpoint, and the authorizations that they buy.

Loaded with the first registry that asks for credentials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Cancelled, Unauthorized, WherryError
from wherry.model.record import Record
from wherry.registry.auth.challenge import parse_challenges, select_challenges
from wherry.registry.auth.tokens import TokenSource, UnsafeRealm

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.registry.auth.challenge import Challenge, ChallengeContext
    from wherry.registry.auth.credentials import Credentials, CredentialStore
    from wherry.registry.requester import Requester

MAX_ATTEMPTS = 5  # authorizations for one call, whatever challenges come
MAX_ANSWERED = 10  # challenges that are answered for one call, by a token server or without
_MOST = {"bearer": 2, "basic": 2}  # authorizations from one challenge for one call


class Authorization(Record):
    """The value of a header; ``secret`` tells whether credentials are behind it."""

    header: str
    secret: bool

    def __repr__(self) -> str:
        return f"Authorization(secret={self.secret})"


class Authenticator:
    """Finds credentials, and turns them into headers. Thread-safe."""

    def __init__(self, store: CredentialStore, requester: Requester) -> None:
        self._store = store
        self._tokens = TokenSource(requester)

    def find(self, context: ChallengeContext, cancel: CancelToken) -> Credentials | None:
        """Return the credentials for an endpoint and a repository there."""
        endpoint = context.endpoint
        return self._store.find(endpoint.name, context.repository, own=endpoint.own, cancel=cancel)

    def renewed(
        self, context: ChallengeContext, old: Credentials, cancel: CancelToken
    ) -> Credentials | None:
        """Look again: a helper may give others by now. Returns None if they are the same."""
        self._store.forget()
        found = self.find(context, cancel)
        return None if found == old else found

    def answer(
        self,
        context: ChallengeContext,
        challenge: Challenge,
        credentials: Credentials | None,
        refused: str | None,
        cancel: CancelToken,
    ) -> tuple[Authorization, Unauthorized | None]:
        """Return the answer to a challenge, and why credentials were withheld for it.

        Raises `WherryError` or `UnsafeRealm` if there is no answer.
        """
        if challenge.scheme == "basic":
            assert credentials is not None  # noqa: S101 - see `auth.order`
            if refused == credentials.basic:
                credentials = self.renewed(context, credentials, cancel) or credentials
            return Authorization(credentials.basic, secret=True), None
        try:
            token = self._tokens.token(context, challenge, credentials, refused, cancel)
        except Unauthorized:
            others = credentials and self.renewed(context, credentials, cancel)
            if others is None:
                raise
            token = self._tokens.token(context, challenge, others, refused, cancel)
        secret = credentials is not None and token.withheld is None
        return Authorization(token.header, secret), token.withheld


class AuthAttempts:
    """The authorizations to try for one call, one after the other.

    ``last`` is the one that was given last. ``problem`` is why a challenge could not be
    answered: a token server does not answer, or refuses. The next challenge is tried then.
    """

    def __init__(self, identity: Authenticator, cancel: CancelToken) -> None:
        self._identity = identity
        self._cancel = cancel
        self._given: list[str] = []
        self._answered = 0
        self._counts: dict[tuple[str, str], int] = {}
        self.last: Authorization | None = None
        self.problem: WherryError | None = None

    def next(self, context: ChallengeContext) -> Authorization | None:
        """Return an authorization that was not given before; None if there is no other."""
        credentials = self._identity.find(context, self._cancel)
        for challenge in select_challenges(parse_challenges(context.challenges), credentials):
            found = self._answer(context, challenge, credentials)
            if found is not None and found.header not in self._given:
                self._given.append(found.header)
                self.last = found
                return found
        return None

    def _answer(
        self,
        context: ChallengeContext,
        challenge: Challenge,
        credentials: Credentials | None,
    ) -> Authorization | None:
        key = challenge.scheme, challenge.get("realm")
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count > _MOST[challenge.scheme] or len(self._given) >= MAX_ATTEMPTS:
            return None
        self._answered += 1
        if self._answered > MAX_ANSWERED:
            return None
        refused = self._given[-1] if self._given else None
        found: Authorization | None = None
        problem: WherryError | None
        try:
            found, problem = self._identity.answer(
                context, challenge, credentials, refused, self._cancel
            )
        except Cancelled:
            raise
        except (WherryError, UnsafeRealm) as error:
            self._counts[key] = _MOST[challenge.scheme]
            problem = error.error if isinstance(error, UnsafeRealm) else error
        self.problem = self.problem or problem
        return found
