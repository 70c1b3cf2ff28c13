"""List the repositories of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Denied, InvalidReference, NotFound, Unauthorized
from wherry.registry.auth.credential_writer import CredentialKey
from wherry.registry.catalog import list_repositories
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from wherry.ops.open_source import Access

_HUB = "docker.io"
_HUB_HINT = "Docker Hub lists repositories only on hub.docker.com"
_HINT = "many registries list their repositories only to administrators, or not at all"


def list_catalog(registry: str, access: Access) -> list[str]:
    """Return a registry's repositories, without the host, in its order.

    Raises:
        InvalidReference: ``registry`` is not ``HOST[:PORT]``; no request is sent then.
        NotFound: The registry has no catalog.
        Unauthorized: The registry shows its catalog only to others.
        Denied: The credentials do not suffice.
    """
    host = _parse_host(registry)
    emitter = Emitter(access.listener, host)
    session = access.session()
    endpoint = session.hosts.registry(host)
    try:
        return list(
            list_repositories(
                session,
                endpoint,
                access.cancel,
                warn=emitter.warn,
                on_retry=emitter.report_retry,
            )
        )
    except (NotFound, Unauthorized, Denied) as error:
        error.add_hint(_HUB_HINT if host == _HUB else _HINT)
        raise


def _parse_host(text: str) -> str:
    """Return the host of ``HOST[:PORT]``, with or without a scheme."""
    key = CredentialKey.parse(text)
    if key.path:
        raise InvalidReference(
            "a catalog is that of a whole registry: HOST or HOST:PORT",
            text=text,
            position=text.index(f"/{key.path}"),
        )
    return key.host
