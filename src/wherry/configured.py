"""What a client says of, and does to, the configuration that it finds: why, login, logout."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import wherry
from wherry.calls import operation
from wherry.connected import Connected

if TYPE_CHECKING:
    from wherry.ops.login import AuthFiles


class Configured(Connected):
    """A client with credentials to keep and reasons to give."""

    @operation
    def login(
        self,
        registry: str,
        username: str,
        password: str,
        *,
        on_warning: Callable[[str], None] | None = None,
        cancel: wherry.CancelToken | None = None,
    ) -> str:
        """Try credentials on ``HOST[/PATH]``, keep them, and return where; idempotent.

        They are kept by the helper that a file names for the host, else in ``authfile``, or
        in the first of the files that podman and skopeo look at. Raises `Unauthorized` where
        the registry does not take them, and the errors of any request; then nothing is kept.
        ``on_warning`` is called with a line of text if the registry does not verify them.
        """
        from wherry.ops.login import login
        from wherry.registry.auth.credentials import Credentials

        given = Credentials(username, password)
        session = self._make_session(given)
        try:
            token, warn = self._calls.token(cancel), on_warning or _ignore
            return login(session, registry, given, self._auth_files(), token, warn)
        finally:
            session.close()
            self._renew()

    @operation
    def logout(
        self, registry: str, *, cancel: wherry.CancelToken | None = None
    ) -> wherry.types.LoggedOut:
        """Forget the credentials for ``HOST[/PATH]`` where `login` keeps them.

        Tells where they were, and where there still are some. Raises `NotFound` if there are
        none at all, and `WherryError` if a helper or file fails; the others are asked all the same.
        """
        from wherry.ops.login import logout

        try:
            return logout(registry, self._auth_files(), self._calls.token(cancel))
        finally:
            self._renew()

    @operation
    def logout_everywhere(self) -> list[str]:
        """Forget all that is in the file that `login` writes; return for which hosts."""
        from wherry.ops.login import logout_everywhere

        try:
            return logout_everywhere(self._auth_files())
        finally:
            self._renew()

    @operation
    def meanings(self, name: str) -> tuple[wherry.types.NameCandidate, ...]:
        """Return what a name on the command line stands for, in the order to try.

        Aliases and hosts to search come from registries.conf; all other methods complete names
        without a registry to docker.io. ``docker://`` does so too. Raises `InvalidReference`.
        """
        return self._meanings(name)

    def _meanings(self, name: str) -> tuple[wherry.types.NameCandidate, ...]:
        from wherry.model.address import Address, Where
        from wherry.registry.hosts import NameCandidate

        if name.startswith("docker://"):
            return (NameCandidate(name.removeprefix("docker://"), "as it is written"),)
        if Address.parse(name).where is not Where.REGISTRY:
            return (NameCandidate(name, "as it is written"),)
        return self._connected().hosts.name_candidates(name)

    @operation
    def why(
        self, name: str, *, offline: bool = False, cancel: wherry.CancelToken | None = None
    ) -> list[wherry.types.Why]:
        """Explain where a name is looked for, for each of its `meanings`; holds no secret.

        The registry is asked what it says, with one HEAD for the manifest, unless ``offline``.
        """
        from wherry.ops.why import why

        session, token = self._connected(), self._calls.token(cancel)
        return [
            why(session, meaning.name, meaning.source, token, offline=offline)
            for meaning in self._meanings(name)
        ]

    def _auth_files(self) -> AuthFiles:
        from wherry.ops.login import AuthFiles

        config = self._config()
        return AuthFiles(config.auth_files, config.login_file)

    def _renew(self) -> None:
        """Let no earlier answer stand: credentials have changed."""
        with self._lock:
            if self._session is not None:
                self._session.forget()


def _ignore(_warning: str) -> None:
    """Listen to no warning."""
