"""Repair a store: fetch damaged and missing blobs again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Cancelled, InvalidReference, StoreError, WherryError
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.ops.pull import pull
from wherry.store.check import StoreProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event
    from wherry.ops.pull_options import PullOptions
    from wherry.registry.session import Session
    from wherry.store import LocalStore
    from wherry.store.images import ImageRecord


class RepairReport(Record):
    """The outcome of a repair.

    Attributes:
        mended: The problems that are gone.
        left: The problems that remain, each with the reason.
    """

    mended: list[StoreProblem]
    left: list[tuple[StoreProblem, str]]


def repair(
    session: Session,
    store: LocalStore,
    problems: Iterable[StoreProblem],
    options: PullOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> RepairReport:
    """Remove damaged files, and fetch those that names need.

    Images are pulled by digest from the repositories that earlier pulls noted; no name is set.
    Damaged files that no name needs are only removed.

    Raises:
        StoreError: The store cannot be written.
        Cancelled: The repair was cancelled.
    """
    run = _Repair(session, store, options, cancel, listener)
    return run.run(list(problems))


class _Repair:
    def __init__(
        self,
        session: Session,
        store: LocalStore,
        options: PullOptions,
        cancel: CancelToken,
        listener: Callable[[Event], None],
    ) -> None:
        self._session = session
        self._store = store
        # The digests are verified. The format and the signatures were accepted when the image
        # was pulled.
        self._options = options.replace(
            names=False, strict=False, verify_signatures=False, schema1="allow"
        )
        self._cancel = cancel
        self._listener = listener
        self._reasons: dict[str, str] = {}

    def run(self, problems: list[StoreProblem]) -> RepairReport:
        self._store.remove_damaged([each.digest for each in problems if each.kind == "damaged"])
        wanted = {each.digest for each in problems if each.names and each.kind != "database"}
        for root, record in self._store.images_with(wanted):
            missing = [digest for digest in wanted if not self._store.holds(Digest.parse(digest))]
            if not missing:
                break
            reason = self._fetch(root, record)
            for digest in missing:
                self._reasons.setdefault(digest, reason)
        mended, left = [], []
        for each in problems:
            gone = not each.names or self._store.holds(Digest.parse(each.digest))
            if each.kind != "database" and gone:
                mended.append(each)
            else:
                left.append((each, self._reasons.get(each.digest) or _ADVICE))
        return RepairReport(mended, left)

    def _platforms(self, record: ImageRecord) -> tuple[Platform, ...]:
        """Return the platform of an image, or an empty tuple, which means all platforms."""
        try:
            return (Platform.parse(record.platform, self._options.host),)
        except InvalidReference:
            return ()

    def _fetch(self, root: Digest, record: ImageRecord) -> str:
        """Pull an image from its repositories; return the reason of a failure."""
        reason = "it came from no known registry; pull or load the image again"
        options = self._options.replace(platforms=self._platforms(record))
        for repository in self._store.sources(record.manifest):
            reference = Reference.parse(f"{repository}@{root}")
            try:
                pull(self._session, self._store, reference, options, self._cancel, self._listener)
            except (Cancelled, StoreError):
                raise
            except WherryError as error:
                reason = str(error.within(repository))
            else:
                return ""
        return reason


_ADVICE = "pull or load the image again"
