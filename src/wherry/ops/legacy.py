"""Going on to the v1 protocol after v2 has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Cancelled, WherryError
from wherry.registry.legacy_order import choose_error, may_go_on, may_help
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from wherry.model.reference import Reference
    from wherry.ops.open_source import Access
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session
    from wherry.registry.v1_repository import V1Repository


def open_v1(
    reference: Reference, access: Access, error: WherryError, *, served: bool = False
) -> V1Repository:
    """Open a repository by v1 after v2 failed. The registry has said that it has the repository.

    Args:
        reference: The repository, with the tag or digest that was looked for, if any.
        access: What opening takes.
        error: The error of v2.
        served: Whether v2 has served a manifest or a tag list in this operation.

    Raises:
        WherryError: v1 is not allowed after ``error``, which is raised again, with a hint if v1
            could have helped. Or v1 has failed too; then the error that matters more is raised.
    """
    # v1 has no digests.
    if reference.digest is not None or not may_go_on(error, served=served):
        raise error
    session = access.session()
    endpoints = session.hosts.endpoints(reference)
    allowed = [_narrow(session, endpoint) for endpoint in endpoints if endpoint.legacy]
    if not allowed:
        if may_help(error, reference.domain):
            advice = f"if {reference.domain} speaks only version 1 of the protocol: --legacy"
            error.hint = "\n".join(filter(None, (error.hint, advice)))
        raise error
    from wherry.registry.v1_repository import V1Repository

    emitter = Emitter(access.listener, reference.familiar)
    repository = V1Repository(
        session,
        reference,
        allowed,
        access.cancel,
        warn=emitter.warn,
        on_retry=emitter.report_retry,
    )
    try:
        repository.connect()
    except Cancelled:
        raise
    except WherryError as other:
        raise choose_error(error, other) from None
    emitter.warn(
        f"{reference.domain} serves this repository by the legacy v1 protocol, "
        "which does not authenticate the content"
    )
    return repository


def _narrow(session: Session, endpoint: Endpoint) -> Endpoint:
    """Keep only the scheme by which a host has responded to v2, if it has.

    A host that speaks TLS is never asked in plain http.
    """
    known = session.scheme(endpoint)
    return endpoint.replace(schemes=(known,)) if known in endpoint.schemes else endpoint
