"""Make an image of a tar or a directory."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.archive.detect import source_name
from wherry.archive.os_files import open_stream
from wherry.archive.tar import NotATar
from wherry.content.events import Status
from wherry.errors import IntegrityError, StoreError, Unsupported
from wherry.ops.directory_tar import DirectoryTar
from wherry.ops.layer_import import LayerImport
from wherry.store.reserve import hint_when_full
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.content.protocols import RawStream
    from wherry.model.reference import Reference
    from wherry.ops.import_options import ImportOptions
    from wherry.ops.open_source import Access
    from wherry.store import LocalStore
    from wherry.store.images import ImageRecord

_FULL = "nothing was imported; make room: `wherry gc` removes what no name holds"


def import_layer(
    store: LocalStore,
    source: Path | RawStream,
    reference: Reference | None,
    options: ImportOptions,
    access: Access,
) -> ImageRecord:
    """Make an image of one layer.

    The layer is a tar in any compression, or the content of a directory. An empty source makes
    an image without that layer (docs/command.md, "import").

    Raises:
        StoreError: The source is not a tar.
        IntegrityError: The tar is damaged.
        InvalidDocument: The config does not fit the layers.
        WherryError: The parent cannot be read.
    """
    emitter = Emitter(
        access.listener, source_name(source) if reference is None else reference.familiar
    )
    with hint_when_full(_FULL), store.ingest() as ingest:
        work = LayerImport(store, ingest, options, access, emitter)
        with _open(source, options.epoch) as stream:
            layer = work.layer(stream)
        record = work.image(layer)
        ingest.commit(
            [record], record.manifest, record.manifest, [] if reference is None else [reference]
        )
    emitter.emit(Status.DONE, message=f"Imported {record.id}")
    return record


@contextlib.contextmanager
def _open(source: Path | RawStream, epoch: int | None) -> Iterator[RawStream]:
    """Open the source; errors of the block name it."""
    try:
        with _stream(source, epoch) as stream:
            yield stream
    except NotATar as error:
        raise StoreError(error.message).within(source_name(source)) from None
    except (IntegrityError, Unsupported) as error:
        raise error.within(source_name(source)) from error.__cause__


@contextlib.contextmanager
def _stream(source: Path | RawStream, epoch: int | None) -> Iterator[RawStream]:
    if not isinstance(source, Path):
        yield source
    elif source.is_dir():
        with DirectoryTar(source, epoch) as packing:
            yield packing
    else:
        with open_stream(str(source)) as file:
            yield file
