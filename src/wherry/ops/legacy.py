"""Going on to the v1 protocol after v2 has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Cancelled, Unsupported, WherryError
from wherry.registry.legacy_order import choose_error, is_silent, may_go_on, may_help
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event
    from wherry.model.reference import Reference
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session
    from wherry.registry.v1_repository import V1Repository

WARNING = (
    "the registry is a legacy one: version 1 of the protocol does not authenticate the content"
)


def open_v1(
    session: Session,
    reference: Reference,
    error: WherryError,
    listener: Callable[[Event], None],
    cancel: CancelToken,
    *,
    served: bool = False,
    advises: bool = True,
) -> V1Repository:
    """Open a repository by v1 after v2 failed. The registry has said that it has the repository.

    Args:
        session: The session with registries.
        reference: The repository, with the tag or digest that was looked for, if any.
        error: The error of v2.
        listener: Gets a warning that v1 is used.
        cancel: Ends the calls of the repository.
        served: Whether v2 has served a manifest or a tag list in this operation.
        advises: Whether the hint of the error may name ``--legacy``.

    Raises:
        WherryError: v1 is not allowed after ``error``, which is raised again, with a hint if v1
            could have helped. Or v1 has failed too; then the error that matters more is raised.
    """
    allowed = _allowed_endpoints(session, reference, error, served=served, advises=advises)
    from wherry.registry.v1_repository import V1Repository

    emitter = Emitter(listener, reference.familiar)
    repository = V1Repository(
        session,
        reference,
        allowed,
        cancel,
        warn=emitter.warn,
        on_retry=emitter.report_retry,
    )
    try:
        repository.connect(is_silent=is_silent(error))
    except Cancelled:
        raise
    except WherryError as other:
        raise choose_error(error, other) from None
    emitter.warn(WARNING)
    return repository


def _allowed_endpoints(
    session: Session, reference: Reference, error: WherryError, *, served: bool, advises: bool
) -> list[Endpoint]:
    """Return the endpoints that may be asked by v1; raises ``error`` if there are none."""
    if not may_go_on(error, served=served):
        raise error
    allowed = [endpoint for endpoint in session.hosts.endpoints(reference) if endpoint.legacy]
    if reference.digest is not None:
        if allowed and advises:
            _advise_a_tag(error, reference.domain)
        raise error
    if not allowed:
        if advises:
            advise(error, reference.domain)
        raise error
    return allowed


def without_v1(
    session: Session,
    reference: Reference,
    error: WherryError,
    listener: Callable[[Event], None],
    cancel: CancelToken,
) -> WherryError:
    """Return the error of a call that needs a manifest, after v2 has failed with ``error``.

    If v1 is allowed and has the repository, the error says that v1 has no manifests.
    """
    try:
        open_v1(session, reference, error, listener, cancel, advises=False)
    except WherryError as found:
        return found
    return Unsupported(
        f"{reference.domain} has it only by the legacy v1 protocol, which has no manifests",
        hint=f"pull the image first: wherry pull --legacy {reference.familiar}",
    ).within(reference.familiar)


def advise(error: WherryError, host: str) -> None:
    """Add how to allow v1 to the hint of an error, if that may help."""
    if may_help(error, host):
        error.add_hint(f"if {host} is a legacy registry (protocol version 1): --legacy")


def _advise_a_tag(error: WherryError, host: str) -> None:
    """Add to the hint of an error about a digest that v1, which is allowed, has no digests."""
    if may_help(error, host):
        error.add_hint(f"if {host} is a legacy registry, name a tag: version 1 has no digests")
