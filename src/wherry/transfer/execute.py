"""Executing the plan of a copy: blobs first, then documents, names last."""

from __future__ import annotations

import functools
import itertools
import threading
from typing import TYPE_CHECKING, cast

from wherry.errors import IntegrityError, NotFound, RegistryError, Unsupported
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index
from wherry.model.record import Record
from wherry.transfer.mover import BlobMover
from wherry.transfer.plan_documents import final_documents
from wherry.transfer.plan_values import Convert, Mount, Skip
from wherry.transfer.scheduler import run_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob, MountingSink, Receipt, Sink, Source
    from wherry.model.compression import Compression
    from wherry.model.digest import Digest
    from wherry.transfer.collect import Node
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.plan_values import CopyPlan, Step
    from wherry.transfer.progress import SinkProgress


_SPARSE_HINT = (
    "the index lists images that were not copied: copy all of them (--all-platforms), or "
    "make a smaller index (without --sparse)"
)
_FOREIGN_HINT = (
    "the image has layers at other addresses, and a registry may refuse those "
    "(Distribution: validation.manifests.urls)"
)
_MISSING_CONTENT = {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}  # OCI distribution spec, error codes


class CopyResult(Record):
    """What a copy has done.

    Attributes:
        destination: The address of the destination.
        root: The root document as it was written.
        names: The names that were set on it, or that stood for it already.
        sent: Bytes of blobs that were sent.
        mounted: Bytes of blobs that were mounted.
        notes: Digests that changed, and why.
    """

    destination: str
    root: Descriptor
    names: tuple[str, ...]
    sent: int = 0
    mounted: int = 0
    notes: tuple[str, ...] = ()


class Ends(Record):
    """Where a copy reads and writes, and what it remembers.

    Attributes:
        source: The place that has the image.
        sink: The destination.
        spool: Opens a temporary file for a layer that is compressed anew.
        remember_packed: Is told what a layer has become by a compression.
        forget_mount: Is told a repository that refused to have a blob mounted from it.
        remember_stored: Is told the blobs of the source, with what they are at the destination.
    """

    source: Source
    sink: Sink
    spool: Callable[[], AbstractContextManager[BinaryIO]]
    remember_packed: Callable[[Digest, Compression, Descriptor], None] = lambda *_: None
    forget_mount: Callable[[Digest, str], None] = lambda *_: None
    remember_stored: Callable[[dict[Digest, Digest]], None] = lambda _: None


def execute(
    plan: CopyPlan,
    ends: Ends,
    options: CopyOptions,
    progress: SinkProgress,
    cancel: CancelToken,
    *,
    force: bool = False,
) -> CopyResult:
    """Carry out a plan that was made just now.

    A name is set only after everything below its root is stored.

    Args:
        plan: The plan.
        ends: Where the copy reads and writes.
        options: How blobs are copied.
        progress: Is told every step.
        cancel: Stops the copy.
        force: Whether to send all blobs of the plan without asking.

    Raises:
        IntegrityError: The source is damaged; nothing is named at the destination.
        RegistryError: The registry refuses a blob or a document.
        WherryError: The source cannot be read, or the destination cannot be written.
    """
    return _Execution(plan, ends, options, progress, cancel, force=force).run()


class _Execution:
    def __init__(
        self,
        plan: CopyPlan,
        ends: Ends,
        options: CopyOptions,
        progress: SinkProgress,
        cancel: CancelToken,
        *,
        force: bool,
    ) -> None:
        self._force = force
        self._plan = plan
        self._ends = ends
        self._source = ends.source
        self._sink = ends.sink
        self._options = options
        blobs = [step.source for step in plan.blobs]
        self._mover = BlobMover(ends.source, ends.sink, options, progress, blobs)
        self._progress = progress
        self._cancel = cancel
        self._lock = threading.Lock()
        self._configs = frozenset(each.config for each in plan.documents if each.config)
        self._targets: dict[Digest, Descriptor] = {}  # what blobs of the source have become
        self._sent = self._mounted = 0

    def run(self) -> CopyResult:
        plan = self._plan
        self._run_steps()
        written = self._write_documents()
        sent = [step.source.digest for step in plan.blobs if not _is_foreign(step)]
        self._ends.remember_stored({digest: self._targets[digest].digest for digest in sent})
        self._set_names(written)
        root = written.get(plan.root.digest, plan.root)._replace(data=None)
        names = tuple(each.name for each in plan.names if each.root == plan.root.digest)
        return CopyResult(
            plan.destination,
            root,
            (*plan.current_names, *names),
            self._sent,
            self._mounted,
            plan.notes,
        )

    def _set_names(self, written: Mapping[Digest, Descriptor]) -> None:
        """Set the names, in their order; those of one root together where that is possible."""
        for root, names in itertools.groupby(self._plan.names, lambda each: each.root):
            texts = [each.name for each in names]
            if self._sink.mounts:
                cast("MountingSink", self._sink).set_tags(texts, written[root])
                continue
            for text in texts:
                self._sink.name(text, written[root])

    # Blobs

    def _run_steps(self) -> None:
        steps = self._plan.blobs
        for step in steps:
            if (layer := self._layer(step)) is not None:
                self._progress.report_queued(layer)
        if not self._sink.ordered:
            steps = tuple(sorted(steps, key=lambda step: -step.size))
        run_tasks(
            None,
            [functools.partial(self._run_step, step) for step in steps],
            jobs=1 if self._sink.ordered else self._options.jobs,
            cancel=self._cancel,
        )

    def _layer(self, step: Step) -> Descriptor | None:
        """Return the blob of a step for its progress; None for a config."""
        return None if step.source.digest in self._configs else step.source

    def _run_step(self, step: Step, cancel: CancelToken) -> None:
        try:
            target = self._carry_out(step, cancel)
        except (IntegrityError, Unsupported) as error:
            kind = "config" if self._layer(step) is None else "layer"
            place = f"{kind} {step.source.digest}"
            raise (error if error.is_within(place) else error.within(place)) from error.__cause__
        with self._lock:
            self._targets[step.source.digest] = target

    def _carry_out(self, step: Step, cancel: CancelToken) -> Descriptor:
        match step:
            case Skip():
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
            self._mounted += blob.size or 0
        self._progress.report_mounted(self._layer(step), mounted)
        return blob

    def _move(self, step: Step, cancel: CancelToken, *, asks: bool = True) -> Descriptor:
        """Copy a blob; unless it ``asks``, whatever the destination says that it has."""
        receipt = self._put(step, self._open(step, cancel), cancel, asks=asks)
        return step.source._replace(size=receipt.descriptor.size)

    def _convert(self, step: Convert, cancel: CancelToken, *, asks: bool = True) -> Descriptor:
        from wherry.transfer.pack import pack_layer, spooled_blob

        layer = step.source
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

    def _open(self, step: Step, cancel: CancelToken) -> Blob:
        return self._mover.open(step.source, cancel, is_config=self._layer(step) is None)

    def _put(self, step: Step, blob: Blob, cancel: CancelToken, *, asks: bool) -> Receipt:
        layer = self._layer(step)
        if layer is not None:  # what is sent may be the layer as it was packed
            layer = layer._replace(size=blob.descriptor.size)
        if not asks and self._sink.mounts:
            cast("MountingSink", self._sink).begin(blob.descriptor)
        follow = self._sink.follows and layer is not None
        receipt = self._mover.put(blob, layer, cancel, follow=follow)
        if not receipt.existed:
            with self._lock:
                self._sent += receipt.descriptor.size or 0
        if layer is not None:
            self._progress.complete(layer, receipt)
        return receipt

    # Documents

    def _write_documents(self) -> dict[Digest, Descriptor]:
        """Write the documents, children first.

        Returns:
            What those of the source have become, with their bytes.
        """
        written: dict[Digest, Descriptor] = {}
        for planned, node in final_documents(self._plan, self._targets, self._source.read):
            written[planned.source.digest] = node.descriptor._replace(data=node.document.raw)
            if not planned.exists:
                self._write(node, {each.digest for each in written.values()})
        return written

    def _write(self, node: Node, written: AbstractSet[Digest]) -> None:
        is_index = isinstance(node.document, Index)
        put = functools.partial(
            self._sink.put_document,
            node.descriptor,
            node.document.raw,
            [(child, not is_index or child in written) for child in node.children],
            self._cancel,
        )
        try:
            put()
        except (RegistryError, NotFound) as error:
            error.hint = error.hint or _hint(node, written)
            if _lacks_images(node, written):
                raise
            if not _MISSING_CONTENT.intersection(error.codes):
                raise
            self._repair(node, put)

    def _repair(self, node: Node, put: Callable[[], None]) -> None:
        """Send what the destination has lost since it was asked, then the document.

        If that is not enough, the destination says that it has what it has lost: then all blobs
        of the document are sent.
        """
        self._send_again(node, asks=True)
        try:
            put()
        except (RegistryError, NotFound) as error:
            if not _MISSING_CONTENT.intersection(error.codes):
                raise
            self._send_again(node, asks=False)
            put()

    def _send_again(self, node: Node, *, asks: bool) -> None:
        named = {blob.digest for blob in node.blobs}
        steps = [
            step
            for step in self._plan.blobs
            if self._targets[step.source.digest].digest in named and not _is_foreign(step)
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
        elif not asks or not self._sink.has(self._targets[step.source.digest]):
            self._convert(conversion, cancel, asks=asks)


def _hint(node: Node, written: AbstractSet[Digest]) -> str:
    """Return what to try when a destination refuses a document."""
    if _lacks_images(node, written):
        return _SPARSE_HINT
    return _FOREIGN_HINT if any(blob.urls for blob in node.blobs) else ""


def _lacks_images(node: Node, written: AbstractSet[Digest]) -> bool:
    """Tell whether a document is an index that lists images which were not copied."""
    document = node.document
    return isinstance(document, Index) and any(
        entry.digest not in written for entry in document.manifests
    )


def _is_foreign(step: Step) -> bool:
    return isinstance(step, Skip) and step.foreign
