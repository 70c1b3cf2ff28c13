"""What refusals of uploads mean, by status and by the codes of the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import IntegrityError, NotFound, RegistryError

if TYPE_CHECKING:
    from wherry.errors import WherryError
    from wherry.model.digest import Digest

CHUNKS_REFUSED = {400, 405}
NOT_FOUND, OUT_OF_RANGE = 404, 416


def status_of(error: WherryError) -> int | None:
    """Return the status of a refusal; None for other errors."""
    if isinstance(error, NotFound):
        return NOT_FOUND
    return error.status if isinstance(error, RegistryError) else None


def explained(error: WherryError, digest: Digest) -> WherryError:
    """Return the error to raise: the registry may have got other bytes than were sent."""
    if not (isinstance(error, RegistryError) and "DIGEST_INVALID" in error.codes):
        return error
    return IntegrityError(
        f"the registry got other bytes than were sent: {error.message}",
        expected=str(digest),
        actual="another digest",
        altered=True,
        hint="a proxy on the way may be altering uploads",
    ).within(*error.where)
