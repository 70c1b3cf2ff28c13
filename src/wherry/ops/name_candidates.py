"""What a name on the command line stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.address import Where
from wherry.model.reference import Reference
from wherry.registry.hosts import NameCandidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.model.address import Address
    from wherry.registry.session import Session


def name_candidates(address: Address, session: Callable[[], Session]) -> tuple[NameCandidate, ...]:
    """Return the addresses that a name stands for, in the order to try.

    ``session`` is called only for a name that registries.conf may complete.

    Raises:
        InvalidReference: The name is no name of a registry, though its place may be one.
        WherryError: A file of registries.conf is wrong, or short names are enforced.
    """
    if address.where is Where.ANY and address.given is None:
        Reference.parse(address.name)  # which raises the error
    if not address.short:
        return (NameCandidate(address, "as it is written"),)
    return session().hosts.name_candidates(address)
