"""Load the images of an archive or layout into the local store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.detect import source_name
from wherry.archive.docker import MANIFEST
from wherry.archive.oci import INDEX
from wherry.errors import InvalidDocument, NotFound, Unsupported, WherryError
from wherry.model.cloud_settings import CloudSettings
from wherry.ops.archive_loader import ArchiveLoader
from wherry.ops.open_archive import EventTranslator, StoreMemberSink, list_formats, open_files
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event
    from wherry.content.protocols import RawStream
    from wherry.model.address import Address
    from wherry.ops.load_options import LoadOptions, LoadResult
    from wherry.store import LocalStore


def load(
    store: LocalStore,
    source: Path | RawStream | Address,
    options: LoadOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
    cloud: Callable[[], CloudSettings] = CloudSettings,
) -> tuple[list[LoadResult], list[WherryError]]:
    """Load the images of an archive, layout or directory; idempotent.

    Layers of an uncompressed archive in a file are read in parallel. A pipe or a compressed
    archive is read once, and its layers go into the store as they arrive (docs/command.md,
    "load"). ``cloud`` returns how to connect to object storage, where an address is.

    Returns:
        The images that were loaded, and an error for each image that was not.

    Raises:
        WherryError: The archive cannot be read; no name is changed.
    """
    with store.ingest() as ingest:
        emitter = Emitter(listener, source_name(source))
        sink = StoreMemberSink(store, ingest, emitter, cancel)
        with open_files(source, sink, cancel, cloud) as files:
            translate = EventTranslator(listener, streamed=files.streamed)
            *others, last = list_formats(files, cancel)
            for make in others:
                try:
                    loader = ArchiveLoader(store, ingest, make(), files, options, cancel, translate)
                    results, failures = loader.load()
                    if results:
                        return results, failures
                except NotFound:  # the layout lists nothing
                    failures = []
                except (InvalidDocument, Unsupported) as error:
                    failures = [error]
                for failure in failures:
                    problem = failure.text_within(source_name(source))
                    emitter.warn(f"{problem}; {MANIFEST} is read instead of {INDEX}")
            return ArchiveLoader(store, ingest, last(), files, options, cancel, translate).load()
