"""Answering challenges with credentials and tokens; loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Cancelled, Unauthorized, WherryError
from wherry.model.record import Record
from wherry.registry.auth.challenge import parse_challenges, select_challenges
from wherry.registry.auth.tokens import TokenSource, UnsafeRealm

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.registry.auth.challenge import Challenge, ChallengeContext
    from wherry.registry.auth.credential_store import CredentialStore
    from wherry.registry.auth.credentials import Credentials
    from wherry.registry.requester import Requester

MAX_ATTEMPTS = 5  # authorizations for one call
MAX_ANSWERED = 10  # challenges answered for one call
_MAX_COUNTS = {"bearer": 2, "basic": 2}  # answers to one challenge for one call


class Authorization(Record):
    """The value of a header; ``secret`` says whether credentials are behind it."""

    header: str
    secret: bool

    def __repr__(self) -> str:
        return f"Authorization(secret={self.secret})"


class Authenticator:
    """Finds credentials and turns them into ``Authorization`` headers. Thread-safe."""

    def __init__(self, store: CredentialStore, requester: Requester) -> None:
        self._store = store
        self._tokens = TokenSource(requester)

    def find(self, context: ChallengeContext, cancel: CancelToken) -> Credentials | None:
        """Return the credentials for an endpoint and its repository."""
        endpoint = context.endpoint
        return self._store.find(endpoint.name, context.repository, own=endpoint.own, cancel=cancel)

    def find_renewed(
        self, context: ChallengeContext, old: Credentials, cancel: CancelToken
    ) -> Credentials | None:
        """Look credentials up again; return None if a helper still has the same."""
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
        """Answer a challenge.

        Args:
            context: The endpoint and repository.
            challenge: One that `select_challenges` returned.
            credentials: What `find` returned.
            refused: The header that the registry refused last.
            cancel: Ends waiting for helpers and token servers.

        Returns:
            The header, and why credentials were not sent to the token server, if so.

        Raises:
            UnsafeRealm: The token server cannot be used.
            WherryError: The token server failed, or refused the credentials.
        """
        if challenge.scheme == "basic":
            assert credentials is not None  # noqa: S101 - see `select_challenges`
            if refused == credentials.basic:
                credentials = self.find_renewed(context, credentials, cancel) or credentials
            return Authorization(credentials.basic, secret=True), None
        try:
            token = self._tokens.token(context, challenge, credentials, refused, cancel)
        except Unauthorized:
            others = credentials and self.find_renewed(context, credentials, cancel)
            if others is None:
                raise
            token = self._tokens.token(context, challenge, others, refused, cancel)
        is_secret = credentials is not None and token.credentials_error is None
        return Authorization(token.header, is_secret), token.credentials_error


class AuthAttempts:
    """The authorizations for one call, one after the other.

    ``last`` is the most recent one. ``problem`` is why the first challenge that failed could
    not be answered; the next challenge is tried after it.
    """

    def __init__(self, authenticator: Authenticator, cancel: CancelToken) -> None:
        self._authenticator = authenticator
        self._cancel = cancel
        self._headers: list[str] = []
        self._answered = 0
        self._counts: dict[tuple[str, str], int] = {}
        self.last: Authorization | None = None
        self.problem: WherryError | None = None

    def next(self, context: ChallengeContext) -> Authorization | None:
        """Return an authorization that has not been tried; None if there is none left."""
        credentials = self._authenticator.find(context, self._cancel)
        for challenge in select_challenges(parse_challenges(context.challenges), credentials):
            found = self._answer(context, challenge, credentials)
            if found is not None and found.header not in self._headers:
                self._headers.append(found.header)
                self.last = found
                return found
        return None

    def _answer(
        self, context: ChallengeContext, challenge: Challenge, credentials: Credentials | None
    ) -> Authorization | None:
        key = challenge.scheme, challenge.get("realm")
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count > _MAX_COUNTS[challenge.scheme] or len(self._headers) >= MAX_ATTEMPTS:
            return None
        self._answered += 1
        if self._answered > MAX_ANSWERED:
            return None
        refused = self._headers[-1] if self._headers else None
        found: Authorization | None = None
        problem: WherryError | None
        try:
            found, problem = self._authenticator.answer(
                context, challenge, credentials, refused, self._cancel
            )
        except Cancelled:
            raise
        except (WherryError, UnsafeRealm) as error:
            self._counts[key] = _MAX_COUNTS[challenge.scheme]
            problem = error.error if isinstance(error, UnsafeRealm) else error
        self.problem = self.problem or problem
        return found
