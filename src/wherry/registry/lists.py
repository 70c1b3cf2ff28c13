"""Lists of a repository: its tags, and what refers to a document (OCI distribution spec)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from wherry.content.budget import Budget
from wherry.errors import Denied, NetworkError, NotFound, RegistryError, Unauthorized, Unsupported
from wherry.model import mediatype
from wherry.model.manifest import Index, Manifest
from wherry.model.reference import is_tag
from wherry.registry.pages import MAX_LISTED, MAX_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.registry.distribution_api import DistributionApi
    from wherry.registry.repository import Repository

MAX_TAGS = 32 * 2**20  # characters of all tags of a list
MAX_REFERRERS = 16 * 2**20  # bytes of all pages of them
MAX_BLANK = 100  # empty pages in a row: some registries filter page by page
MAX_PAGES = 200  # pages of a list, and one more for each `_LEAST_PAGE` entries that are new
_LEAST_PAGE = 10  # entries of a page, on average
MAX_SECONDS = 3600.0  # that the registry may take for all pages of a list
_SHOWN = 80  # characters of what is no tag that a warning shows
_PAGE_STEP = 50  # registries' default sizes of a page are multiples of this
_REFUSALS = (Denied, NetworkError, NotFound, RegistryError, Unauthorized)

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


def tags(repository: Repository, cancel: CancelToken) -> Iterator[str]:
    """Yield all tags, page by page.

    Some registries list what is no tag: digests, empty texts. A warning tells of it.
    """
    odd, example = 0, ""
    for page in _tag_pages(repository, cancel):
        for tag in page:
            if is_tag(tag):
                yield tag
            else:
                odd, example = odd + 1, example if odd else tag
    if odd:
        repository.warn(
            f"{repository.reference.name}: {odd:,} of the tags listed are not valid tags and are "
            f"left out (such as {example[:_SHOWN]!a})"
        )


def _tag_pages(repository: Repository, cancel: CancelToken) -> Iterator[dict[str, None]]:
    """Yield the pages of the tag list.

    Some registries have pages and no ``Link``: a page that may have been cut is followed by a
    request for what comes after its last tag.
    """
    endpoint = _ListEndpoint(repository)
    what = f"{repository.reference.name}: the tag list"
    size = 0

    def ask(target: str) -> _Page[str, None]:
        nonlocal size
        found, following = endpoint.ask(lambda api: api.tags(cancel, target))
        size += sum(map(len, found))
        if size > MAX_TAGS:
            raise Unsupported(f"{what} has over {MAX_TAGS:,} characters")
        # One character over the limit makes it no tag, whatever follows.
        return _Page(dict.fromkeys(tag[: MAX_TAG + 1] for tag in found), following)

    pages = _Pager(ask, what)
    yield from pages.read("")
    while (guess := _after_last(pages)) is not None:
        yield from pages.read(guess, is_guess=True)


def _after_last(pages: _Pager[str, None]) -> str | None:
    """Return the target after the last page, if that is as long as a page that was cut."""
    size = len(pages.last)
    if pages.is_complete or size < _PAGE_STEP or size % _PAGE_STEP:
        return None
    last = next(reversed(pages.last))
    return f"?last={quote(last, safe='')}" if is_tag(last) else None


def referrers(
    repository: Repository, digest: Digest, artifact_type: str, cancel: CancelToken
) -> list[Descriptor]:
    """Return what refers to a document; see `Repository.referrers`."""
    endpoint = _ListEndpoint(repository)
    what = f"{repository.reference.name}@{digest}: the list of referrers"
    size, is_filtered = 0, True

    def ask(target: str) -> _Page[Digest, Descriptor]:
        nonlocal size, is_filtered
        page = endpoint.ask(lambda api: api.referrers(digest, cancel, target))
        if page is None:
            if size:
                raise NotFound(f"{what}: the next page is not found")
            is_filtered = False
            return _Page({each.digest: each for each in _tagged(repository, digest)}, None)
        size += page.size
        is_filtered = is_filtered and page.is_filtered
        if size > MAX_REFERRERS:
            raise Unsupported(f"{digest} has over {MAX_REFERRERS >> 20} MiB of referrers")
        return _Page({each.digest: each for each in page.index.manifests}, page.following)

    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    pages = _Pager(ask, what)
    found = [entry for page in pages.read(query) for entry in page.values()]
    if not artifact_type:
        return found
    # Registries may leave the filter to their clients, and some leave out the types.
    fetch = Budget().limited(repository.document)
    return [
        entry
        for entry in found
        if artifact_type == entry.artifact_type
        or (not entry.artifact_type and (is_filtered or _type(fetch, entry) == artifact_type))
    ]


def _type(fetch: Callable[[Digest], Document], entry: Descriptor) -> str:
    """Return an entry's artifact type by its document (OCI image spec, "Listing Referrers")."""
    try:
        document = fetch(entry.digest)
    except NotFound:
        return ""
    if isinstance(document, Manifest):
        return document.artifact_type or document.config.media_type
    return document.artifact_type if isinstance(document, Index) else ""


def _tagged(repository: Repository, digest: Digest) -> Sequence[Descriptor]:
    """Return the entries of the index that clients keep under a tag, if it is one.

    Some registries take the tag for the digest and serve the subject itself; and what is under
    the tag may be any image.
    """
    tag = f"{digest.algorithm[:32]}-{digest.hex[:64]}"
    try:
        found, document = repository.ask_registry(lambda api: repository.fetch_tag(api, tag))
    except NotFound:
        return ()
    if found == digest or not isinstance(document, Index):
        return ()
    if document.media_type != mediatype.OCI_INDEX or not document.manifests:
        return ()
    own = {digest, *_children(repository, digest)}
    return [entry for entry in document.manifests if entry.digest not in own]


def _children(repository: Repository, digest: Digest) -> Sequence[Digest]:
    """Return what an index lists; nothing for other documents, and for one that is gone."""
    try:
        document = repository.document(digest)
    except NotFound:
        return ()
    return [entry.digest for entry in document.manifests] if isinstance(document, Index) else ()


class _ListEndpoint:
    """The endpoint that a list comes from: all pages come from the one of the first."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._api: DistributionApi | None = None

    def ask(self, call: Callable[[DistributionApi], T]) -> T:
        """Ask for a page."""
        if self._api is not None:
            return self._repository.ask(self._api, call)
        self._api, answer = self._repository.ask_registry(lambda api: (api, call(api)))
        self._repository.warn_of_mirror(self._api)
        return answer


class _Page(NamedTuple, Generic[K, V]):
    """A page's entries, and the target of the next page; None for the last one."""

    entries: dict[K, V]
    following: str | None


class _Pager(Generic[K, V]):
    """The pages of one list, of which ``ask`` fetches the one at a target.

    ``last`` is the page that was read last, ``target`` where it was found. ``is_complete``
    tells that nothing comes after a page without a link.
    """

    def __init__(
        self, ask: Callable[[str], _Page[K, V]], what: str, seconds: float = MAX_SECONDS
    ) -> None:
        self._ask = ask
        self._what = what
        self._seconds_left = seconds
        self._asked: set[str] = set()
        self._seen: set[K] = set()
        self.last: dict[K, V] = {}
        self.target = ""
        self.is_complete = False

    def read(self, target: str, *, is_guess: bool = False) -> Iterator[dict[K, V]]:
        """Yield what is new on the page at ``target``, and on all that follow it.

        A ``target`` that is a guess may be refused, or have nothing new: then the list is
        complete. Raises `RegistryError` if a link leads in a circle, or to too many pages,
        since the rest of the list cannot be read then.
        """
        following: str | None = target
        blank = 0
        while following is not None:
            if following in self._asked:
                raise self._endless("leads back to a page that was read before")
            self._asked.add(following)
            self._check_pages()
            started = time.monotonic()
            try:
                page = self._ask(following)
            except _REFUSALS as error:
                if is_guess and not error.transient:
                    self.is_complete = True
                    return
                raise
            self._seconds_left -= time.monotonic() - started
            self.last, self.target = page.entries, following
            fresh = self._note(page.entries)
            if is_guess and not fresh:
                self.is_complete = True
                return
            if page.entries and not fresh:
                raise self._endless("repeats a page instead of the next one")
            blank = 0 if page.entries else blank + 1
            if blank > MAX_BLANK:
                raise self._endless(f"has over {MAX_BLANK} empty pages in a row")
            yield fresh
            following, is_guess = page.following, False
            self.is_complete = self.is_complete or following is not None  # it uses links

    def _check_pages(self) -> None:
        """Raise `RegistryError` for more pages than a list of these entries needs."""
        pages = len(self._asked)
        if pages > MAX_PAGES + len(self._seen) // _LEAST_PAGE:
            raise self._endless(f"has over {pages - 1:,} pages, of few entries each")
        if self._seconds_left < 0:
            raise self._endless(f"does not end (after {pages - 1:,} pages)")

    def _note(self, entries: dict[K, V]) -> dict[K, V]:
        """Return the entries that are new, and remember them."""
        fresh = {key: value for key, value in entries.items() if key not in self._seen}
        self._seen.update(fresh)
        if len(self._seen) > MAX_LISTED:
            raise Unsupported(f"{self._what} has over {MAX_LISTED:,} entries")
        return fresh

    def _endless(self, problem: str) -> RegistryError:
        return RegistryError(f"{self._what} {problem}", status=200, method="GET", url=self.target)
