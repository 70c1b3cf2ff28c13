"""Calls of a client about credentials and settings for registries."""

from __future__ import annotations

from collections.abc import Callable

import wherry
from wherry._context import public_call
from wherry._values import as_address
from wherry.client_calls.base import ClientCalls
from wherry.content.cancel import CancelToken
from wherry.model.address import Address


class AccountCalls(ClientCalls):
    """Log in and out, and explain how names are resolved."""

    @public_call
    def login(
        self,
        registry: str,
        username: str,
        password: str,
        *,
        on_warning: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> str:
        """Try credentials on a registry and save them. Idempotent.

        A credential helper saves them if a file names one for the host. Without a helper they
        are saved to ``authfile``, or to the first of the files that podman and skopeo read.

        Args:
            registry: ``HOST[/PATH]``.
            username: The user.
            password: The user's password or token.
            on_warning: Called with a line of text if the registry does not verify them.

        Returns:
            Where the credentials were saved.

        Raises:
            Unauthorized: The registry refuses them; nothing is saved.
        """
        from wherry.ops.login import login
        from wherry.registry.auth.credentials import Credentials

        context, credentials = self._context, Credentials(username, password)
        warn = on_warning or _ignore
        with context.changing_credentials() as files, context.session_as(credentials) as session:
            return login(session, registry, credentials, files, context.token(cancel), warn)

    @public_call
    def logout(
        self, registry: str, *, cancel: CancelToken | None = None
    ) -> wherry.types.LogoutResult:
        """Remove the credentials for a registry from where `login` saves them.

        Args:
            registry: ``HOST[/PATH]``.

        Returns:
            The places that they were removed from, and a place that still has some.

        Raises:
            NotFound: There are none.
            WherryError: A helper or a file fails; the others are still tried.
        """
        from wherry.ops.login import logout

        with self._context.changing_credentials() as files:
            return logout(registry, files, self._context.token(cancel))

    @public_call
    def logout_everywhere(self) -> list[str]:
        """Remove all credentials from the file that `login` writes; return their hosts."""
        from wherry.ops.login import logout_everywhere

        with self._context.changing_credentials() as files:
            return logout_everywhere(files)

    @public_call
    def name_candidates(self, address: str | Address) -> tuple[wherry.types.NameCandidate, ...]:
        """Return the addresses that a name on the command line may mean, in the order to try.

        Only this call and `why` apply the aliases and search lists of registries.conf. All
        other calls use docker.io for a name without a registry, as ``docker://`` does here.
        """
        from wherry.ops.name_candidates import name_candidates

        return name_candidates(as_address(address), self._context.session)

    @public_call
    def why(
        self, address: str | Address, *, offline: bool = False, cancel: CancelToken | None = None
    ) -> list[wherry.types.NameReport]:
        """Explain how each of `name_candidates` is resolved; the report has no secrets.

        Args:
            address: A name in a registry.
            offline: Do not ask the registry. Otherwise it gets one HEAD for the manifest.
        """
        from wherry.ops.name_candidates import name_candidates
        from wherry.ops.why import why

        session, token = self._context.session(), self._context.token(cancel)
        return [
            why(session, reference, candidate.source, token, offline=offline)
            for candidate in name_candidates(as_address(address), self._context.session)
            if (reference := candidate.address.reference) is not None
        ]


def _ignore(_warning: str) -> None:
    """Listen to no warning."""
