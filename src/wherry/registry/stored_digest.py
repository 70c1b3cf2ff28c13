"""The digests that a registry confirms for what it has stored: its own and its subject's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import IntegrityError, InvalidDigest
from wherry.model.digest import Digest

if TYPE_CHECKING:
    from wherry.errors import Places
    from wherry.registry.http.response import HttpResponse


def named_digest(response: HttpResponse) -> Digest | None:
    """Return the digest that a response names; None if it names none, or one of no use."""
    return _digest(response, "Docker-Content-Digest")


def _digest(response: HttpResponse, header: str) -> Digest | None:
    try:
        return Digest.parse(response.header(header))
    except InvalidDigest:
        return None


def check_stored_digest(response: HttpResponse, digest: Digest, where: Places) -> None:
    """Compare the digest that a registry confirms with that of what was sent.

    A digest of another algorithm is not compared: Distribution 2.8 names sha512 blobs by sha256.

    Raises:
        IntegrityError: The registry has stored something else.
    """
    named = named_digest(response)
    if named is None or named.algorithm != digest.algorithm or named == digest:
        return
    raise IntegrityError(
        f"the registry has stored {named}",
        expected=str(digest),
        actual=str(named),
        altered=True,
        hint="a proxy on the way may be altering uploads",
    ).within(*where)


def confirms_subject(response: HttpResponse, subject: Digest, where: Places) -> bool:
    """Return whether ``OCI-Subject`` confirms that a document is listed as a referrer.

    Raises:
        IntegrityError: The registry lists it as a referrer of another document.
    """
    named = _digest(response, "OCI-Subject")
    if named is None or named == subject:
        return named is not None
    raise IntegrityError(
        f"the registry lists it as a referrer of {named}, its subject is {subject}",
        expected=str(subject),
        actual=str(named),
        altered=True,
    ).within(*where)
