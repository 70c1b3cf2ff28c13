"""What registries answer to writes: success, refusal, or something unclear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import NotFound, RegistryError
from wherry.registry.status_errors import MAX_ERROR, error_for_response, refusal_error
from wherry.registry.stored_digest import check_stored_digest, named_digest
from wherry.registry.web_page import refuse_page

if TYPE_CHECKING:
    from wherry.errors import Places, WherryError
    from wherry.model.digest import Digest
    from wherry.registry.http.response import HttpResponse

_OK, _CREATED, _TOO_LARGE = 200, 201, 413
# Answers that concern what was sent, not the connection, the credentials or the moment.
_REFUSALS = {400, 405, 406, 409, 411, 412, _TOO_LARGE, 415, 416, 422, 501, 507}
_TOO_LARGE_HINT = (
    "a proxy in front of the registry may limit the size of requests "
    "(in nginx: client_max_body_size)"
)
_NO_REPOSITORY_HINT = "some registries want the repository or its project to be created first"


def error_of(response: HttpResponse, where: Places, host: str) -> WherryError:
    """Return the error for an answer that is neither a success nor a refusal."""
    is_read = response.request.method == "HEAD"
    body = b"" if is_read else response.read_secret(MAX_ERROR)
    return error_for_response(response, body, where, host)


def check_success(
    response: HttpResponse, where: Places, host: str, refusal: str = "refuses the upload"
) -> None:
    """Raise the error for an answer that is no success; ``refusal`` is its verb."""
    if response.status in _REFUSALS:
        said = response.read_secret(MAX_ERROR)
        hint = _TOO_LARGE_HINT if response.status == _TOO_LARGE else ""
        raise refusal_error(response, said, where, f"the registry {refusal}", hint)
    if not _OK <= response.status < _OK + 100:
        raise error_of(response, where, host)


def check_start(response: HttpResponse, where: Places, host: str) -> None:
    """Raise the error for a refused start of an upload."""
    try:
        check_success(response, where, host)
    except NotFound as error:
        error.hint = error.hint or _NO_REPOSITORY_HINT
        raise
    response.drain()


def is_confirmed(
    response: HttpResponse,
    digest: Digest,
    what: str,
    where: Places,
    host: str,
    hint: str = "",
) -> bool:
    """Tell whether ``what`` is stored: by 201, or by another success with its digest.

    ``hint`` says what to try if the registry refuses it.

    Raises:
        RegistryError: The registry refuses it.
        NetworkError: The answer is a web page.
        IntegrityError: Something else was stored.
    """
    try:
        check_success(response, where, host, f"refuses {what}")
    except RegistryError as error:
        error.hint = error.hint or hint
        raise
    if response.status == _CREATED:
        response.drain()
    else:
        refuse_page(response, response.read(MAX_ERROR), where, f"a receipt for {what}")
    check_stored_digest(response, digest, where)
    return response.status == _CREATED or named_digest(response) == digest


def not_stored(response: HttpResponse, where: Places) -> RegistryError:
    """Return the error for a success after which the registry lacks what was sent."""
    return refusal_error(response, b"", where, "the registry has not stored what was sent")
