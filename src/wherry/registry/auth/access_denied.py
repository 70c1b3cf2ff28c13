"""A registry's question who is asking, and what to tell people whom it refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.reference import Reference

if TYPE_CHECKING:
    from wherry.registry.auth.credentials import CredentialStore
    from wherry.registry.hosts import Endpoint


def denial_hint(store: CredentialStore, endpoint: Endpoint, repository: str) -> str:
    """Say what to do about a refusal: whose credentials it was, or that there were none."""
    host = endpoint.name
    trail = store.trail(host, repository, own=endpoint.own)
    lines = []
    if trail and trail[-1].credentials is not None:
        where = trail[-1].place
        if where == "--creds":
            lines = ["the credentials that were given are not good for this"]
        else:
            lines = [f"the credentials of {where} are not good for this; `wherry login {host}`"]
    elif repository:
        name = Reference(host, repository).familiar_name
        lines = [
            (
                f"no credentials for {host} were found; `wherry login {host}`, "
                f"or `wherry why {name}` to see where they were looked for"
            )
        ]
    lines += [f"{look.place.partition(' ')[0]}: {look.outcome}" for look in trail if look.failed]
    return "\n".join(lines)
