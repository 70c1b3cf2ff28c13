"""Layers of a remote image in temporary files, which can be read while they arrive."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from typing import TYPE_CHECKING

from wherry.content.background import in_background
from wherry.content.growing_file import GrowingFile
from wherry.content.pipeline import Limits, receive
from wherry.content.protocols import Receipt
from wherry.content.scheduler import run_tasks
from wherry.content.verify import layer_name
from wherry.errors import Cancelled, IntegrityError
from wherry.transfer.mover import BlobMover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob, RawStream, Source
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.progress import LayerProgress


@contextlib.contextmanager
def spooled_layers(
    source: Source,
    layers: Sequence[Descriptor],
    directory: Path,
    options: CopyOptions,
    progress: LayerProgress,
    cancel: CancelToken,
) -> Iterator[LayerSpool]:
    """Fetch layers in the background during the block, the first ones first.

    Args:
        source: Has the layers.
        layers: The layers.
        directory: Where the temporary files are, which have no names.
        options: How to fetch them.
        progress: Is told of the layers.
        cancel: Stops the downloads.
    """
    unique = {layer.digest: layer for layer in layers}
    files: dict[Digest, GrowingFile] = {digest: _SpoolFile(directory) for digest in unique}
    sink = _SpoolSink(files)
    mover = BlobMover(source, sink, options, progress, unique.values())
    for layer in unique.values():
        progress.report_queued(layer)
    tasks = [functools.partial(_fetch, mover, layer, progress) for layer in unique.values()]

    def fetch_all(token: CancelToken) -> None:
        try:
            run_tasks(None, tasks, jobs=options.jobs, cancel=token)
        finally:
            for file in files.values():
                sink.poison_unfinished(file)

    with in_background(cancel, fetch_all) as finished:
        yield LayerSpool(files, finished)


def _fetch(
    mover: BlobMover, layer: Descriptor, progress: LayerProgress, cancel: CancelToken
) -> None:
    try:
        blob = mover.open(layer, cancel, is_config=False)
        receipt = mover.put(blob, layer, cancel, follow=False)
    except IntegrityError as error:
        raise error.within(layer_name(layer.digest)) from error.__cause__
    progress.complete(layer, receipt)


class _SpoolFile(GrowingFile):
    """A temporary file without a name.

    It is closed with the last reference, since a thread that did not stop in time may still
    write to it.
    """

    def __init__(self, directory: Path) -> None:
        with tempfile.TemporaryFile(dir=directory) as file:
            descriptor = os.dup(file.fileno())
        super().__init__(descriptor)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # it could not be opened, or closed
            os.close(self._descriptor)


class LayerSpool:
    """The layers, by their digests."""

    def __init__(self, files: dict[Digest, GrowingFile], finished: Callable[[], None]) -> None:
        self._files = files
        self._finished = finished

    @contextlib.contextmanager
    def open(self, digest: Digest) -> Iterator[RawStream]:
        """Open a layer, which may still be growing; it is verified before its end is read."""
        try:
            yield self._files[digest].follow()
        except Cancelled:
            self._finished()  # raises why the download failed
            raise

    def abandon(self, digest: Digest) -> None:
        """Make reads of a layer fail that wait for its rest."""
        self._files[digest].poison()


class _SpoolSink:
    """Takes the blobs of a `BlobMover` into temporary files."""

    def __init__(self, files: dict[Digest, GrowingFile]) -> None:
        self._files = files
        self._complete: set[GrowingFile] = set()

    def poison_unfinished(self, file: GrowingFile) -> None:
        """Make the reader of a file fail unless the file is complete."""
        if file not in self._complete:
            file.poison()

    def put(
        self,
        blob: Blob,
        *,
        follow: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        """Receive and verify a layer."""
        file = self._files[blob.descriptor.digest]
        facts = receive(
            file, blob, follow=follow, limits=Limits(), cancel=cancel, on_bytes=on_bytes
        )
        self._complete.add(file)
        return Receipt(blob.descriptor._replace(size=facts.size), None, None)
