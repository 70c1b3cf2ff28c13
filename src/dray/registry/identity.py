"""Who we are to an endpoint: the credentials for it, and the tokens that they buy.

Loaded with the first registry that wants to know who is asking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dray.errors import Unauthorized
from dray.registry.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from dray.content.cancel import CancelToken
    from dray.registry.asked import Asked
    from dray.registry.certificates import Tls
    from dray.registry.credentials import Credentials, CredentialStore
    from dray.registry.hosts import Endpoint
    from dray.registry.transport import Transport


class Identity:
    """Answers registries that ask who we are. Thread-safe."""

    def __init__(
        self,
        store: CredentialStore,
        transport: Transport,
        tls: Callable[[Endpoint, str], Tls],
    ) -> None:
        self._store = store
        self._tokens = Tokens(transport, tls)

    def header(self, asked: Asked, refused: str | None, cancel: CancelToken) -> str | None:
        """Return an ``Authorization`` other than ``refused``, or None if there is none to try.

        Credentials that are refused are looked for again: a helper may give others by now.
        Raises `Unauthorized` where the token server refuses or must not be asked.
        """
        credentials = self._find(asked, cancel)
        if credentials is not None and refused == credentials.basic:
            credentials = self._others(asked, credentials, cancel) or credentials
        try:
            return self._tokens.header(asked, credentials, refused, cancel)
        except Unauthorized:
            others = credentials and self._others(asked, credentials, cancel)
            if others is None:
                raise
            return self._tokens.header(asked, others, refused, cancel)

    def _find(self, asked: Asked, cancel: CancelToken) -> Credentials | None:
        endpoint = asked.endpoint
        return self._store.find(endpoint.name, asked.repository, own=endpoint.own, cancel=cancel)

    def _others(
        self, asked: Asked, refused: Credentials, cancel: CancelToken
    ) -> Credentials | None:
        """Look again; None where it is still the same."""
        self._store.forget()
        found = self._find(asked, cancel)
        return None if found == refused else found
