"""What a name on the command line stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.address import Address, Where
from wherry.registry.hosts import NameCandidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.registry.session import Session


def name_candidates(name: str, session: Callable[[], Session]) -> tuple[NameCandidate, ...]:
    """Return the addresses that a name stands for, in the order to try.

    ``session`` is called only for a name that registries.conf may complete.

    Raises:
        InvalidReference: The name does not parse.
        WherryError: A file of registries.conf is wrong.
    """
    if name.startswith("docker://"):
        return (NameCandidate(name.removeprefix("docker://"), "as it is written"),)
    if Address.parse(name).where is not Where.REGISTRY:
        return (NameCandidate(name, "as it is written"),)
    return session().hosts.name_candidates(name)
