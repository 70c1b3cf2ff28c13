"""The blobs that a server is fetching from other registries, each once."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import tempfile
import threading
import time
from typing import TYPE_CHECKING

from wherry.content.growing_file import GrowingFile
from wherry.content.pipeline import Limits, receive
from wherry.content.protocols import Busy, Opened
from wherry.errors import NotFound, WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index, Manifest
from wherry.serve.proxy.download import Download
from wherry.serve.proxy.failures import is_worth_warning
from wherry.transfer.resume import resuming_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.content.retry import RetryPolicy
    from wherry.model.digest import Digest
    from wherry.serve.proxy.upstream_repository import UpstreamRepository
    from wherry.store import LocalStore

MAX_DOWNLOADS = 256  # downloads that run or wait
_POLL_SECONDS = 0.03  # between looks at a download of another process
_STALL_SECONDS = 2.0  # after which another process is not waited for
_SLOT_SECONDS = 0.2  # between looks at the token while a download waits
_END_SECONDS = 0.5  # that all threads together have to end


class Downloads:
    """Downloads blobs in threads. A download that was begun goes on when its clients leave.

    Methods are called in the event loop.

    Args:
        store: The store that gets the blobs.
        name_images: Is told a repository and a blob that has arrived.
        policy: When to retry.
        jobs: The number of blobs that are fetched at the same time, for each registry. So one that
            is silent does not delay the others.
        warn: Is told of downloads that fail.
        cancel: Ends all downloads.
    """

    def __init__(
        self,
        store: LocalStore,
        name_images: Callable[[str, Digest], None],
        policy: RetryPolicy,
        jobs: int,
        warn: Callable[[str], None],
        cancel: CancelToken,
    ) -> None:
        self._store = store
        self._names = store.cached_names
        self._name_images = name_images
        self._policy = policy
        self._jobs = jobs
        self._slots: dict[str, threading.BoundedSemaphore] = {}  # by domain
        self._warn = warn
        self._cancel = cancel
        self._running: dict[Digest, Download] = {}
        self._threads: set[threading.Thread] = set()

    @property
    def is_full(self) -> bool:
        """Whether too many downloads run or wait."""
        return len(self._threads) >= MAX_DOWNLOADS

    def find(self, digest: Digest) -> Download | None:
        """Return the download of a blob if it is running."""
        found = self._running.get(digest)
        return None if found is None or found.is_done else found

    def start(self, repository: str, source: UpstreamRepository, digest: Digest) -> Download:
        """Start to download a blob of a repository (``host/path``)."""
        download = self._running[digest] = Download(digest, repository)
        domain = repository.partition("/")[0]
        slots = self._slots.setdefault(domain, threading.BoundedSemaphore(self._jobs))
        run = functools.partial(self._run, download, source, slots)
        thread = threading.Thread(target=run, name="wherry-proxy", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._threads.discard(thread)
            self._running.pop(digest, None)
            download.finish(WherryError("no thread could be started"))
        return download

    def close(self) -> None:
        """Wait for the threads, whose token was cancelled before."""
        deadline = time.monotonic() + _END_SECONDS
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    # The threads

    def _run(
        self, download: Download, source: UpstreamRepository, slots: threading.BoundedSemaphore
    ) -> None:
        repository = download.repository
        error: WherryError | None = None
        try:
            with self._slot(slots):
                self._fetch(download, repository, source)
        except WherryError as failure:
            error = failure
            if is_worth_warning(error):
                self._warn(f"{repository}: blob {download.digest}: {error}")
        except Exception:
            logging.getLogger("wherry").exception("a download failed")
            error = WherryError("the download failed")
        finally:
            self._running.pop(download.digest, None)
            download.finish(error)
            try:
                if error is None:
                    self._name_images(repository, download.digest)
            finally:
                self._threads.discard(threading.current_thread())

    @contextlib.contextmanager
    def _slot(self, slots: threading.BoundedSemaphore) -> Iterator[None]:
        while not slots.acquire(timeout=_SLOT_SECONDS):
            self._cancel.check()
        try:
            yield
        finally:
            slots.release()

    def _fetch(self, download: Download, repository: str, source: UpstreamRepository) -> None:
        digest = download.digest
        size = self._stated_size(repository, digest)
        watched = _WatchedSource(source, download)
        blob = resuming_blob(
            watched, Descriptor("", digest, size), self._policy, self._cancel, lambda *_: None
        )
        is_there = self._names.has(repository, digest)
        other = _OtherWriter(self._store, download, size, self._cancel)
        with self._store.ingest() as ingest:
            while True:
                on_bytes = _PartWatch(self._store, download)
                try:
                    ingest.put(blob, cancel=self._cancel, on_bytes=on_bytes)
                    break
                except Busy:  # another process fetches it
                    is_there = is_there or self._ask(source, digest)
                    if not other.follow():
                        self._fetch_aside(download, blob)
                        return
            if not (is_there or watched.has_answered):
                self._ask(source, digest)  # another repository has it for sure
            self._names.add_blob(repository, digest)

    def _ask(self, source: UpstreamRepository, digest: Digest) -> bool:
        """Raise `NotFound` unless the repository has a blob."""
        source.stat_blob(digest)
        return True

    def _fetch_aside(self, download: Download, blob: Blob) -> None:
        """Fetch a blob for the requests that follow, without storing it."""
        with tempfile.TemporaryFile(dir=self._store.path) as file:
            download.attach(io.FileIO(os.dup(file.fileno())))
            receive(
                GrowingFile(file.fileno()),
                blob,
                follow=False,
                limits=self._store.limits or Limits(),
                cancel=self._cancel,
                on_bytes=lambda _: download.grow(),
            )
            download.is_aside = True

    def _stated_size(self, repository: str, digest: Digest) -> int | None:
        """Return the size of a blob that a manifest of the repository states."""
        for parent in self._names.parents(digest):
            if not self._names.has(repository, parent):
                continue
            with contextlib.suppress(WherryError):
                document = self._store.document(parent)
                if isinstance(document, Manifest):
                    listed: tuple[Descriptor, ...] = (document.config, *document.layers)
                else:
                    listed = document.manifests if isinstance(document, Index) else ()
                return next((each.size for each in listed if each.digest == digest), None)
        return None


class _OtherWriter:
    """Another process that writes the part file of a blob."""

    def __init__(
        self, store: LocalStore, download: Download, size: int | None, cancel: CancelToken
    ) -> None:
        self._store = store
        self._download = download
        self._size = size
        self._cancel = cancel
        self._arrived: int | None = None
        self._first_look = 0.0

    def follow(self) -> bool:
        """Show what the process has written so far, and wait for more.

        Returns:
            False if the file has not grown for a while since the first call. The process may
            be a pull into this store, which waits for an answer of this server.
        """
        try:
            file = self._store.open_part(self._download.digest)
        except NotFound:  # it has just ended
            return True
        arrived = os.fstat(file.fileno()).st_size
        if self._arrived is None:
            self._arrived, self._first_look = arrived, time.monotonic()
        if arrived == self._arrived or self._download.is_attached_to(file):
            file.close()
        else:
            self._download.attach(file)
            self._download.answer(self._size)
        self._cancel.sleep(_POLL_SECONDS)
        is_late = time.monotonic() - self._first_look > _STALL_SECONDS
        return self._download.is_answered or not is_late


class _PartWatch:
    """Tells a download that its part file has grown; called with the bytes so far."""

    def __init__(self, store: LocalStore, download: Download) -> None:
        self._store = store
        self._download = download
        self._is_attached = False

    def __call__(self, _size: int) -> None:
        if not self._is_attached:  # this process has just locked the file
            self._download.attach(self._store.open_part(self._download.digest))
            self._is_attached = True
        self._download.grow()


class _WatchedSource:
    """A repository that tells a download when its registry has answered."""

    def __init__(self, source: UpstreamRepository, download: Download) -> None:
        self._source = source
        self._download = download
        self.has_answered = False

    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        """Open a blob, see `UpstreamRepository.open`."""
        opened = self._source.open(descriptor, offset, cancel)
        self.has_answered = True
        self._download.answer(descriptor.size if opened.total is None else opened.total)
        return opened
