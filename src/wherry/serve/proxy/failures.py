"""Failures of other registries, as answers to the clients of this one."""

from __future__ import annotations

import math

from wherry.errors import (
    Cancelled,
    Denied,
    IntegrityError,
    InvalidDocument,
    NetworkError,
    NotFound,
    RateLimited,
    RegistryError,
    StoreError,
    Unauthorized,
    Unsupported,
    WherryError,
)
from wherry.serve.answers import ApiError

_BAD_GATEWAY = 502
_SERVER_ERROR = 500


def is_away(error: WherryError) -> bool:
    """Tell whether a registry cannot answer now, which says nothing about its content."""
    if isinstance(error, RegistryError):
        return error.status >= _SERVER_ERROR
    return isinstance(error, NetworkError | RateLimited)


def is_worth_warning(error: WherryError) -> bool:
    """Tell whether the operator of the server should know of a failure."""
    return not isinstance(error, NotFound | Cancelled)


def answer_to(error: WherryError, domain: str) -> Exception:
    """Return what a client is told of a failure.

    The text of ``error`` may name files of this machine, so it is not passed on. Errors of the
    store are returned as they are.
    """
    match error:
        case StoreError():
            return error
        case Unauthorized() | Denied():
            # No 401: it would ask the client for credentials of this server.
            message = f"{domain} does not let this server read the repository, or has none"
            return ApiError("DENIED", message)
        case RateLimited():
            seconds = error.retry_after
            headers = {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}
            message = f"{domain} limits the requests of this server"
            return ApiError("TOOMANYREQUESTS", message, headers=headers)
        case IntegrityError() | InvalidDocument() | Unsupported():
            message = f"what {domain} sent is not what was asked for"
            return ApiError("UNAVAILABLE", message, status=_BAD_GATEWAY)
        case Cancelled():
            return ApiError("UNAVAILABLE", "the server is stopping")
        case _:
            message = f"{domain} does not answer"
            return ApiError("UNAVAILABLE", message, status=_BAD_GATEWAY)
