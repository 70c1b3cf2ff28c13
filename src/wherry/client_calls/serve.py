"""The call of a client that serves the store as a registry."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import wherry
from wherry._context import public_call
from wherry.client_calls.base import ClientCalls
from wherry.config import host_platform
from wherry.content.cancel import CancelToken


class ServeCalls(ClientCalls):
    """Serve the store to other clients."""

    @public_call
    def serve(
        self,
        listen: str = "127.0.0.1:5000",
        *,
        name: str | None = None,
        read_only: bool = False,
        proxies: Sequence[str] = (),
        proxy_ttl: float = 60.0,
        htpasswd: str | os.PathLike[str] | None = None,
        tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        ui: bool = True,
        on_ready: Callable[[str], None] | None = None,
        on_access: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Serve the store as a registry until the call is cancelled; then return.

        What clients push to ``PATH`` is named ``NAME/PATH`` in the store. Needs the extra
        ``wherry[serve]``.

        Args:
            listen: ``HOST:PORT``; port 0 takes a free port.
            name: The domain of the names that clients push. Without it ``localhost:PORT``,
                or the address if other machines can connect.
            read_only: Refuse pushes and deletions.
            proxies: Registries to fetch from what the store lacks, each as ``HOST``, or as
                ``HOST=URL`` to fetch it from elsewhere. What the client's credentials can read
                there, every client of the server can.
            proxy_ttl: Seconds for which their tags are served without asking again.
            htpasswd: A file of users with bcrypt hashes, as ``htpasswd -B`` makes it. Without
                it every client that can connect has access. It is read again when it changes.
            tls: The PEM files of a certificate and its key. Without them the server speaks
                plain http.
            ui: Whether ``/`` shows the repositories to people.
            on_ready: Called with the URL of the server once it accepts connections.
            on_access: Called with one line for each request. A slow callback delays all
                requests.

        Raises:
            WherryError: The address is in use, a file cannot be used, or the extra is missing.
        """
        from wherry.image_store import local_store

        with _extra():
            from wherry.serve import server
            from wherry.serve.listener import parse
            from wherry.serve.registry import Registry, RegistryOptions
            from wherry.serve.tls import TlsFiles

            options = RegistryOptions(
                name=name,
                read_only=read_only,
                proxies=proxies,
                proxy_ttl=proxy_ttl,
                users=None if htpasswd is None else Path(htpasswd),
                has_pages=ui,
                log=on_access,
            )
            files = None if tls is None else TlsFiles(*map(Path, tls))
            binding = server.Binding(parse(listen), files)
            local, session = local_store(self._context.store), self._context.session
            registry = Registry(local, host_platform(), session, options)
        with contextlib.closing(registry):
            server.run(registry, binding, on_ready or _ignore, self._context.token(cancel))


def _ignore(_url: str) -> None:
    """Listen to no URL."""


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    """Explain how to install the packages that only this call needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        hint = "install it with the others: pip install 'wherry[serve]'"
        package = (error.name or "").partition(".")[0]
        raise wherry.WherryError(f"serve needs the package {package}", hint=hint) from None
