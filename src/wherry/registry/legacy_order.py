"""Whether the v1 protocol is tried after the v2 protocol, and which of their errors counts.

All endpoints of a repository are asked by v2 first: mirrors, then the registry, each by https
and, where that is allowed, by plain http. v1 comes after them, over the same endpoints in the
same order.
"""

from __future__ import annotations

import enum

from wherry.errors import (
    Ambiguous,
    Denied,
    InvalidDocument,
    NetworkError,
    NotFound,
    PlatformMismatch,
    RateLimited,
    RegistryError,
    Unauthorized,
    WherryError,
)

_NO_API = {405, 501}  # statuses, beside 404, of a server that does not know a protocol
# Docker Hub has had no v1 since June 2019 (docker.com/blog/registry-v1-api-deprecation). The
# others opened after engines had turned to v2.
_WITHOUT_V1 = {
    *("docker.io", "ghcr.io", "mcr.microsoft.com", "public.ecr.aws", "registry.gitlab.com"),
    "registry.k8s.io",
}
_WITHOUT_V1_BELOW = (".amazonaws.com", ".azurecr.io", ".pkg.dev")


def may_go_on(error: WherryError, *, served: bool) -> bool:
    """Return whether v1 may be tried after v2 failed with ``error``.

    A registry that serves a manifest or a tag list speaks v2, and what it does not have by v2
    is not looked for by v1. Until then v1 may be tried after these errors:

    - No response, or a web page: the host may not speak v2.
    - The status 404, 405 or 501: either there is no ``/v2/``, or the registry keeps this
      repository or tag for v1 only.
    - Missing or refused credentials: a front end of a v1 registry may ask for some at ``/v2/``.

    All others end the attempt. A registry that fails, limits requests or denies access would
    do so for v1 too, and content that breaks a rule must not be replaced by other content.

    Args:
        error: The error of the first manifest or tag list.
        served: Whether v2 has served a manifest or a tag list in this operation.
    """
    if served:
        return False
    match error:
        case Ambiguous() | PlatformMismatch():  # of an image that was found
            return False
        case NetworkError() | NotFound() | Unauthorized():
            return True
        case RegistryError():
            return error.status in _NO_API
        case _:
            return False


def may_help(error: WherryError, host: str) -> bool:
    """Return whether v1 could succeed after an error for which `may_go_on` allows it.

    It cannot if the host was not reached, since v1 has the same address and certificate. Public
    registries that are known to have no v1 are left out too, so that not every misspelt name is
    answered by a hint about v1.
    """
    return not is_silent(error) and host not in _WITHOUT_V1 and not host.endswith(_WITHOUT_V1_BELOW)


def is_silent(error: WherryError) -> bool:
    """Return whether the host has not answered at all."""
    return isinstance(error, NetworkError) and not error.answered


class _Weight(enum.IntEnum):
    """What an error says, from the least to the most important."""

    NO_PATH = 0
    UNREACHABLE = 1
    OTHER_PROTOCOL = 2
    FAILURE = 3
    NOT_FOUND = 4
    REFUSED = 5
    OTHER_ERROR = 6


def choose_error(v2: WherryError, v1: WherryError) -> WherryError:
    """Return the error that matters more to the user; of equal ones that of v2.

    The last error is often the least useful one: a registry refuses the credentials by v2, and
    then there is no v1 at its address. From the most important to the least:

    1. An error that is not about a request, such as content with another id. It must not be
       hidden.
    2. Credentials that are missing or refused: the user can do something about them, and the
       image may be there.
    3. A registry says that it does not have the image. By v2 it says so with an error code.
    4. A registry fails, asks to wait, or sends a document that does not parse.
    5. The host answers, but not by this protocol.
    6. The host does not answer.
    7. A 404 by v2 without an error code: a v1 registry answers so to every path of v2.
    """
    v2_weight = _weigh(v2)
    if isinstance(v2, NotFound) and not v2.codes:
        v2_weight = _Weight.NO_PATH
    return v1 if _weigh(v1) > v2_weight else v2


def _weigh(error: WherryError) -> _Weight:
    match error:
        case NetworkError():
            return _Weight.OTHER_PROTOCOL if error.answered else _Weight.UNREACHABLE
        case Unauthorized() | Denied():
            return _Weight.REFUSED
        case NotFound():
            return _Weight.NOT_FOUND
        case RegistryError():
            return _Weight.OTHER_PROTOCOL if error.status in _NO_API else _Weight.FAILURE
        case RateLimited() | InvalidDocument():
            return _Weight.FAILURE
        case _:
            return _Weight.OTHER_ERROR
