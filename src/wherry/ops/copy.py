"""Copy an image from any place to any other: plan it, then carry the plan out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.errors import InvalidReference, WherryError
from wherry.model.address import Address, Where
from wherry.model.manifest import Index, Manifest
from wherry.model.record import Record
from wherry.ops.blob_memory import open_memory
from wherry.ops.copy_source import open_copy_source
from wherry.ops.destination import destination_text, names_of, repository_of
from wherry.ops.legacy_push import advise_on_push, find_v1_push
from wherry.ops.open_sink import open_sink
from wherry.ops.open_source import open_v1_image
from wherry.ops.platform_check import find_mismatch, read_stated_platform
from wherry.transfer.blob_steps import Ends
from wherry.transfer.event_queue import queued
from wherry.transfer.execute import CopyResult, execute
from wherry.transfer.graph import Selection
from wherry.transfer.plan import plan
from wherry.transfer.plan_request import CopyRequest
from wherry.transfer.plan_text import summarize_layers
from wherry.transfer.progress import Emitter, SinkProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.protocols import Sink
    from wherry.model.digest import Digest
    from wherry.ops.blob_memory import BlobMemory
    from wherry.ops.copy_choice import CopyChoice
    from wherry.ops.copy_source import CopySource
    from wherry.ops.open_source import Access
    from wherry.ops.v1_push import V1Push
    from wherry.transfer.plan_values import CopyPlan


def plan_copy(
    source: Address, destination: Address, choice: CopyChoice, access: Access
) -> CopyPlan:
    """Plan a copy; nothing is written.

    Raises:
        NotFound: There is no such image.
        PlatformMismatch: There is no image for the platform.
        Unsupported: The destination cannot hold the image, or it cannot be converted.
        WherryError: The source or the destination cannot be asked.
    """
    with _open(source, destination, choice, access, is_plan=True) as operation:
        return operation.plan()


def copy(
    source: Address,
    destination: Address,
    choice: CopyChoice,
    access: Access,
    ready: CopyPlan | None = None,
) -> CopyResult:
    """Copy an image. Idempotent: what the destination has is not sent again.

    Args:
        source: Where the image is.
        destination: Where to copy it, and the name there.
        choice: What to copy of it, and how.
        access: What opening the places takes.
        ready: A plan of this copy to carry out. Its root is copied, and planned again, since the
            destination may have changed.

    Raises:
        WherryError: As `plan_copy`; or a blob, a document or a name cannot be written.
    """
    root = None if ready is None else ready.root.digest
    with _open(source, destination, choice, access, root) as operation:
        return operation.run(() if ready is None else ready.notes)


@contextlib.contextmanager
def _open(
    source: Address,
    destination: Address,
    choice: CopyChoice,
    access: Access,
    root: Digest | None = None,
    *,
    is_plan: bool = False,
) -> Iterator[_Copy | V1Push]:
    """Open the places of a copy; ``is_plan`` fetches no layers."""
    with contextlib.ExitStack() as opened:
        events = opened.enter_context(queued(access.listener, access.cancel))
        emitter = Emitter(events, destination_text(destination))
        access = access.replace(listener=events)
        found = opened.enter_context(_open_source(source, choice, access, root, is_plan=is_plan))
        memory = opened.enter_context(open_memory(found, destination, access))
        v1_push = find_v1_push(source, destination, choice, access, emitter, found, memory)
        if v1_push is not None:
            yield v1_push
            return
        written = opened.enter_context(contextlib.ExitStack())
        sink = written.enter_context(
            open_sink(destination, access, choice, emitter, memory.sessions)
        )
        yield _Copy(
            source, destination, choice, access, emitter, found, memory, sink, written.close
        )


@contextlib.contextmanager
def _open_source(
    source: Address, choice: CopyChoice, access: Access, root: Digest | None, *, is_plan: bool
) -> Iterator[CopySource]:
    """Open the source of a copy, by v1 if v2 does not have the image and v1 is allowed."""
    with contextlib.ExitStack() as opened:
        try:
            found = opened.enter_context(open_copy_source(source, choice, access, root))
        except WherryError as error:
            repository = open_v1_image(source, access, error)
            from wherry.ops.v1_copy_source import open_v1_copy_source, unplannable_v1_copy

            reference = repository.reference
            if is_plan:
                raise unplannable_v1_copy(repository, reference) from None
            found = opened.enter_context(open_v1_copy_source(repository, reference, choice, access))
        yield found


class _Copy(Record):
    """A copy with its places open.

    ``finish`` makes the destination complete, after which it is written no more.
    """

    origin: Address
    destination: Address
    choice: CopyChoice
    access: Access
    emitter: Emitter
    found: CopySource
    memory: BlobMemory
    sink: Sink
    finish: Callable[[], None]

    def run(self, notes: tuple[str, ...] = ()) -> CopyResult:
        """Plan the copy and carry it out; ``notes`` are those of an earlier plan."""
        try:
            made = self.plan()
            return self.execute(made.replace(notes=tuple(dict.fromkeys((*notes, *made.notes)))))
        except WherryError as error:
            advise_on_push(error, self.destination, self.access)
            raise

    def plan(self) -> CopyPlan:
        found, choice = self.found, self.choice
        request = CopyRequest(
            source=str(self.origin),
            destination=destination_text(self.destination),
            names=names_of(self.destination, choice.additional_tags),
            wanted=found.wanted,
            referrers=choice.referrers,
            format=choice.format or "",
            repository=repository_of(self.destination),
            compression=choice.compression,
            packs_plain=found.reference is None and self.sink.remote,
            force=choice.force,
            foreign=choice.copy.foreign,
            jobs=choice.copy.jobs,
        )
        self._check_platform()
        made = plan(
            request,
            found.digest,
            found.load,
            found.source,
            self.sink,
            self.access.cancel,
            self.memory,
        )
        self._check_digest(made)
        return made.replace(notes=(*found.notes, *made.notes))

    def _check_platform(self) -> None:
        """Raise `PlatformMismatch` for a manifest of another platform than the one named."""
        platforms = self.choice.platforms
        document = self.found.load() if platforms else None
        if document is None or isinstance(document, Index):
            return
        if isinstance(document, Manifest) and document.artifact is not None:
            return  # artifacts have no platform
        selection = Selection((), self.found.digest, document)
        config = selection.config
        raw = b"" if config is None else self.found.source.read(config)
        for wanted in platforms:
            error = find_mismatch(selection, read_stated_platform(selection, raw), wanted)
            if error is not None:
                raise error

    def _check_digest(self, made: CopyPlan) -> None:
        """Raise `InvalidReference` if the destination's digest is not that of the root."""
        given = self.destination.given
        expected = given.digest if given is not None else None
        written = {each.target.digest for each in made.documents if each.target is not None}
        if expected is None or expected in {made.root.digest, *written}:
            return
        text = str(given)
        message = f"this digest is not that of the image, {made.root.digest}"
        raise InvalidReference(message, text=text, position=text.index("@"))

    def execute(self, ready: CopyPlan) -> CopyResult:
        progress = SinkProgress(self.emitter, remote=self.sink.remote)
        progress.report_plan(f"{ready.destination}: {summarize_layers(ready)}", ready.to_json())
        for note in ready.notes:
            progress.warn(note)
        ends = Ends(
            source=self.found.source,
            sink=self.sink,
            remember_packed=self.memory.remember_packed,
            forget_mount=self.memory.forget_mount,
            remember_stored=self.memory.remember_stored,
        )
        options = self.choice.copy
        force = self.choice.force
        result = execute(ready, ends, options, progress, self.access.cancel, force=force)
        self.finish()
        has_digests = self.origin.where in {Where.OCI, Where.OCI_ARCHIVE, Where.DIR}
        if self.choice.compression is not None or (has_digests and self.sink.remote):
            result = _note_change(ready, result, progress)
        tags = result.names if self.sink.remote else ()
        progress.report_done(result.root, tags, _done(ready, result, self.sink))
        return result


def _note_change(ready: CopyPlan, result: CopyResult, progress: SinkProgress) -> CopyResult:
    """Report a new digest that was not known before the layers were compressed."""
    unknown = [each for each in ready.documents if each.source == ready.root and not each.target]
    if not unknown or result.root.digest == ready.root.digest:
        return result
    note = f"{ready.root.digest} becomes {result.root.digest}"
    progress.warn(note)
    return result.replace(notes=(*result.notes, note))


def _done(ready: CopyPlan, result: CopyResult, sink: Sink) -> str:
    """Return what a copy has done."""
    if ready.writes:
        return f"{'Pushed' if sink.remote else 'Copied image to'} {result.destination}"
    if ready.names:
        return f"Tagged {result.destination}"
    return f"Image is up to date at {result.destination}"
