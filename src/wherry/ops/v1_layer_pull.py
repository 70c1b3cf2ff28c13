"""Fetch the layers of an image from a version 1 registry, in parallel."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from wherry.archive.tar_check import TarCheck
from wherry.content.protocols import Busy
from wherry.content.scheduler import run_tasks
from wherry.content.streams import StreamReader
from wherry.errors import IntegrityError, Unsupported
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.transfer.image_size import ImageSize
from wherry.transfer.resume import ResumingStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Receipt
    from wherry.registry.v1_answers import V1Image
    from wherry.registry.v1_repository import V1Repository
    from wherry.store.ingest import Ingest
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.progress import LayerProgress


class V1LayerPull:
    """Fetches the layers of one image into a store.

    A layer has no digest before it has arrived. Events name it by the id of its image instead.
    """

    def __init__(
        self,
        repository: V1Repository,
        ingest: Ingest,
        options: CopyOptions,
        progress: LayerProgress,
    ) -> None:
        self._repository = repository
        self._registry = repository.reference.domain
        self._ingest = ingest
        self._options = options
        self._progress = progress
        self._size = ImageSize(ingest.image_limit)
        self._known: dict[str, Digest] = {}
        self._receipts: dict[str, Receipt] = {}

    def run(self, chain: Sequence[V1Image], cancel: CancelToken) -> list[Receipt]:
        """Fetch the layers that the store does not have, large ones first.

        Args:
            chain: The images, the top one first.
            cancel: Stops the transfer.

        Returns:
            A receipt for each layer, the lowest first.

        Raises:
            IntegrityError: A layer is no tar, is damaged, or is too large.
            WherryError: A layer cannot be fetched.
        """
        for image in chain:
            self._progress.report_queued(_layer_of(image))
        self._known = self._ingest.known_v1_layers(self._registry, [image.id for image in chain])
        ordered = sorted(chain, key=lambda image: -(image.size or 0))
        run_tasks(
            None,
            [functools.partial(self._pull, image) for image in ordered],
            jobs=self._options.jobs,
            cancel=cancel,
        )
        return [self._receipts[image.id] for image in reversed(chain)]

    def _pull(self, image: V1Image, cancel: CancelToken) -> None:
        layer = _layer_of(image)
        try:
            receipt = None
            if image.id in self._known:
                receipt = self._ingest.find_v1_layer(self._registry, image.id, cancel)
            if receipt is None:
                receipt = self._receive(image, layer, cancel)
            self._size.add_received(layer.digest, receipt.descriptor.size or 0)
            self._size.add_decompressed(layer.digest, receipt.raw_size or 0)
        except (IntegrityError, Unsupported) as error:
            if not error.is_within(self._repository.label):
                error.within(self._repository.label, f"layer of {image.id}")
            raise
        self._receipts[image.id] = receipt
        self._progress.complete(layer, receipt)

    def _receive(self, image: V1Image, layer: Descriptor, cancel: CancelToken) -> Receipt:
        stream = ResumingStream(
            lambda offset: self._repository.open_layer(image.id, offset, cancel),
            0,
            None,
            self._options.policy,
            cancel,
            functools.partial(self._progress.report_retry, layer),
        )

        def report(current: int) -> None:
            self._size.add_received(layer.digest, current)
            self._progress.bytes(layer, current)

        try:
            with contextlib.closing(stream):
                return self._ingest.put_v1_layer(
                    self._registry,
                    image.id,
                    image.parent,
                    StreamReader(stream),
                    cancel,
                    content_check=TarCheck,
                    on_bytes=report,
                )
        except Busy as busy:
            self._progress.report_waiting(layer, busy.size)
            raise
        except BaseException:
            self._progress.bytes(layer, 0)  # what has arrived is discarded
            raise
        finally:
            self._progress.report_pause(layer)


def _layer_of(image: V1Image) -> Descriptor:
    """Return a layer as events name it."""
    return Descriptor("", Digest(f"sha256:{image.id}"), image.size)
