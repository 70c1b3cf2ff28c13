"""Copying the config and layers of one image from a source to a sink."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from wherry.content.protocols import Busy, blob_of
from wherry.content.retry import RetryPolicy
from wherry.content.verify import check_rootfs, layer_name
from wherry.errors import (
    Cancelled,
    IntegrityError,
    InvalidDocument,
    NotFound,
    StoreError,
    Unsupported,
    WherryError,
)
from wherry.model.config import parse_config
from wherry.model.record import Record
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.transfer.image_size import ImageSize
from wherry.transfer.resume import resuming_blob
from wherry.transfer.scheduler import run_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob, ContentSink, Receipt, Source
    from wherry.model.config import ImageConfig
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.transfer_settings import TransferSettings
    from wherry.transfer.parallel_download import ParallelDownloads
    from wherry.transfer.progress import LayerProgress
    from wherry.transfer.resume import OnRetry

CONFIG_FAILED = "error pulling image configuration"  # the words of engines
SPLITTABLE = 8 * 2**20  # least bytes of a blob that is fetched over several connections


class CopyOptions(Record):
    """How to copy an image.

    Attributes:
        jobs: Blobs that are copied at a time.
        policy: When to retry.
        verify_layers: Whether to compute the DiffIDs.
        foreign: Whether to fetch layers from their own URLs if the registry lacks them.
        split: Connections for a large blob; None to decide by the rate.
    """

    jobs: int = 6
    policy: RetryPolicy = RetryPolicy()
    verify_layers: bool = True
    foreign: bool = False
    split: int | None = None

    @classmethod
    def build(cls, settings: TransferSettings, *, verify_layers: bool = True) -> CopyOptions:
        """Make the options from the settings of a client."""
        return cls(
            jobs=settings.jobs,
            policy=RetryPolicy(attempts=settings.retries),
            verify_layers=verify_layers,
            foreign=settings.foreign,
            # More connections do not help if they share a rate limit.
            split=settings.split or (1 if settings.limit_rate else None),
        )


class ImageCopy:
    """Copies the config and layers of an image and compares them with each other."""

    def __init__(
        self,
        config: Descriptor | None,
        layers: Sequence[Descriptor],
        source: Source,
        sink: ContentSink,
        read: Callable[[Digest], bytes],
        options: CopyOptions,
        progress: LayerProgress,
    ) -> None:
        self._config_at = config
        self._layers = layers
        self._source = source
        self._sink = sink
        self._read = read
        self._options = options
        self._progress = progress
        self._splitter: ParallelDownloads | None = None
        if source.ranges and any((layer.size or 0) >= SPLITTABLE for layer in layers):
            from wherry.transfer.parallel_download import ParallelDownloads

            self._splitter = ParallelDownloads(source, options.split)
        self._config: ImageConfig | None = None
        self._receipts: dict[Digest, Receipt] = {}
        self._size = ImageSize(sink.image_limit)

    def run(
        self, check: Callable[[ImageConfig], None], cancel: CancelToken
    ) -> tuple[ImageConfig | None, list[Receipt]]:
        """Copy the config and the layers in parallel, large layers first.

        A digest that appears several times is copied once.

        Args:
            check: Called with the config when it has arrived; raises to refuse the image.
            cancel: Stops the copy.

        Returns:
            The config, if there is one, and a receipt for each layer, bottom first.

        Raises:
            IntegrityError: The DiffIDs of the layers are not those in the config.
        """
        layers = {layer.digest: layer for layer in self._layers}
        for layer in layers.values():
            self._progress.report_queued(layer)
        config = self._config_at
        ordered = sorted(layers.values(), key=lambda layer: -(layer.size or 0))
        run_tasks(
            None if config is None else lambda token: self._pull_config(config, check, token),
            [functools.partial(self._pull_layer, layer) for layer in ordered],
            jobs=self._options.jobs,
            cancel=cancel,
        )
        receipts = [self._receipts[layer.digest] for layer in self._layers]
        if self._config is not None:
            check_rootfs(self._config, receipts)
        return self._config, receipts

    def _pull_config(
        self, descriptor: Descriptor, check: Callable[[ImageConfig], None], cancel: CancelToken
    ) -> None:
        try:
            if (descriptor.size or 0) > MAX_DOCUMENT:
                raise InvalidDocument(f"the config is over {MAX_DOCUMENT >> 20} MiB")
            self._put(descriptor, cancel, follow=False)
            config = parse_config(self._read(descriptor.digest))
        except (Cancelled, StoreError):
            raise
        except WherryError as error:
            raise error.within(CONFIG_FAILED) from error.__cause__
        check(config)
        self._config = config

    def _pull_layer(self, layer: Descriptor, cancel: CancelToken) -> None:
        try:
            receipt = self._put(layer, cancel, follow=self._options.verify_layers)
            self._count(receipt)
        except (IntegrityError, Unsupported) as error:
            raise error.within(layer_name(layer.digest)) from None
        except NotFound as error:
            if layer.urls and not self._options.foreign:
                error.hint = "the manifest names addresses for this layer: --foreign allows them"
            raise
        self._receipts[layer.digest] = receipt
        size = receipt.descriptor.size
        if layer.size not in {None, size}:
            problem = f"the manifest says {layer.size:,} bytes, it has {size:,}"
            self._progress.warn(f"{layer_name(layer.digest)}: {problem}")
        self._progress.complete(layer, receipt)

    def _count(self, receipt: Receipt) -> None:
        digest = receipt.descriptor.digest
        self._size.add_received(digest, receipt.descriptor.size or 0)
        if receipt.raw_size is not None:
            self._size.add_decompressed(digest, receipt.raw_size)

    def _on_bytes(self, layer: Descriptor | None, current: int) -> None:
        if layer is not None:
            self._size.add_received(layer.digest, current)
        self._progress.bytes(layer, current)

    def _put(self, descriptor: Descriptor, cancel: CancelToken, *, follow: bool) -> Receipt:
        layer = None if descriptor is self._config_at else descriptor
        try:
            return self._sink.put(
                self._blob(
                    descriptor, cancel, functools.partial(self._progress.report_retry, layer)
                ),
                follow=follow,
                cancel=cancel,
                on_bytes=functools.partial(self._on_bytes, layer),
            )
        except Busy as busy:
            self._progress.report_waiting(layer, busy.size)
            raise
        finally:
            self._progress.report_pause(layer)

    def _blob(self, descriptor: Descriptor, cancel: CancelToken, tell: OnRetry) -> Blob:
        if descriptor.data is not None:  # embedded in the manifest
            blob = blob_of(descriptor, descriptor.data)
            return blob.replace(exact=descriptor is self._config_at)
        if descriptor is self._config_at:
            blob = resuming_blob(self._source, descriptor, self._options.policy, cancel, tell)
            return blob.replace(exact=True)
        policy = self._options.policy
        if self._splitter is not None and (descriptor.size or 0) >= SPLITTABLE:
            return self._splitter.blob(descriptor, policy, cancel, tell)
        return resuming_blob(self._source, descriptor, policy, cancel, tell)
