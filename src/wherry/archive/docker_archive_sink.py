"""Docker archives as sinks: the files of ``docker save``, with uncompressed layers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.archive.blob_part import fill
from wherry.archive.formats import DockerImage, UncompressedLayer, docker_entries
from wherry.archive.tar_sink import TarSink
from wherry.archive.write_errors import PULL_SCHEMA1
from wherry.content.protocols import Receipt
from wherry.content.verify import check_rootfs
from wherry.errors import IntegrityError, Unsupported, WherryError
from wherry.model.config import parse_config
from wherry.model.manifest import Index, Manifest, parse
from wherry.model.reference import Reference
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.archive.blob_part import Spool
    from wherry.archive.entry import Entry
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.config import ImageConfig
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest


class DockerArchiveSink(TarSink):
    """A new docker archive with one image.

    The config comes first, then the layers, uncompressed and by their DiffIDs. A layer that
    comes too early is spooled.

    Args:
        path: The file or the named pipe.
    """

    indexes = False
    keeps_referrers = False
    layer_compression = "none"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._references: list[Reference] = []
        self._spools: dict[Digest, Spool] = {}
        self._config: ImageConfig | None = None
        self._config_digest: Digest | None = None
        self._entries: Iterator[Entry] = iter(())
        self._wanted: list[Digest] = []  # layers that are still to be written, in order
        self._next: Entry | None = None  # the member of the first of them

    def _add(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> int:
        digest, size = blob.descriptor.digest, blob.descriptor.size
        if self._next is not None and self._wanted[:1] == [digest]:
            with self._file.tar.member(self._next.name, size) as part:
                size = fill(part, blob, cancel, on_bytes)
            self._wanted.pop(0)
            self._next = None
            self._advance()
            return size
        spool = self._spools[digest] = self._spooled(blob, cancel, on_bytes)
        if self._config is None and spool.size <= MAX_DOCUMENT:
            self._begin(digest, spool.read())
        self._advance()
        return spool.size

    def _begin(self, digest: Digest, raw: bytes) -> None:
        """Begin the archive if a blob is the config of an image."""
        if raw.lstrip()[:1] != b"{":
            return
        try:
            config = parse_config(raw)
        except WherryError:
            return
        layers = [UncompressedLayer(0, _written_by_put) for _ in config.diff_ids]
        image = DockerImage(raw, digest, config.diff_ids, layers, self._references)
        self._entries = docker_entries([image])
        self._wanted = list(dict.fromkeys(config.diff_ids))
        self._config, self._config_digest = config, digest

    def _advance(self) -> None:
        """Write what comes before the next layer, and the layers that were put early."""
        while self._wanted:
            if self._next is None:
                self._next = self._write_until_layer()
            spool = self._spools.pop(self._wanted[0], None)
            if spool is None:
                return
            with contextlib.closing(spool):
                self._file.tar.add_spool(self._next.name, spool)
            self._wanted.pop(0)
            self._next = None

    def _write_until_layer(self) -> Entry:
        for entry in self._entries:
            if entry.copy is not None:
                return entry
            self._file.tar.add(entry)
        raise AssertionError("each layer has an entry")

    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Check that the archive has all of an image; the manifest itself is not written.

        Raises:
            Unsupported: The document is not the manifest of the one image.
            IntegrityError: A layer was not put uncompressed.
        """
        del children, cancel
        document = parse(raw, descriptor.media_type)
        with self._lock:
            if isinstance(document, Index):
                raise Unsupported(
                    "a docker archive holds one platform of an image",
                    hint="name one with --platform, or use oci-archive:",
                )
            self._check_manifest(document)
            self._stored[descriptor.digest] = len(raw)

    def _check_manifest(self, manifest: object) -> None:
        if not isinstance(manifest, Manifest):
            message = "a docker archive cannot hold docker's schema1 format"
            raise Unsupported(message, hint=PULL_SCHEMA1)
        if manifest.artifact is not None:
            raise Unsupported(f"a docker archive cannot hold {manifest.artifact}")
        config = self._config
        if config is None or self._config_digest != manifest.config.digest:
            raise Unsupported(
                "a docker archive holds one image", hint="use oci-archive: for several"
            )
        check_rootfs(config, [Receipt(layer) for layer in manifest.layers])
        for layer in config.diff_ids:
            if layer not in self._stored:
                raise IntegrityError(
                    f"layer {layer} was not written uncompressed", expected=layer, actual="nothing"
                )

    def name(self, name: str, root: Descriptor) -> None:
        """Give the image one more name; see `Sink.name`."""
        super().name(name, root)
        reference = Reference.parse_new(name) if name else None
        if reference is not None and reference not in self._references:
            self._references.append(reference)

    def _check_name(self, name: str) -> None:
        if name:
            Reference.parse_new(name)

    def _write_rest(self) -> None:
        for entry in self._entries:
            self._file.tar.add(entry)

    def _close(self) -> None:
        for spool in self._spools.values():
            spool.close()
        self._spools.clear()


def _written_by_put(_write: object, _cancel: object) -> None:
    """Mark the entry of a layer; `put` writes its content."""
