"""A registry as its options describe it: what is served, to whom, under which name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import StoreError
from wherry.model.reference import is_domain
from wherry.serve.context import Context
from wherry.serve.guarded_app import Guards, create_guarded_app
from wherry.serve.proxy.addresses import parse_all
from wherry.serve.stalled import STALL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from starlette.types import ASGIApp

    from wherry.model.platform import Platform
    from wherry.registry.session import Session
    from wherry.serve.listener import ListenAddress
    from wherry.store import LocalStore


class RegistryOptions(NamedTuple):
    """Options of a registry; see `wherry.Client.serve`.

    Attributes:
        stall_seconds: How long the server waits for the next byte of a body.
    """

    name: str | None = None
    read_only: bool = False
    proxies: Sequence[str] = ()
    proxy_ttl: float = 60.0
    users: Path | None = None
    has_pages: bool = True
    log: Callable[[str], None] | None = None
    stall_seconds: float = STALL_SECONDS


class Registry:
    """Serves a store by options. Close it after its server has stopped.

    Args:
        store: The store.
        host: The platform of the image that a name of an index shows.
        session: Returns the session that fetches from other registries.
        options: The options.

    Raises:
        ValueError: A name or an address is invalid.
        WherryError: The file of users cannot be used.
    """

    def __init__(
        self,
        store: LocalStore,
        host: Platform,
        session: Callable[[], Session],
        options: RegistryOptions,
    ) -> None:
        self._store = store
        self._host = host
        self._options = options
        self._addresses = parse_all(options.proxies)
        if options.name is not None:
            _check_name(options.name)
        self._guards = Guards(log=options.log, stall_seconds=options.stall_seconds)
        if options.users is not None:
            from wherry.serve.htpasswd import Htpasswd

            self._guards = self._guards._replace(users=Htpasswd(options.users))
        self._upstreams = None
        if self._addresses:
            from wherry.serve.proxy.upstreams import Upstreams

            self._upstreams = Upstreams(
                store, session(), self._addresses, host, ttl_seconds=options.proxy_ttl
            )

    def make_app(self, address: ListenAddress) -> ASGIApp:
        """Return the application of a server at an address."""
        options = self._options
        name = options.name or address.name
        if name in self._addresses:
            raise ValueError(f"{name} is this server: it cannot fetch from itself")
        context = Context(
            self._store,
            name,
            self._host,
            read_only=options.read_only,
            upstreams=self._upstreams,
            has_pages=options.has_pages,
        )
        return create_guarded_app(context, self._guards)

    def clean_up(self) -> None:
        """Remove expired uploads; do nothing if the store cannot be changed now."""
        with contextlib.suppress(StoreError):
            self._store.incoming.sweep()

    def cancel(self) -> None:
        """Tell downloads from other registries to end; may be called from any thread."""
        if self._upstreams is not None:
            self._upstreams.cancel()

    def close(self) -> None:
        """End all downloads from other registries."""
        if self._upstreams is not None:
            self._upstreams.close()


def _check_name(name: object) -> None:
    is_name = isinstance(name, str) and is_domain(name) and not {":", "."}.isdisjoint(name)
    if not is_name:
        raise ValueError(
            f"{str(name)!r} cannot be the name of a registry: "
            "write HOST or HOST:PORT, such as registry.example.org"
        )
