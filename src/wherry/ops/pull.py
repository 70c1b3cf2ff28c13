"""Pull images from a registry into the local store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import WherryError
from wherry.ops.repository_pull import RepositoryPull
from wherry.transfer.event_queue import queued

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event
    from wherry.model.reference import Reference
    from wherry.ops.pull_options import PullOptions, PullResult
    from wherry.registry.session import Session
    from wherry.store import LocalStore


def pull(
    session: Session,
    store: LocalStore,
    reference: Reference,
    options: PullOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> PullResult:
    """Pull one image by tag or digest, ``latest`` without either; idempotent.

    If the pull fails, no name is changed. The bytes that have arrived stay in the store, and the
    next attempt continues from there (docs/architecture.md, "A pull").

    Where it is allowed, v1 is used if v2 does not have the image (`ops.legacy`).

    Raises:
        WherryError: The image cannot be pulled.
    """
    reference = reference.with_default_tag()
    with cancel.child() as token:
        operation = RepositoryPull(session, store, reference, options, token, listener)
        try:
            with operation.resolve_in_background(reference) as resolved, operation:
                pulled = operation.pull(reference, resolved)
                operation.report_done(pulled.updated)
                return pulled
        except WherryError as error:
            if options.root is not None:  # v1 has no digests
                raise
            failure = error
    from wherry.ops.legacy import open_v1

    served = operation.has_served
    with queued(listener, cancel) as events:
        v1 = open_v1(session, reference, failure, events, cancel, served=served)
        from wherry.ops.v1_pull import pull_v1

        return pull_v1(v1, store, reference, options, cancel, events)


def pull_all_tags(
    session: Session,
    store: LocalStore,
    reference: Reference,
    options: PullOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> list[PullResult]:
    """Pull every tag of a repository, in the order in which the registry lists them.

    A tag that is not an image (registries keep signatures beside the images that they sign), or
    has no image for this machine, is skipped with a warning.

    Raises:
        PlatformMismatch: An image is not for the platform that the caller named, or no image
            is for this machine.
        NotFound: The repository has no tagged images.
        WherryError: An image cannot be pulled.
    """
    operation = RepositoryPull(session, store, reference, options, cancel, listener)
    try:
        with operation:
            found = list(operation.pull_tags())
            operation.report_done(any(pulled.updated for pulled in found))
            return found
    except WherryError as error:
        failure = error
    from wherry.ops.legacy import open_v1

    served = operation.has_served
    with queued(listener, cancel) as events:
        v1 = open_v1(session, reference, failure, events, cancel, served=served)
        from wherry.ops.v1_pull import pull_all_tags_v1

        return pull_all_tags_v1(v1, store, reference, options, cancel, events)
