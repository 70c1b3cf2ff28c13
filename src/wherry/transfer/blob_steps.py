"""Carrying out the steps of a plan: blobs are skipped, mounted, moved or converted."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, cast

from wherry.content.scheduler import run_tasks
from wherry.content.verify import layer_name
from wherry.errors import (
    Cancelled,
    IntegrityError,
    InvalidDocument,
    NotFound,
    StoreError,
    Unsupported,
    WherryError,
)
from wherry.model.digest import diff_id_mismatch
from wherry.model.manifest import Manifest
from wherry.model.record import Record
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.transfer.copy_options import CONFIG_FAILED
from wherry.transfer.image_size import LayerSizes
from wherry.transfer.mover import BlobMover
from wherry.transfer.plan_documents import original_node
from wherry.transfer.plan_values import Convert, Mount, Skip

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import (
        Blob,
        CheckingSink,
        MountingSink,
        Receipt,
        Sink,
        Source,
    )
    from wherry.model.compression import Compression
    from wherry.model.config import ImageConfig
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.transfer.collect import Node
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.plan_values import CopyPlan, Step
    from wherry.transfer.progress import LayerProgress


def open_spool() -> AbstractContextManager[BinaryIO]:
    """Open a temporary file without a name."""
    import tempfile

    return tempfile.TemporaryFile()


class Ends(Record):
    """Where a copy reads and writes, and what it remembers.

    Attributes:
        source: The place that has the image.
        sink: The destination.
        spool: Opens a temporary file for a layer that is compressed anew.
        check_config: Is called with the config of an image that a `CheckingSink` has got; raises
            to refuse the image.
        remember_packed: Is told what a layer has become by a compression.
        forget_mount: Is told a repository that refused to have a blob mounted from it.
        remember_stored: Is told the blobs of the source, with what they are at the destination.
    """

    source: Source
    sink: Sink
    spool: Callable[[], AbstractContextManager[BinaryIO]] = open_spool
    check_config: Callable[[ImageConfig], None] = lambda _: None
    remember_packed: Callable[[Digest, Compression, Descriptor], None] = lambda *_: None
    forget_mount: Callable[[Digest, str], None] = lambda *_: None
    remember_stored: Callable[[dict[Digest, Digest]], None] = lambda _: None


class BlobSteps:
    """Carries out the steps of one plan, several at a time.

    Attributes:
        targets: What blobs of the source have become, by their digests.
        sent: Bytes of blobs that were sent.
        mounted: Bytes of blobs that were mounted.
    """

    def __init__(
        self,
        plan: CopyPlan,
        ends: Ends,
        options: CopyOptions,
        progress: LayerProgress,
        cancel: CancelToken,
        *,
        force: bool,
    ) -> None:
        self._plan = plan
        self._ends = ends
        self._sink = ends.sink
        self._options = options
        self._progress = progress
        self._cancel = cancel
        self._force = force
        blobs = [step.source for step in plan.blobs]
        self._mover = BlobMover(ends.source, ends.sink, options, progress, blobs)
        self._configs = frozenset(each.config for each in plan.documents if each.config)
        self._checked: frozenset[Digest] = frozenset()
        self._sizes = LayerSizes([], 0)
        if ends.sink.follows:
            self._prepare_checks(cast("CheckingSink", ends.sink))
        self._lock = threading.Lock()
        self.targets: dict[Digest, Descriptor] = {}
        self.sent = self.mounted = 0

    def _prepare_checks(self, sink: CheckingSink) -> None:
        """Find the configs of images, and the layers of each image."""
        nodes = [original_node(each) for each in self._plan.documents]
        layers = ({blob.digest for blob in each.blobs} - self._configs for each in nodes)
        self._sizes = LayerSizes(layers, sink.image_limit)
        manifests = (each.document for each in nodes)
        self._checked = self._configs.intersection(
            each.config.digest
            for each in manifests
            if isinstance(each, Manifest) and each.artifact is None
        )

    def run(self) -> None:
        """Carry out all steps, large blobs first unless the sink wants their order.

        The configs that are checked come first. If one fails, everything stops.
        """
        steps = self._plan.blobs
        for step in steps:
            if (layer := self._layer(step)) is not None:
                self._progress.report_queued(layer)
        if not self._sink.ordered:
            steps = tuple(sorted(steps, key=lambda step: -step.size))
        rest = [step for step in steps if step.source.digest not in self._checked]
        run_tasks(
            self._run_configs if self._checked else None,
            [functools.partial(self._run_step, step) for step in rest],
            jobs=1 if self._sink.ordered else self._options.jobs,
            cancel=self._cancel,
        )

    def _layer(self, step: Step) -> Descriptor | None:
        """Return the blob of a step for its progress; None for a config."""
        return None if step.source.digest in self._configs else step.source

    def _run_configs(self, cancel: CancelToken) -> None:
        """Copy the configs of images, and check each."""
        for step in self._plan.blobs:
            digest = step.source.digest
            if digest in self._checked and digest not in self.targets:
                target = self._copy_config(step, cancel)
                with self._lock:
                    self.targets[digest] = target

    def _copy_config(self, step: Step, cancel: CancelToken) -> Descriptor:
        try:
            if step.size > MAX_DOCUMENT:
                raise InvalidDocument(f"the config is over {MAX_DOCUMENT >> 20} MiB")
            target = self._carry_out(step, cancel)
            config = cast("CheckingSink", self._sink).read_config(target)
        except (Cancelled, StoreError):
            raise
        except WherryError as error:
            raise error.within(CONFIG_FAILED) from error.__cause__
        self._ends.check_config(config)
        return target

    def _run_step(self, step: Step, cancel: CancelToken) -> None:
        try:
            target = self._carry_out(step, cancel)
        except (IntegrityError, Unsupported) as error:
            digest = step.source.digest
            place = f"config {digest}" if self._layer(step) is None else layer_name(digest)
            raise (error if error.is_within(place) else error.within(place)) from error.__cause__
        except NotFound as error:
            if step.source.urls and not self._options.foreign:
                error.hint = "the manifest names addresses for this layer: --foreign allows them"
            raise
        with self._lock:
            self.targets[step.source.digest] = target

    def _carry_out(self, step: Step, cancel: CancelToken) -> Descriptor:
        match step:
            case Skip() if not self._sink.follows or step.conversion is not None:
                self._progress.report_skipped(self._layer(step))
                return step.target
            case Convert() if self._force:
                return self._convert(step, cancel, asks=False)
            case _ if self._force:
                return self._move(step, cancel, asks=False)
            case Convert():
                known, target = step.repositories, step.target
                mounted = self._mount(step, target, known) if known and target else None
                return mounted or self._convert(step, cancel)
            case _:
                known = step.repositories if isinstance(step, Mount) else ()
                return self._mount(step, step.source, known) or self._move(step, cancel)

    def _mount(
        self, step: Step, blob: Descriptor, repositories: tuple[str, ...]
    ) -> Descriptor | None:
        """Mount a blob from a known repository, else from any that the registry chooses."""
        if not self._sink.mounts:
            return None
        mounted = cast("MountingSink", self._sink).mount(blob, repositories or ("",))
        for repository in repositories:
            if repository == mounted:
                break
            self._ends.forget_mount(blob.digest, repository)
        if mounted is None:
            return None
        with self._lock:
            self.mounted += blob.size or 0
        self._progress.report_mounted(self._layer(step), mounted)
        return blob

    def _move(self, step: Step, cancel: CancelToken, *, asks: bool = True) -> Descriptor:
        """Copy a blob; unless it ``asks``, whatever the destination says that it has."""
        receipt = self._put(step, self._open(step, cancel), cancel, asks=asks)
        return step.source._replace(size=receipt.descriptor.size)

    def _convert(self, step: Convert, cancel: CancelToken, *, asks: bool = True) -> Descriptor:
        from wherry.transfer.pack import pack_layer
        from wherry.transfer.spool import spooled_blob

        layer = step.source
        if self._sink.layer_compression == "none" and step.diff_id is not None:
            return self._unpack(step, step.diff_id, cancel)
        with self._ends.spool() as spool:
            packed = pack_layer(
                self._open(step, cancel),
                step.compression,
                step.diff_id,
                spool,
                cancel,
                functools.partial(self._progress.report_packing, layer),
            )
            self._ends.remember_packed(layer.digest, step.compression, packed.descriptor)
            blob = spooled_blob(spool, packed.descriptor)
            self._put(step, blob, cancel, asks=asks)
        return packed.descriptor

    def _unpack(self, step: Convert, diff_id: Digest, cancel: CancelToken) -> Descriptor:
        """Write a layer without compression; its digest is known, so no spool is needed."""
        from wherry.transfer.pack import unpacked_blob

        blob = unpacked_blob(self._open(step, cancel), diff_id, cancel)
        try:
            target = self._put(step, blob, cancel, asks=True).descriptor
        except IntegrityError as error:
            if error.expected != str(diff_id):
                raise
            raise diff_id_mismatch(diff_id, error.actual.partition(":")[2]) from None
        target = target._replace(media_type=step.compression.layer_type(docker=False))
        self._ends.remember_packed(step.source.digest, step.compression, target)
        return target

    def _open(self, step: Step, cancel: CancelToken) -> Blob:
        return self._mover.open(step.source, cancel, is_config=self._layer(step) is None)

    def _put(self, step: Step, blob: Blob, cancel: CancelToken, *, asks: bool) -> Receipt:
        layer = self._layer(step)
        if layer is not None:  # what is sent may be the layer as it was packed
            layer = layer._replace(size=blob.descriptor.size)
        if not asks and self._sink.mounts:
            cast("MountingSink", self._sink).begin(blob.descriptor)
        follow = self._sink.follows and layer is not None and self._options.verify_layers
        count = functools.partial(self._sizes.add_received, step.source.digest)
        receipt = self._mover.put(blob, layer, cancel, follow=follow, on_bytes=count)
        if not receipt.existed:
            with self._lock:
                self.sent += receipt.descriptor.size or 0
        if layer is not None:
            self._report(step, layer, receipt)
        return receipt

    def _report(self, step: Step, layer: Descriptor, receipt: Receipt) -> None:
        """Report a layer that is written."""
        self._sizes.add(step.source.digest, receipt)
        size = receipt.descriptor.size
        if self._sink.follows and layer.size not in {None, size}:
            problem = f"the manifest says {layer.size:,} bytes, it has {size:,}"
            self._progress.warn(f"{layer_name(layer.digest)}: {problem}")
        if isinstance(step, Skip) and receipt.existed:
            self._progress.report_skipped(layer._replace(size=size))
        else:
            self._progress.complete(layer, receipt)

    def send_again(self, node: Node, *, asks: bool) -> None:
        """Send the blobs of a document that the destination has lost.

        Args:
            node: The document, as it is written.
            asks: Whether to ask the destination for each blob; if not, all are sent.
        """
        named = {blob.digest for blob in node.blobs}
        steps = [
            step
            for step in self._plan.blobs
            if self.targets[step.source.digest].digest in named and not step.is_foreign
        ]
        run_tasks(
            None,
            [functools.partial(self._send_lost, step, asks=asks) for step in steps],
            jobs=self._options.jobs,
            cancel=self._cancel,
        )

    def _send_lost(self, step: Step, cancel: CancelToken, *, asks: bool) -> None:
        conversion = step.conversion if isinstance(step, Skip) else step
        if not isinstance(conversion, Convert):
            self._move(step, cancel, asks=asks)
        elif not asks or not self._sink.has(self.targets[step.source.digest]):
            self._convert(conversion, cancel, asks=asks)
