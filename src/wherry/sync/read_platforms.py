"""The images for platforms below a root, with their sizes: one request for each."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from wherry.content.budget import Budget
from wherry.content.read_blob import read_blob
from wherry.content.scheduler import run_tasks
from wherry.errors import PlatformMismatch
from wherry.model.config import parse_config
from wherry.model.inspection import schema1_config, size_of
from wherry.model.manifest import Index, Manifest
from wherry.sync.lock_file import LockedPlatform
from wherry.transfer.graph import candidates, listed, no_match, select_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Source
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.platform import Platform
    from wherry.transfer.graph import Selection


def read_platforms(
    source: Source,
    digest: Digest,
    document: Document,
    wanted: Sequence[Platform],
    cancel: CancelToken,
    jobs: int,
) -> tuple[LockedPlatform, ...]:
    """Return the images below a root, in the order of the index.

    Attestations and artifacts are left out. The platform of an image without an index is that of
    its config.

    Args:
        source: Where the documents are.
        digest: The digest of the root.
        document: The root.
        wanted: The platforms; all if there are none.
        cancel: Ends the call.
        jobs: How many documents to fetch at a time.

    Raises:
        PlatformMismatch: There is no image for one of the platforms.
        WherryError: A document cannot be fetched.
    """
    if not isinstance(document, Index):
        return tuple(_alone(source, digest, document, wanted))
    entries = _wanted_entries(document, wanted)
    Budget().check(len(entries))
    found: dict[Digest, list[LockedPlatform]] = {}

    def read(entry: Descriptor, _cancel: CancelToken) -> None:
        child = source.document(entry.digest)
        found[entry.digest] = list(_below(source, entry, child))

    tasks = [functools.partial(read, entry) for entry in entries]
    run_tasks(None, tasks, jobs=jobs, cancel=cancel)
    return tuple(image for entry in entries for image in found[entry.digest])


def _wanted_entries(index: Index, wanted: Sequence[Platform]) -> list[Descriptor]:
    """Return the entries to read, each once."""
    if not wanted:
        return _once(listed(index))
    chosen = []
    for platform in wanted:
        best = next(iter(candidates(index, platform)), None)
        if best is None:
            raise no_match(index, platform)
        chosen.append(best)
    return _once(chosen)


def _once(entries: Iterable[Descriptor]) -> list[Descriptor]:
    return list({entry.digest: entry for entry in entries}.values())


def _below(source: Source, entry: Descriptor, child: Document) -> Iterator[LockedPlatform]:
    """Yield the images of an entry: one, or those of an index in the index."""
    if isinstance(child, Manifest) and child.artifact is not None:
        return
    for chosen in select_all(entry.digest, child, source.document):
        stated = next(iter(chosen.listed), None) or entry.platform
        platform = stated if stated is not None and stated.os else _platform(source, chosen)
        yield LockedPlatform(platform.specifier, chosen.digest, _size(chosen.manifest))


def _alone(
    source: Source, digest: Digest, document: Document, wanted: Sequence[Platform]
) -> Iterator[LockedPlatform]:
    """Yield an image without an index."""
    if isinstance(document, Manifest) and document.artifact is not None:
        return
    (chosen,) = select_all(digest, document, source.document)
    platform = _platform(source, chosen)
    for each in wanted:
        if each.rank(platform) is None:
            raise PlatformMismatch(
                f"there is no image for {each.specifier}",
                wanted=str(each),
                available=[platform.specifier],
                hint=f"it is for {platform.specifier}",
            )
    yield LockedPlatform(platform.specifier, digest, _size(document))


def _platform(source: Source, chosen: Selection) -> Platform:
    manifest = chosen.manifest
    if not isinstance(manifest, Manifest):
        return parse_config(schema1_config(manifest)).platform
    return parse_config(read_blob(source, manifest.config)).platform


def _size(document: Document) -> int | None:
    return size_of(document) if isinstance(document, Manifest) else None
