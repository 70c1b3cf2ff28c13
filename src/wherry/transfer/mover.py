"""Moving blobs from a source to a sink, with retries and progress."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from wherry.content.protocols import Blob, Busy
from wherry.content.streams import blob_of
from wherry.transfer.resume import resuming_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import BlobSink, Receipt, Source
    from wherry.model.descriptor import Descriptor
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.parallel_download import ParallelDownloads
    from wherry.transfer.progress import LayerProgress

SPLITTABLE = 8 * 2**20  # least bytes of a blob that is fetched over several connections


class BlobOpener:
    """Opens the configs and layers of one operation. Thread-safe.

    Args:
        source: Has the blobs.
        options: When to retry, and over how many connections to fetch.
        progress: Is told of layers, and of retries of configs.
        blobs: All blobs of the operation.
    """

    def __init__(
        self,
        source: Source,
        options: CopyOptions,
        progress: LayerProgress,
        blobs: Iterable[Descriptor],
    ) -> None:
        self._source = source
        self._policy = options.policy
        self._progress = progress
        self._splitter: ParallelDownloads | None = None
        if source.ranges and any((blob.size or 0) >= SPLITTABLE for blob in blobs):
            from wherry.transfer.parallel_download import ParallelDownloads

            self._splitter = ParallelDownloads(source, options.split)

    def open(self, blob: Descriptor, cancel: CancelToken, *, is_config: bool) -> Blob:
        """Return a blob of the source; the stream of a remote one resumes after failures."""
        source = self._source
        if blob.data is not None:  # embedded in the manifest
            return blob_of(blob, blob.data).replace(exact=is_config)
        if not source.remote:  # a second attempt would read the same bytes
            return Blob(blob, lambda at, _: source.open(blob, at, cancel), exact=is_config)
        tell = functools.partial(self._progress.report_retry, None if is_config else blob)
        if is_config:
            found = resuming_blob(source, blob, self._policy, cancel, tell)
            return found.replace(exact=True)
        if self._splitter is not None and (blob.size or 0) >= SPLITTABLE:
            return self._splitter.blob(blob, self._policy, cancel, tell)
        return resuming_blob(source, blob, self._policy, cancel, tell)


class BlobMover(BlobOpener):
    """Moves the configs and layers of one operation. Thread-safe for different blobs.

    Args:
        source: Has the blobs.
        sink: Gets them.
        options: As for `BlobOpener`.
        progress: As for `BlobOpener`.
        blobs: As for `BlobOpener`.
    """

    def __init__(
        self,
        source: Source,
        sink: BlobSink,
        options: CopyOptions,
        progress: LayerProgress,
        blobs: Iterable[Descriptor],
    ) -> None:
        super().__init__(source, options, progress, blobs)
        self._sink = sink

    def put(
        self,
        blob: Blob,
        layer: Descriptor | None,
        cancel: CancelToken,
        *,
        follow: bool,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Receipt:
        """Store a blob; raises `Busy` while another writer stores it.

        Args:
            blob: The blob.
            layer: The layer to report, as the source has it; None for a config.
            cancel: Stops the call.
            follow: Whether to compute the DiffID.
            on_bytes: Is told the bytes so far, besides the progress.
        """

        def report(current: int) -> None:
            if on_bytes is not None:
                on_bytes(current)
            self._progress.bytes(layer, current)

        try:
            return self._sink.put(blob, follow=follow, cancel=cancel, on_bytes=report)
        except Busy as busy:
            self._progress.report_waiting(layer, busy.size)
            raise
        finally:
            self._progress.report_pause(layer)
