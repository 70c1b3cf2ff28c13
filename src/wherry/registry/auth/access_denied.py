"""Hints for errors that say access is denied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.reference import Reference

if TYPE_CHECKING:
    from wherry.registry.auth.credential_store import CredentialStore
    from wherry.registry.hosts import Endpoint


def denial_hint(store: CredentialStore, endpoint: Endpoint, repository: str) -> str:
    """Return which credentials failed, or that there are none, and what to try."""
    host = endpoint.name
    lookups = store.look_up(host, repository, own=endpoint.own)
    lines = []
    if lookups and lookups[-1].credentials is not None:
        place = lookups[-1].place
        if place == "--creds":
            lines = ["the credentials that were given do not allow this"]
        else:
            lines = [f"the credentials of {place} do not allow this; `wherry login {host}`"]
    elif repository:
        name = Reference(host, repository).familiar_name
        lines = [
            (
                f"no credentials for {host} were found; `wherry login {host}`, "
                f"or `wherry why {name}` to see where they were looked for"
            )
        ]
    else:
        lines = [f"no credentials for {host} were found; `wherry login {host}`"]
    lines += [f"{each.place.partition(' ')[0]}: {each.outcome}" for each in lookups if each.failed]
    return "\n".join(lines)
