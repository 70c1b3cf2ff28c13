"""Collecting what refers to the documents of a copy: referrers, and the tags of cosign."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from wherry.content.budget import Budget, BudgetExceeded
from wherry.content.scheduler import run_tasks
from wherry.errors import Cancelled, InvalidDocument, NotFound, Unsupported, WherryError
from wherry.model.manifest import Index, Manifest
from wherry.model.record import Record
from wherry.transfer.graph import MAX_NESTING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeVar

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Source
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document

    T = TypeVar("T")
    R = TypeVar("R")

MAX_DEPTH = 8  # referrers of referrers
MAX_ENTRIES = 10_000  # entries of all lists of referrers
_SUFFIXES = (".sig", ".att", ".sbom")  # cosign, "Registry Specification"
_ASKED = 6  # tags that are looked for one by one without a look at the list
_LEFT_OUT = (NotFound, InvalidDocument, Unsupported)
_LISTED_PER_TAG = 50  # tags; registries list at least so many on a page


class Referrers(Record):
    """What refers to the documents of a copy.

    Attributes:
        documents: The documents with their digests: subjects before their referrers, and the
            entries of an index before the index.
        names: The tags of cosign, each with the document that it stands for.
    """

    documents: tuple[tuple[Digest, Document], ...] = ()
    names: Mapping[str, Digest] = {}


def collect_referrers(
    source: Source,
    digests: Sequence[Digest],
    *,
    jobs: int,
    cancel: CancelToken,
    warn: Callable[[str], None],
) -> Referrers:
    """Collect the referrers of documents, their referrers, and so on.

    Cosign's tags ``sha256-HEX.sig``, ``.att`` and ``.sbom`` count as well. Each document is
    collected once. One that is missing or unreadable, and a referrer that has another subject, is
    left out with a warning.

    Args:
        source: What the documents are copied from.
        digests: The documents; they are not part of the result.
        jobs: Requests at a time.
        cancel: Cancels the search.
        warn: Is told what is left out.

    Raises:
        BudgetExceeded: There are too many documents.
        InvalidDocument: Referrers of referrers are nested too deeply.
    """
    search = _Search(source, digests, jobs, cancel, warn)
    level = tuple(dict.fromkeys(digests))
    for _ in range(MAX_DEPTH):
        level = search.find(level)
        if not level:
            return Referrers(tuple(search.found.items()), search.names)
    raise InvalidDocument(f"referrers of referrers are nested deeper than {MAX_DEPTH}")


class _Search:
    """What has been found, from level to level."""

    def __init__(
        self,
        source: Source,
        digests: Iterable[Digest],
        jobs: int,
        cancel: CancelToken,
        warn: Callable[[str], None],
    ) -> None:
        self._source = source
        self._jobs = jobs if source.remote else 1
        self._cancel = cancel
        self._warn = warn
        self._budget = Budget()
        self._lock = threading.Lock()
        self._reading = 0  # documents that are being read
        self._entries = 0  # of all lists of referrers
        self._seen = set(digests)
        self.found: dict[Digest, Document] = {}
        self.names: dict[str, Digest] = {}

    def find(self, level: Sequence[Digest]) -> tuple[Digest, ...]:
        """Find what refers to the documents of a level; return the documents that are new."""
        before = len(self.found)
        listed = self._each(self._list_referrers, level)
        wanted = [(subject, digest) for subject in level for digest in listed[subject]]
        tagged = self._find_tags(level)
        new = dict.fromkeys([*(digest for _, digest in wanted), *tagged.values()])
        fetched = self._each(self._fetch, [digest for digest in new if digest not in self._seen])
        for subject, digest in wanted:
            if digest not in self._seen:
                where = f"{digest}, listed as a referrer of {subject}"
                self._add_referrer(subject, digest, fetched[digest], where)
        for tag, digest in tagged.items():
            if digest in self._seen or self._add(digest, fetched[digest], tag):
                self.names[tag] = digest
        return tuple(itertools.islice(self.found, before, None))

    def _add_referrer(
        self, subject: Digest, digest: Digest, document: Document | WherryError, where: str
    ) -> None:
        if not isinstance(document, WherryError):
            stated = document.subject if isinstance(document, Manifest | Index) else None
            if stated is None or stated.digest != subject:
                self._warn(f"{where}: it has {'another' if stated else 'no'} subject; left out")
                return
        self._add(digest, document, where)

    def _add(self, digest: Digest, document: Document | WherryError, where: str) -> bool:
        """Add a document after what an index lists; return False if something is missing."""
        below: dict[Digest, Document] = {}
        try:
            if isinstance(document, WherryError):
                raise document
            self._walk(digest, document, below, 1)
        except BudgetExceeded:
            raise
        except _LEFT_OUT as error:
            self._warn(f"{where}: {error}; left out")
            return False
        self.found |= below
        self._seen |= below.keys()
        return True

    def _walk(
        self, digest: Digest, document: Document, below: dict[Digest, Document], depth: int
    ) -> None:
        if depth > MAX_NESTING:
            raise InvalidDocument(f"indexes are nested deeper than {MAX_NESTING}")
        for entry in document.manifests if isinstance(document, Index) else ():
            if entry.digest not in self._seen and entry.digest not in below:
                self._walk(entry.digest, self._read(entry.digest), below, depth + 1)
        below[digest] = document

    # Requests

    def _list_referrers(self, digest: Digest) -> list[Digest]:
        found = [entry.digest for entry in self._source.referrers(digest)]
        with self._lock:
            self._entries += len(found)
            if self._entries > MAX_ENTRIES:
                raise BudgetExceeded(f"over {MAX_ENTRIES:,} referrers are listed")
        return found

    def _fetch(self, digest: Digest) -> Document | WherryError:
        """Return a document, or the error because of which it is left out."""
        try:
            return self._read(digest)
        except BudgetExceeded:
            raise
        except _LEFT_OUT as error:
            return error

    def _read(self, digest: Digest) -> Document:
        with self._lock:
            self._reading += 1
            self._budget.check(self._reading)
        size = 0
        try:
            document = self._source.document(digest)
            size = len(document.raw)
            return document
        finally:
            with self._lock:
                self._reading -= 1
                self._budget.spend(size)

    def _find_tags(self, level: Sequence[Digest]) -> dict[str, Digest]:
        """Find cosign's tags of documents: by the tag list if that takes fewer requests."""
        tags = [f"{each.algorithm}-{each.hex}{suffix}" for each in level for suffix in _SUFFIXES]
        if len(tags) > _ASKED:
            tags = self._listed(tags)
        found = self._each(self._source.find_tag, tags)
        return {tag: digest for tag, digest in found.items() if digest is not None}

    def _listed(self, tags: list[str]) -> list[str]:
        """Return the tags that the source lists; all if its list is long or not available."""
        limit = _LISTED_PER_TAG * len(tags)
        try:
            listed = set(itertools.islice(self._source.tags(), limit + 1))
        except Cancelled:
            raise
        except WherryError:
            return tags
        return tags if len(listed) > limit else [tag for tag in tags if tag in listed]

    def _each(self, call: Callable[[T], R], arguments: Iterable[T]) -> dict[T, R]:
        """Call a function with each argument, several at a time."""
        wanted = tuple(dict.fromkeys(arguments))
        results: dict[T, R] = {}

        def task(argument: T) -> None:
            results[argument] = call(argument)

        tasks = [lambda _, each=each: task(each) for each in wanted]
        run_tasks(None, tasks, jobs=self._jobs, cancel=self._cancel)
        return {each: results[each] for each in wanted}
