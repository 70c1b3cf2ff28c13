"""Push an image to a registry that speaks only version 1 of the registry protocol."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from wherry.content.protocols import Receipt
from wherry.errors import IntegrityError, NotFound, Unsupported, WherryError
from wherry.model.record import Record
from wherry.ops.legacy import WARNING
from wherry.ops.v1_image import read_pushed_image
from wherry.registry.host_calls import HostCalls
from wherry.registry.legacy_order import choose_error, is_silent, may_go_on
from wherry.registry.upload_options import UploadOptions
from wherry.registry.v1_session import V1Session
from wherry.registry.v1_uploads import V1Upload, V1Uploads
from wherry.registry.v2_check import check_v2
from wherry.transfer.blob_steps import open_spool
from wherry.transfer.execute import CopyResult
from wherry.transfer.mover import BlobOpener
from wherry.transfer.plan_text import summarize_layers
from wherry.transfer.plan_values import Convert, CopyPlan, Move, PlannedName, Skip
from wherry.transfer.progress import SinkProgress
from wherry.transfer.v1_layers import LayerPreparation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.model.v1_chain import ChainImage
    from wherry.ops.blob_memory import BlobMemory
    from wherry.ops.copy_choice import CopyChoice
    from wherry.ops.copy_source import CopySource
    from wherry.ops.v1_image import V1PushedImage
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session
    from wherry.transfer.plan_values import Step
    from wherry.transfer.progress import Emitter


class V1Registry(Record):
    """A registry without version 2.

    Attributes:
        session: The session with it.
        refusal: The answer to version 2.
        is_certain: Whether it has said that it speaks version 1.
    """

    session: V1Session
    refusal: WherryError
    is_certain: bool


def find_v1_registry(
    session: Session, reference: Reference, options: UploadOptions, cancel: CancelToken
) -> V1Registry | None:
    """Return the registry of a repository if it has to be spoken to in version 1.

    Nothing of version 1 is sent unless the settings of the registry allow it.

    Raises:
        WherryError: The registry speaks neither version.
    """
    endpoint = session.hosts.endpoints(reference, warn=options.warn)[-1]
    if not endpoint.legacy:
        return None
    calls = HostCalls(endpoint.host, options)
    try:
        calls.run(cancel, lambda: check_v2(session, endpoint, cancel))
    except WherryError as error:
        if not may_go_on(error, served=False):
            return None  # the first request of the copy fails in the same way
        refusal = error
    else:
        return None
    warnings = session.server_warnings(cancel, options.warn)
    found = V1Session(session, endpoint, warnings)
    try:
        if is_silent(refusal):  # for all attempts
            ping = found.ping(cancel)
        else:
            ping = calls.run(cancel, lambda: found.ping(cancel))
    except WherryError as error:
        raise choose_error(refusal, error) from None
    return V1Registry(found, refusal, is_certain=bool(ping.version))


class V1Target(Record):
    """Where a push goes.

    Attributes:
        registry: The registry.
        reference: The repository there.
        names: The tags to set.
        source: The address that is pushed.
        destination: The destination for people.
    """

    registry: V1Registry
    reference: Reference
    names: tuple[str, ...]
    source: str
    destination: str


class V1Push:
    """Pushes one image. Idempotent: images that the registry has are not sent again.

    The tags are set after all images are complete.
    """

    def __init__(
        self,
        target: V1Target,
        found: CopySource,
        choice: CopyChoice,
        memory: BlobMemory,
        options: UploadOptions,
        emitter: Emitter,
        cancel: CancelToken,
    ) -> None:
        self._target = target
        self._found = found
        self._choice = choice
        self._memory = memory
        self._cancel = cancel
        self._progress = SinkProgress(emitter, remote=True)
        self._uploads = V1Uploads(target.registry.session, target.reference.name, options, cancel)
        self._preparation = LayerPreparation(open_spool, found.source.remote, cancel)
        self._checksums: dict[str, str] = {}
        self._sent = 0

    def plan(self) -> CopyPlan:
        """Return what a push would send; nothing is written.

        Raises:
            WherryError: As `run`.
        """
        image = self._read_image()
        ids, registry = [each.id for each in image.chain], self._target.registry
        with self._choosing_error():
            there = self._uploads.peek(ids, is_certain=registry.is_certain)
        return self._plan(image, there)

    def run(self, notes: tuple[str, ...] = ()) -> CopyResult:
        """Push the image; ``notes`` are those of an earlier plan.

        Raises:
            Unsupported: The registry cannot hold what is asked for.
            IntegrityError: A layer is damaged, or the registry got something else; no tag is set.
            RegistryError: The registry refuses the image.
        """
        image = self._read_image()
        self._begin(image)
        for number, endpoint in enumerate(self._uploads.endpoints):
            self._push_to(endpoint, image, is_first=not number)
        self._uploads.finish(
            [
                {"id": each.id}
                | ({"checksum": self._checksums[each.id]} if each.id in self._checksums else {})
                for each in image.chain
            ]
        )
        self._remember(image)
        result = self._result(image)
        return result.replace(notes=tuple(dict.fromkeys((*notes, *result.notes))))

    def _read_image(self) -> V1PushedImage:
        target = self._target
        if target.reference.digest is not None or not target.names:
            raise Unsupported("a version 1 registry has no digests: name a tag").within(
                target.destination
            )
        return read_pushed_image(self._found, self._choice, self._known_ids)

    def _known_ids(self, chain_ids: Sequence[Digest], config: Digest) -> list[str] | None:
        store = self._found.store or self._found.staging
        host = self._target.reference.domain
        return None if store is None else store.v1_ids_of(host, chain_ids, config)

    @property
    def _notes(self) -> tuple[str, ...]:
        return (*self._found.notes, WARNING)

    def _begin(self, image: V1PushedImage) -> None:
        *lower, top = image.chain
        entries = [{"id": each.id} for each in lower]
        entries += [{"id": top.id, "Tag": name} for name in self._target.names]
        with self._choosing_error():
            self._uploads.begin(entries)

    @contextlib.contextmanager
    def _choosing_error(self) -> Iterator[None]:
        """Raise the more important error if the registry may not speak version 1 either."""
        try:
            yield
        except WherryError as error:
            registry = self._target.registry
            if registry.is_certain:
                raise
            if isinstance(error, NotFound):
                raise registry.refusal from None
            raise choose_error(registry.refusal, error) from None

    def _plan(self, image: V1PushedImage, there: Collection[str]) -> CopyPlan:
        target = self._target
        root = image.manifest
        return CopyPlan(
            source=target.source,
            destination=target.destination,
            root=root,
            blobs=tuple(_step(each, image, there) for each in image.chain),
            names=tuple(PlannedName(name, root.digest) for name in target.names),
            notes=self._notes,
            is_v1=True,
        )

    # One endpoint

    def _push_to(self, endpoint: Endpoint, image: V1PushedImage, *, is_first: bool) -> None:
        there = self._uploads.look_up(endpoint, [each.id for each in image.chain])
        for each in image.chain:
            if each.id in there and there[each.id].parent != each.parent:
                raise self._other_image(each, there[each.id].parent)
        plan = self._plan(image, there)
        if is_first:
            text = f"{plan.destination}: {summarize_layers(plan)}"
            self._progress.report_plan(text, plan.to_json())
            for note in plan.notes:
                self._progress.warn(note)
        for each in image.chain:
            self._progress.report_queued(each.layer)
        layers = [each.layer for each in image.chain if each.id not in there]
        opener = BlobOpener(self._found.source, self._choice.copy, self._progress, layers)
        for each in image.chain:
            if each.id in there:
                self._progress.report_skipped(each.layer)
            else:
                self._send(endpoint, image, each, opener)
        for name in self._target.names:
            self._uploads.set_tag(endpoint, name, image.id)

    def _other_image(self, image: ChainImage, parent: str) -> IntegrityError:
        return IntegrityError(
            f"the registry has another image by the id {image.id}",
            expected=image.parent,
            actual=parent,
        ).within(self._target.destination)

    def _send(
        self, endpoint: Endpoint, image: V1PushedImage, each: ChainImage, opener: BlobOpener
    ) -> None:
        layer, progress = each.layer, self._progress
        compression = image.conversions.get(layer.digest)
        blob = opener.open(layer, self._cancel, is_config=False)
        preparing = functools.partial(progress.report_packing, layer) if compression else _ignore
        with self._preparation.prepared(blob, each.diff_id, compression, preparing) as ready:
            packed = ready.blob.descriptor
            if compression is not None:
                self._memory.remember_packed(layer.digest, compression, packed)
            checksum = ready.checksum(each.json)
            sized = layer._replace(size=packed.size)
            upload = V1Upload(each.id, each.json, ready.blob, checksum)
            is_new = self._uploads.send(endpoint, upload, functools.partial(progress.bytes, sized))
        if is_new:
            self._checksums[each.id] = checksum
            self._sent += packed.size or 0
        progress.complete(sized, Receipt(packed, existed=not is_new))

    # The end

    def _remember(self, image: V1PushedImage) -> None:
        """Record the ids, so that the next push and pull reuse them."""
        store = self._found.store
        if store is None:
            return
        from wherry.store.v1_ids import V1Id

        config = {image.id: image.config}
        ids = [
            V1Id(each.id, each.parent, each.layer.digest, chain_id, config.get(each.id))
            for each, chain_id in zip(image.chain, image.chain_ids, strict=True)
        ]
        store.record_v1_ids(self._target.reference.domain, ids)

    def _result(self, image: V1PushedImage) -> CopyResult:
        target = self._target
        what = "Pushed" if self._checksums else "Tagged"
        self._progress.report_end(f"{what} {target.destination} (image {image.id[:12]})")
        return CopyResult(
            target.destination,
            image.manifest,
            target.names,
            self._sent,
            notes=self._notes,
            v1_id=image.id,
        )


def _ignore(_size: int) -> None:
    """Ignore how much of a layer has been read."""


def _step(each: ChainImage, image: V1PushedImage, there: Collection[str]) -> Step:
    """Return what happens to the layer of an image of the chain."""
    if each.id in there:
        return Skip(each.layer, each.layer)
    compression = image.conversions.get(each.layer.digest)
    if compression is None:
        return Move(each.layer)
    return Convert(each.layer, compression, each.diff_id)
