"""Locking: resolving what an images.toml names, and comparing it with a lock."""

from __future__ import annotations

import datetime
import functools
from typing import TYPE_CHECKING, Literal, NamedTuple

from wherry.content.scheduler import run_tasks
from wherry.errors import NotFound, WherryError
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.ops.open_source import open_repository
from wherry.sync.lock_file import Lock, LockedImage
from wherry.sync.read_platforms import read_platforms
from wherry.sync.resolve_name import resolve_name
from wherry.sync.wanted_images import find_wanted
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.manifest import Document
    from wherry.model.platform import Platform
    from wherry.ops.open_source import Access
    from wherry.registry.repository import Repository
    from wherry.sync.image_list import ImageEntry
    from wherry.sync.wanted_images import WantedImage


class LockChange(Record):
    """A name that a new lock has otherwise than the old one.

    Attributes:
        kind: ``added``, ``removed``, ``moved`` to another digest, or ``changed`` if other
            platforms are selected.
        name: The full name.
        old: The digest in the old lock.
        new: The digest in the new lock.
    """

    kind: Literal["added", "removed", "moved", "changed"]
    name: Reference
    old: Digest | None = None
    new: Digest | None = None

    def __str__(self) -> str:
        digests = " -> ".join(str(each) for each in (self.old, self.new) if each is not None)
        same = self.old == self.new
        return f"{self.kind} {self.name.familiar} {'platforms' if same else digests}"


class LockResult(Record):
    """A lock, and what it changes.

    Attributes:
        lock: The new lock; of a check, the old one.
        changes: The names that differ, sorted.
    """

    lock: Lock
    changes: tuple[LockChange, ...]


class Upgrade(Record):
    """Which names to resolve again although the lock has them.

    ``names`` are full names of images or of repositories.
    """

    everything: bool = False
    names: tuple[str, ...] = ()

    def includes(self, reference: Reference) -> bool:
        """Tell whether a name is to be resolved again."""
        return self.everything or not {str(reference), reference.name}.isdisjoint(self.names)

    def check(self, known_names: Sequence[Reference]) -> None:
        """Raise `NotFound` for a name that is not among the known ones."""
        known = {text for each in known_names for text in (str(each), each.name)}
        for name in self.names:
            if name not in known:
                raise NotFound(f"{name} is not among the images to lock")


def lock_images(
    entries: Sequence[ImageEntry], old: Lock | None, upgrade: Upgrade, access: Access, jobs: int
) -> LockResult:
    """Resolve all images, and read the manifests of their platforms.

    An image of the old lock keeps its digest while the registry has it, unless it is upgraded.

    Args:
        entries: What to lock.
        old: The lock before.
        upgrade: Which images to resolve again.
        access: What opening repositories takes.
        jobs: How many requests to make at a time.

    Raises:
        NotFound: An image or a name to upgrade does not exist.
        PlatformMismatch: An image does not exist for one of the platforms.
        WherryError: A registry cannot be asked.
    """
    wanted = find_wanted(entries, access, jobs)
    upgrade.check([image.name for image in wanted])
    known: Mapping[str, LockedImage] = {} if old is None else old.by_name
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    each_jobs = max(1, jobs // max(1, len(wanted)))

    def lock(image: WantedImage) -> LockedImage:
        previous = known.get(str(image.name))
        locking = _Locking(image, open_repository(image.name, access), access, each_jobs, now)
        return locking.lock(previous, resolves=upgrade.includes(image.name))

    found = Lock(tuple(_for_each(wanted, lock, access, jobs)))
    return LockResult(found, tuple(_changes(known, found.by_name)))


def check_lock(entries: Sequence[ImageEntry], old: Lock, access: Access, jobs: int) -> LockResult:
    """Compare a lock with what the registries have now; one HEAD a tag, besides tag lists.

    Raises:
        NotFound: An image does not exist.
        WherryError: A registry cannot be asked.
    """

    def check(image: WantedImage) -> LockedImage:
        digest = resolve_name(image.name, access)
        moment = datetime.datetime.now(datetime.UTC)
        return LockedImage(image.name, digest, "", 0, moment, image.platforms)

    found = Lock(tuple(_for_each(find_wanted(entries, access, jobs), check, access, jobs)))
    return LockResult(old, tuple(_changes(old.by_name, found.by_name)))


def _for_each(
    wanted: Sequence[WantedImage],
    call: Callable[[WantedImage], LockedImage],
    access: Access,
    jobs: int,
) -> list[LockedImage]:
    """Call a function for all images at once; the results are in the order of the names."""
    found: dict[Reference, LockedImage] = {}

    def run(image: WantedImage, _cancel: CancelToken) -> None:
        try:
            found[image.name] = call(image)
        except WherryError as error:
            if not error.is_within(image.name.domain):
                error.within(image.name.familiar)
            raise

    tasks = [functools.partial(run, image) for image in wanted]
    run_tasks(None, tasks, jobs=jobs, cancel=access.cancel)
    return [found[name] for name in sorted(found, key=str)]


class _Locking(NamedTuple):
    """Locking one image."""

    image: WantedImage
    repository: Repository
    access: Access
    jobs: int
    now: datetime.datetime

    def lock(self, previous: LockedImage | None, *, resolves: bool) -> LockedImage:
        """Return the image as locked, the previous one if it still holds."""
        name = self.image.name
        if previous is not None and not resolves:
            if self.repository.find_tag(str(previous.digest)) is not None:
                if previous.selected == self.image.platforms:
                    return previous
                document = self.repository.document(previous.digest)
                return self._read(previous.digest, document, previous)
            text = f"{name.domain} no longer has {previous.digest}; resolved again"
            Emitter(self.access.listener, name.familiar).warn(text)
        digest, document = self.repository.fetch(self.image.name)
        return self._read(digest, document, previous)

    def _read(
        self, digest: Digest, document: Document, previous: LockedImage | None
    ) -> LockedImage:
        selected: tuple[Platform, ...] = self.image.platforms
        if previous is not None and (previous.digest, previous.selected) == (digest, selected):
            return previous
        same = previous is not None and previous.digest == digest
        return LockedImage(
            name=self.image.name,
            digest=digest,
            media_type=document.media_type,
            size=len(document.raw),
            locked_at=previous.locked_at if same and previous is not None else self.now,
            selected=selected,
            platforms=read_platforms(
                self.repository, digest, document, selected, self.access.cancel, self.jobs
            ),
        )


def _changes(
    old: Mapping[str, LockedImage], new: Mapping[str, LockedImage]
) -> Iterator[LockChange]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before is None and after is not None:
            yield LockChange("added", after.name, None, after.digest)
        elif before is not None and after is None:
            yield LockChange("removed", before.name, before.digest)
        elif before is not None and after is not None:
            digests = before.name, before.digest, after.digest
            if before.digest != after.digest:
                yield LockChange("moved", *digests)
            elif before.selected != after.selected:
                yield LockChange("changed", *digests)
