"""Asking a registry whether it speaks the version 2 protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.registry.requester import Call
from wherry.registry.status_errors import MAX_ERROR
from wherry.registry.web_page import refuse_page
from wherry.registry.write_answers import error_of

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session

_OK = 200


def check_v2(session: Session, endpoint: Endpoint, cancel: CancelToken) -> None:
    """Request ``/v2/`` (OCI distribution spec 1.1, Determining Support), in one attempt.

    Where that takes a token, it is one with which the repository can be written to.

    Raises:
        NotFound: The server does not speak version 2.
        Unauthorized: The server wants other credentials.
        NetworkError: The server did not answer, or with a web page.
    """
    where = (f"{endpoint.name}/{endpoint.path}",)
    call = Call("GET", "/v2/", endpoint.path, "pull,push")
    response = session.send(endpoint, call, cancel)
    if response.status != _OK:
        raise error_of(response, where, endpoint.name)
    refuse_page(response, response.read(MAX_ERROR), where, "the answer of a registry")
