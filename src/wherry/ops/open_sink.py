"""Opening the place that a copy writes to."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.errors import InvalidReference
from wherry.model.address import Where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.content.protocols import Sink
    from wherry.model.address import Address
    from wherry.ops.copy_choice import CopyChoice
    from wherry.ops.open_source import Access
    from wherry.registry.repository_sink import RepositorySink
    from wherry.registry.session import Session
    from wherry.registry.upload_options import SavedSessions, UploadOptions
    from wherry.transfer.progress import Emitter


@contextlib.contextmanager
def open_sink(
    address: Address,
    access: Access,
    choice: CopyChoice,
    emitter: Emitter,
    sessions: SavedSessions | None = None,
) -> Iterator[Sink]:
    """Open a destination; the end of the block makes files complete, unless it fails.

    Args:
        address: The destination.
        access: What opening it takes.
        choice: How the copy retries.
        emitter: Is told warnings and retries.
        sessions: Where upload sessions are kept.

    Raises:
        InvalidReference: The address cannot be written to.
        WherryError: The destination cannot be opened.
    """
    match address.where:
        case Where.REGISTRY:
            repository = _open_repository(address, access, choice, emitter, sessions)
            yield repository
            repository.settle(access.cancel)
        case Where.STORE:
            with _open_store(access, choice) as sink:
                yield sink
        case Where.OCI | Where.OCI_ARCHIVE | Where.DOCKER_ARCHIVE | Where.DIR:
            from wherry.ops.open_archive_sink import open_archive_sink

            with open_archive_sink(address, access.cancel, access.cloud) as archive:
                yield archive
        case _:
            raise InvalidReference("this place cannot be written to", text=str(address), position=0)


def _open_repository(
    address: Address,
    access: Access,
    choice: CopyChoice,
    emitter: Emitter,
    sessions: SavedSessions | None,
) -> RepositorySink:
    from wherry.registry.repository_sink import RepositorySink

    assert address.reference is not None  # noqa: S101 - `Address.parse` sees to it
    session = access.session()
    options = upload_options(session, choice, emitter, sessions)
    return RepositorySink(session, address.reference, options, access.cancel)


def upload_options(
    session: Session, choice: CopyChoice, emitter: Emitter, sessions: SavedSessions | None = None
) -> UploadOptions:
    """Return what the uploads of a copy share; see `open_sink`."""
    from wherry.registry.upload_options import UploadOptions

    return UploadOptions(
        policy=choice.copy.policy,
        pauses=session.upload_pauses,
        sessions=sessions,
        warn=emitter.warn,
        on_retry=emitter.report_retry,
        note=emitter.note,
    )


@contextlib.contextmanager
def _open_store(access: Access, choice: CopyChoice) -> Iterator[Sink]:
    from wherry.ops.store_sink import StoreSink

    store = access.target()
    with store.ingest() as ingest:
        yield StoreSink(store, ingest, choice.host)
