"""An image of a version 1 registry as the source of a copy."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.content.events import Event, Status
from wherry.errors import Unsupported
from wherry.model import quantity
from wherry.ops.copy_source import CopySource
from wherry.ops.open_archive import EventTranslator
from wherry.ops.pull_options import PullOptions
from wherry.ops.v1_pull import pull_v1
from wherry.store import LocalStore
from wherry.store.source import StoreSource
from wherry.transfer.collect import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.model.reference import Reference
    from wherry.ops.copy_choice import CopyChoice
    from wherry.ops.open_source import Access
    from wherry.registry.v1_repository import V1Repository


@contextlib.contextmanager
def open_v1_copy_source(
    repository: V1Repository, reference: Reference, choice: CopyChoice, access: Access
) -> Iterator[CopySource]:
    """Pull an image into a temporary store, from which a copy reads it.

    A version 1 registry has no digests, so a copy can be planned only when the layers are there.
    They are removed at the end of the block.

    Args:
        repository: The repository, connected.
        reference: The image.
        choice: What to copy of it, and how.
        access: What opening takes.

    Raises:
        PlatformMismatch: The image is for another platform than the named one.
        WherryError: The image cannot be pulled.
    """
    options = PullOptions(
        host=choice.host,
        platforms=choice.platforms,
        strict=bool(choice.platforms),
        copy=choice.copy,
    )
    with contextlib.ExitStack() as opened:
        directory = opened.enter_context(tempfile.TemporaryDirectory(prefix="wherry-"))
        store = LocalStore(Path(directory) / "store", limits=access.target().limits)
        opened.callback(store.close)
        listener = _StagingListener(access.listener)
        pulled = pull_v1(repository, store, reference, options, access.cancel, listener)
        source = StoreSource(store)
        wanted = Wanted(
            platforms=choice.platforms,
            several=choice.several,
            sparse=choice.sparse,
            attestations=choice.attestations,
        )
        yield CopySource(
            source, pulled.root, lambda: source.document(pulled.root), wanted, staging=store
        )


class _StagingListener(EventTranslator):
    """Passes on the events of a pull whose result is not kept, as those of a loaded archive."""

    def __init__(self, listener: Callable[[Event], None]) -> None:
        super().__init__(listener, streamed=False)

    def __call__(self, event: Event) -> None:
        """Pass on an event, but not the end: the copy goes on."""
        if event.status is not Status.DONE:
            super().__call__(event)


def unplannable_v1_copy(repository: V1Repository, reference: Reference) -> Unsupported:
    """Return the error for a plan of a copy from a version 1 registry, with what is known of it.

    Raises:
        WherryError: The image cannot be read.
    """
    tag = reference.with_default_tag().tag or ""
    chain = repository.chain(repository.resolve(tag))
    sizes = [image.size for image in chain if image.size is not None]
    known = f" ({quantity.size(sum(sizes))})" if len(sizes) == len(chain) else ""
    error = Unsupported(
        f"{reference.domain} speaks only the legacy v1 protocol: the digests of "
        f"{quantity.count(len(chain), 'layer')}{known} are known only when they have arrived",
        hint="a copy from the store can be planned: first "
        f"wherry pull --legacy {reference.familiar}",
    )
    error.within(reference.familiar)
    return error
