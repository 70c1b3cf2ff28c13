"""Layers for a version 1 registry: in gzip, with the checksum of their content.

A layer is read once before it is sent. So a damaged one is noticed before anything is sent, and
it can be sent again from its start as often as it takes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, BinaryIO

from wherry.content.verify import layer_name
from wherry.errors import IntegrityError, Unsupported
from wherry.model.record import Record
from wherry.model.tarsum import TarSum
from wherry.transfer.pack import pack_layer, verify_layer
from wherry.transfer.spool import CopyingSpool, spooled_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.compression import Compression
    from wherry.model.digest import Digest


class PreparedLayer(Record):
    """A layer that can be sent.

    Attributes:
        blob: What is sent.
        tar_sum: The sum of its decompressed content, which is a tar.
    """

    blob: Blob
    tar_sum: TarSum

    def checksum(self, v1_json: bytes) -> str:
        """Return the checksum for an image; raises `IntegrityError` for a tar that is cut off."""
        try:
            return self.tar_sum.checksum(v1_json)
        except IntegrityError as error:
            raise error.within(layer_name(self.blob.descriptor.digest)) from None


class LayerPreparation(Record):
    """How layers are read before they are sent.

    Attributes:
        spool: Opens a temporary file.
        copies: Whether to copy layers into temporary files, as from a registry, so that they
            are fetched once.
        cancel: Stops reading.
    """

    spool: Callable[[], contextlib.AbstractContextManager[BinaryIO]]
    copies: bool
    cancel: CancelToken

    @contextlib.contextmanager
    def prepared(
        self,
        layer: Blob,
        diff_id: Digest | None,
        compression: Compression | None,
        on_bytes: Callable[[int], None],
    ) -> Iterator[PreparedLayer]:
        """Read and verify a layer; the result can be read until the end of the block.

        Args:
            layer: The layer.
            diff_id: The expected DiffID; None if it is not known.
            compression: How it is compressed anew; None keeps its bytes.
            on_bytes: Called often with the number of bytes of the layer that have been read.

        Raises:
            IntegrityError: The layer does not match its digest or DiffID, or is damaged.
            Unsupported: The layer has sparse members, which have no checksum.
            StoreError: The temporary file cannot be written.
        """
        sums = TarSum()
        with contextlib.ExitStack() as opened:
            try:
                blob = self._read(layer, diff_id, compression, on_bytes, sums.update, opened)
            except Unsupported as error:
                raise error.within(layer_name(layer.descriptor.digest)) from error.__cause__
            yield PreparedLayer(blob, sums)

    def _read(
        self,
        layer: Blob,
        diff_id: Digest | None,
        compression: Compression | None,
        on_bytes: Callable[[int], None],
        on_content: Callable[[memoryview], None],
        opened: contextlib.ExitStack,
    ) -> Blob:
        """Read a layer to its end, and return what is to be sent, with its true size."""
        if compression is None and not self.copies:
            size = 0

            def count(read: int) -> None:
                nonlocal size
                size = read
                on_bytes(read)

            verify_layer(layer, diff_id, self.cancel, count, on_content)
            return layer.replace(descriptor=layer.descriptor._replace(size=size), exact=True)
        spool = opened.enter_context(self.spool())
        if compression is None:
            copy = CopyingSpool(spool)
            verify_layer(copy.source(layer), diff_id, self.cancel, on_bytes, on_content)
            return copy.finish(layer)
        packed = pack_layer(
            layer, compression, diff_id, spool, self.cancel, on_bytes, on_content=on_content
        )
        return spooled_blob(spool, packed.descriptor)
