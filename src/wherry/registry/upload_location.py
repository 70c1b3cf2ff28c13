"""Where an upload goes on: the ``Location`` of a registry's answers. Does no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from wherry.errors import NetworkError
from wherry.model.record import Record
from wherry.model.secret import SecretUrl
from wherry.registry.http.private_address import is_private
from wherry.registry.http.redirect import leaves_tls, origin, redirect_target
from wherry.registry.http.request import public_url
from wherry.registry.requester import has_public_peer

if TYPE_CHECKING:
    from wherry.model.digest import Digest
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.response import HttpResponse

_RANGE = re.compile(r"(?:bytes[ =])?0-(\d{1,18})")
_LENGTH = re.compile(r"\d{1,18}")


class UploadLocation(Record):
    """The address of an upload session.

    With ``public_only`` a request to another host than the registry's is not sent to a private
    address.
    """

    url: SecretUrl
    public_only: bool

    def with_digest(self, digest: Digest) -> UploadLocation:
        """Return the address that finishes the upload; the query stays as it is."""
        joint = "&" if urlsplit(self.url).query else "?"
        value = quote(str(digest), safe=":")
        return self.replace(url=SecretUrl(f"{self.url}{joint}digest={value}"))


class UploadState(Record):
    """What an answer says about an upload.

    Attributes:
        location: Where the next request goes.
        received: The bytes that the registry has, or None if the answer does not say so.
            ``0-0`` means none: some registries write it for an empty upload.
        chunk_min_length: The least bytes of a chunk but the last (``OCI-Chunk-Min-Length``).
    """

    location: UploadLocation
    received: int | None = None
    chunk_min_length: int = 0


def read_upload_state(
    response: HttpResponse, endpoint: Endpoint, before: UploadLocation | None = None
) -> UploadState:
    """Read the state of an upload from an answer (OCI distribution spec 1.1, Push).

    A relative ``Location`` is resolved against the host that answered.

    Args:
        response: The answer.
        endpoint: The registry.
        before: The address that the request went to; used if the answer has no ``Location``.

    Raises:
        NetworkError: There is no usable address, or content must not be sent there.
    """
    found = _RANGE.fullmatch(response.header("Range"))
    last = int(found.group(1)) if found else None
    least = response.header("OCI-Chunk-Min-Length")
    return UploadState(
        _location(response, endpoint, before),
        received=None if last is None else (last and last + 1),
        chunk_min_length=int(least) if _LENGTH.fullmatch(least) else 0,
    )


def _location(
    response: HttpResponse, endpoint: Endpoint, before: UploadLocation | None
) -> UploadLocation:
    header = response.header("Location")
    if not header and before is not None:
        return before
    here = response.request.url
    target = redirect_target(here, header) if header else None
    if target is None:
        raise _error(endpoint, "it names no usable address to upload to")
    if leaves_tls(here, target):
        raise _error(
            endpoint,
            f"it wants the upload in plain http ({public_url(target)}), and was asked by https",
            "the registry, or a proxy before it, has to name https addresses",
        )
    public_only = has_public_peer(response) if before is None else before.public_only
    is_elsewhere = origin(target) != origin(here)
    if is_elsewhere and public_only and is_private(urlsplit(target).hostname or ""):
        raise private_upload_error(endpoint, target)
    return UploadLocation(target, public_only)


def private_upload_error(endpoint: Endpoint, url: str) -> NetworkError:
    """Return the error for an upload that a public registry sends to a private address."""
    return _error(
        endpoint,
        f"it wants the upload in a private network ({public_url(url)}), and has a public address",
    )


def _error(endpoint: Endpoint, problem: str, hint: str = "") -> NetworkError:
    message = f"{problem}; nothing was sent there"
    error = NetworkError(message, host=endpoint.name, transient=False, hint=hint)
    return error.within(f"{endpoint.name}/{endpoint.path}")
