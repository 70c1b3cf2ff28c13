"""Planning the blobs of a copy: skip, mount, move or convert each of them."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

from wherry.content.scheduler import run_tasks
from wherry.errors import Unsupported
from wherry.model import mediatype
from wherry.model.compression import GZIP, Compression
from wherry.model.config import parse_config
from wherry.model.manifest import Index, Manifest
from wherry.transfer.graph import Selection
from wherry.transfer.plan_values import Convert, Mount, Move, Skip

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Sink, Source
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.transfer.collect import Node
    from wherry.transfer.plan_request import CopyRequest
    from wherry.transfer.plan_values import Step

    class KnownBlobs(Protocol):
        """What earlier copies have found out about blobs."""

        def repositories(self, blob: Descriptor) -> tuple[str, ...]:
            """Return repositories of the destination's registry that have a blob, best first."""
            ...

        def packed(self, layer: Descriptor, compression: Compression) -> Descriptor | None:
            """Return the blob that a layer becomes when it is compressed, if it is known."""
            ...

        def is_from_registry(self, layer: Digest) -> bool:
            """Tell whether a registry is known to have a layer as it is."""
            ...


class BlobPlanner:
    """Decides what happens to the blobs of one copy.

    Attributes:
        conversions: The layers to convert, and their new compression.
        packed: What these layers become, as far as earlier copies have recorded it.
    """

    def __init__(
        self,
        request: CopyRequest,
        source: Source,
        sink: Sink,
        memory: KnownBlobs,
        nodes: Sequence[Node],
    ) -> None:
        self._request = request
        self._sink = sink
        self._memory = memory
        self._diff_ids = DiffIds(source)
        self.conversions: dict[Digest, Compression] = {}
        self.packed: dict[Digest, Descriptor] = {}
        for node in nodes:
            self._find_conversions(node)

    def steps(self, nodes: Sequence[Node], cancel: CancelToken) -> tuple[Step, ...]:
        """Return a step for each blob of some documents; the destination is asked for them."""
        owners: dict[Digest, tuple[Node, Descriptor]] = {}
        for node in nodes:
            for blob in self._needed_blobs(node):
                owners.setdefault(blob.digest, (node, blob))
        steps: dict[Digest, Step] = {}

        def decide(digest: Digest, _cancel: CancelToken) -> None:
            steps[digest] = self._step(*owners[digest])

        tasks = [functools.partial(decide, digest) for digest in owners]
        run_tasks(None, tasks, jobs=self._request.jobs, cancel=cancel)
        return tuple(steps[digest] for digest in owners)

    def _needed_blobs(self, node: Node) -> tuple[Descriptor, ...]:
        """Return the blobs of a document; a store needs no empty layers of schema1 images."""
        if isinstance(node.document, Index | Manifest) or not self._sink.follows:
            return node.blobs
        return Selection((), node.digest, node.document).layers

    def _step(self, node: Node, blob: Descriptor) -> Step:
        compression = self.conversions.get(blob.digest)
        if compression is not None:
            return self._conversion(node, blob, compression)
        if self._stays_foreign(blob):
            return Skip(blob, blob, foreign=True)
        if self._is_there(blob):
            return Skip(blob, blob)
        repositories = self._repositories(blob)
        return Mount(blob, repositories) if repositories else Move(blob)

    def _conversion(self, node: Node, layer: Descriptor, compression: Compression) -> Step:
        target = self.packed.get(layer.digest)
        conversion = Convert(layer, compression, self._diff_ids.find(node, layer), target)
        if target is None:
            return conversion
        if self._is_there(target):
            return Skip(layer, target, conversion=conversion)
        return conversion.replace(repositories=self._repositories(target))

    def _stays_foreign(self, blob: Descriptor) -> bool:
        """Tell whether a layer is left at its addresses; images in a store are complete."""
        is_foreign = mediatype.is_foreign(blob.media_type) and bool(blob.urls)
        return is_foreign and not self._request.foreign and not self._sink.follows

    def _repositories(self, blob: Descriptor) -> tuple[str, ...]:
        """Return repositories to mount a blob from; none if everything is to be sent."""
        if self._request.force or not self._sink.mounts:
            return ()
        return self._memory.repositories(blob)

    def _is_there(self, blob: Descriptor) -> bool:
        return not self._request.force and self._sink.has(blob)

    # Compression

    def _find_conversions(self, node: Node) -> None:
        manifest = node.document
        if not isinstance(manifest, Manifest) or manifest.artifact is not None:
            self._check_schema1(manifest)
            return
        for layer in manifest.layers:
            compression = self._compression(node, layer)
            if compression is None:
                continue
            self.conversions[layer.digest] = compression
            known = self._memory.packed(layer, compression)
            if known is not None:
                self.packed[layer.digest] = known

    def _check_schema1(self, document: Document) -> None:
        """Raise `Unsupported` if schema1 layers are to be compressed anew."""
        wanted = self._request.compression
        if isinstance(document, Index | Manifest) or wanted is None or wanted.kind == "keep":
            return
        raise Unsupported(
            "a schema1 manifest is copied only as it is",
            hint="`wherry pull` converts the image; leave --compression out to copy it",
        )

    def _compression(self, node: Node, layer: Descriptor) -> Compression | None:
        """Return how a layer is compressed anew, or None to leave it as it is."""
        packing = layer_packing(layer.media_type)
        wanted = self._request.compression
        if self._sink.layer_compression == "none":
            if wanted is not None and wanted.kind in {"gzip", "zstd"}:
                raise Unsupported(
                    "this place takes only layers without compression",
                    hint="leave --compression out, or copy to oci-archive:",
                ).within(self._request.destination)
            # by their DiffIDs, whatever the types say
            is_plain = layer.digest == self._diff_ids.find(node, layer)
            wanted, packing = Compression("none"), "none" if is_plain else ""
        elif wanted is None and self._request.packs_plain and packing == "none":
            wanted = None if self._memory.is_from_registry(layer.digest) else GZIP
        if wanted is None or wanted.kind in {"keep", packing}:
            return None
        reason = mediatype.unreadable_layer(layer.media_type)
        if reason is not None:
            raise Unsupported(
                f"layer {layer.digest} {reason} ({layer.media_type}): it cannot be converted",
                hint="leave --compression out",
            )
        return wanted


def layer_packing(media_type: str) -> str:
    """Return ``gzip``, ``zstd`` or ``none``, as the type of a layer states it; "" if unknown."""
    kind = mediatype.essence(media_type)
    for suffix, packing in ((".tar", "none"), ("gzip", "gzip"), ("zstd", "zstd")):
        if kind.endswith(suffix):
            return packing
    return ""


class DiffIds:
    """The DiffIDs that configs state for layers. Thread-safe."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._configs: dict[Digest, tuple[Digest, ...]] = {}

    def find(self, node: Node, layer: Descriptor) -> Digest | None:
        """Return the DiffID of a layer, or None if the config does not tell."""
        manifest = node.document
        if not isinstance(manifest, Manifest):
            return None
        with self._lock:
            known = self._configs.get(manifest.config.digest)
            if known is None:
                known = parse_config(self._source.read(manifest.config)).diff_ids
                self._configs[manifest.config.digest] = known
        if len(known) != len(manifest.layers):
            return None
        return known[[each.digest for each in manifest.layers].index(layer.digest)]


class NothingKnown:
    """Know nothing of earlier copies."""

    def repositories(self, _blob: Descriptor) -> tuple[str, ...]:
        """Return nothing."""
        return ()

    def packed(self, _layer: Descriptor, _compression: Compression) -> Descriptor | None:
        """Return None."""
        return None

    def is_from_registry(self, _layer: Digest) -> bool:
        """Return False."""
        return False
