"""The call of a client that serves the store as a registry."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import wherry
from wherry._context import public_call
from wherry.client_calls.base import ClientCalls
from wherry.config import host_platform
from wherry.content.cancel import CancelToken

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from wherry.serve.listener import ListenAddress


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
        on_ready: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Serve the store as a registry until the call is cancelled.

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
            on_ready: Called with the URL of the server once it accepts connections.

        Raises:
            WherryError: The address is in use, or the extra is missing.
        """
        with _extra():
            from wherry.serve import server
            from wherry.serve.app import create_app
            from wherry.serve.context import Context
            from wherry.serve.listener import parse
            from wherry.serve.proxy.addresses import parse_all

        addresses = parse_all(proxies)
        from wherry.image_store import local_store

        local, host = local_store(self._context.store), host_platform()
        upstreams = None
        if addresses:
            from wherry.serve.proxy.upstreams import Upstreams

            session = self._context.session()
            upstreams = Upstreams(local, session, addresses, host, ttl_seconds=proxy_ttl)

        def make_app(address: ListenAddress) -> ASGIApp:
            own = name or address.name
            if own in addresses:
                raise ValueError(f"{own} is this server: it cannot fetch from itself")
            context = Context(local, own, host, read_only=read_only, upstreams=upstreams)
            return create_app(context)

        def ready(address: ListenAddress) -> None:
            if on_ready is not None:
                on_ready(f"http://{address}")

        token = self._context.token(cancel)
        with contextlib.ExitStack() as until_ended:
            if upstreams is not None:
                until_ended.callback(upstreams.close)
                until_ended.enter_context(token.wake_on_cancel(upstreams.cancel))
            server.run(make_app, parse(listen), ready, token)


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    """Explain how to install the packages that only this call needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        hint = "install it with the others: pip install 'wherry[serve]'"
        raise wherry.WherryError(f"serve needs the package {error.name}", hint=hint) from None
