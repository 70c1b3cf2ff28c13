"""Copying the config and layers of one image from a source to a sink."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from wherry.content.scheduler import run_tasks
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
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.transfer.image_size import ImageSize
from wherry.transfer.mover import BlobMover

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import ContentSink, Receipt, Source
    from wherry.model.config import ImageConfig
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.progress import LayerProgress

CONFIG_FAILED = "error pulling image configuration"  # the words of engines


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
        self._read = read
        self._options = options
        self._progress = progress
        self._mover = BlobMover(source, sink, options, progress, layers)
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

    def _put(self, descriptor: Descriptor, cancel: CancelToken, *, follow: bool) -> Receipt:
        is_config = descriptor is self._config_at
        blob = self._mover.open(descriptor, cancel, is_config=is_config)
        if is_config:
            return self._mover.put(blob, None, cancel, follow=follow)
        count = functools.partial(self._size.add_received, descriptor.digest)
        return self._mover.put(blob, descriptor, cancel, follow=follow, on_bytes=count)
