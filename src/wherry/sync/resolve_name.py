"""Resolving a name to its digest, by a HEAD request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import WherryError
from wherry.model.address import Address
from wherry.model.platform import Platform
from wherry.ops.documents import PlatformChoice, get_digest

if TYPE_CHECKING:
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.ops.open_source import Access

_ANY = PlatformChoice(None, Platform("linux", "amd64"))


def resolve_name(name: Reference, access: Access) -> Digest:
    """Return the digest of the index or manifest that a name stands for.

    Raises:
        NotFound: There is no such image.
        WherryError: The registry cannot be asked.
    """
    if name.digest is not None:
        return name.digest
    try:
        return get_digest(Address.of(name), access, _ANY)
    except WherryError as error:
        if not error.is_within(name.domain):
            error.within(name.familiar)
        raise
