"""Open archives to load: files, directories and streams."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.archive.detect import IMPORT, check_ended, no_archive, source_name
from wherry.archive.dir import FlatDirectory
from wherry.archive.directory_files import DirectoryFiles
from wherry.archive.docker import MANIFEST
from wherry.archive.files import has, read
from wherry.archive.legacy import docker_archive, is_docker_archive
from wherry.archive.oci import INDEX, MARK, OciLayout
from wherry.archive.os_files import open_stream, translate_os_errors
from wherry.archive.tar_files import TarFiles
from wherry.archive.tar_stream import StreamedFiles
from wherry.content.codec import LONGEST_MAGIC, detect
from wherry.content.events import Event, Status
from wherry.model.address import Address
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.store.source import StoreSource
from wherry.transfer.progress import INTERVAL, Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from wherry.archive.archive import Archive
    from wherry.archive.files import Files
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened, RawStream
    from wherry.model.cloud_settings import CloudSettings
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest

_ID = re.compile(r"[0-9a-f]{64}")
# The status of a layer that comes from an archive.
_WORDS = {
    Status.DOWNLOADING: Status.LOADING,
    Status.VERIFYING: Status.LOADING,
    Status.DOWNLOADED: Status.LOADING,
    Status.COMPLETE: Status.LOADED,
}


@contextlib.contextmanager
def open_files(
    source: Path | RawStream | Address,
    sink: StoreMemberSink,
    cancel: CancelToken,
    cloud: Callable[[], CloudSettings],
) -> Iterator[Files]:
    """Open an archive; a stream and a compressed file are read once, in order.

    An address is that of a layout in object storage.
    """
    if isinstance(source, Address):
        from wherry.archive.cloud_files import CloudFiles

        with contextlib.closing(CloudFiles(source.path, cloud(), cancel)) as objects:
            yield objects
        return
    if not isinstance(source, Path):
        yield StreamedFiles(source_name(source), source, sink, cancel)
        return
    path = str(source)
    with translate_os_errors(path):
        status = os.stat(path)  # noqa: PTH116 - a string
    if stat.S_ISDIR(status.st_mode):
        with contextlib.closing(DirectoryFiles(path)) as directory:
            yield directory
        return
    with translate_os_errors(path), open_stream(path) as file:
        lies = stat.S_ISREG(status.st_mode)
        if not lies or detect(os.pread(file.fileno(), LONGEST_MAGIC, 0)) is not None:
            yield StreamedFiles(path, file, sink, cancel)
            return
    with contextlib.closing(TarFiles(path, cancel)) as tar:
        yield tar


def list_formats(files: Files, cancel: CancelToken) -> list[Callable[[], Archive]]:
    """Return the formats in which an archive can be read, the best one first.

    Docker since 25 writes a layout that is a docker archive too. Some versions write an
    ``index.json`` that lists nothing.
    """
    if not (has(files, MARK) and has(files, INDEX)):
        if _begins(files, MANIFEST, b"{"):
            return [lambda: FlatDirectory(files)]
        if not is_docker_archive(files):
            check_ended(files)
            raise no_archive(files.path, hint=IMPORT)
        return [lambda: docker_archive(files, cancel, true_types=True)]
    if _begins(files, MANIFEST, b"["):
        return [lambda: OciLayout(files), lambda: docker_archive(files, cancel, true_types=True)]
    return [lambda: OciLayout(files)]


def _begins(files: Files, name: str, text: bytes) -> bool:
    return has(files, name) and read(files, name).lstrip().startswith(text)


class EventTranslator:
    """Pass on events, with the status words for archives."""

    def __init__(self, listener: Callable[[Event], None], *, streamed: bool) -> None:
        self._listener = listener
        self._streamed = streamed

    def __call__(self, event: Event) -> None:
        """Pass on an event."""
        if self._streamed and event.status in {Status.PULLING, Status.EXISTS}:
            return  # the layers were reported as they arrived
        self._listener(event._replace(status=_WORDS.get(event.status, event.status)))


class StoreMemberSink:
    """Put the members of a streamed archive into the store."""

    def __init__(
        self, store: LocalStore, ingest: Ingest, emitter: Emitter, cancel: CancelToken
    ) -> None:
        self._source = StoreSource(store)
        self._ingest = ingest
        self._emitter = emitter
        self._cancel = cancel

    def put(self, source: RawStream, name: str, size: int) -> Digest:
        """Store a member; events name it by the id in its file name."""
        named = _ID.search(name)
        key = Digest(f"sha256:{named.group()}") if named else Digest.of(name.encode())
        receipt = self._ingest.put_unknown(
            _ProgressReader(source, key, size, self._emitter), self._cancel
        )
        self._emitter.emit(Status.LOADED, key, current=size, total=size)
        return receipt.descriptor.digest

    def open(self, digest: Digest, size: int, offset: int) -> Opened:
        """Open a member that was stored."""
        return self._source.open(Descriptor("", digest, size), offset, self._cancel)


class _ProgressReader:
    """Read a member and report its progress."""

    def __init__(self, source: RawStream, key: Digest, size: int, emitter: Emitter) -> None:
        self._source = source
        self._key = key
        self._size = size
        self._emitter = emitter
        self._done = 0
        self._reported = 0.0

    def readinto(self, buffer: Buffer) -> int:
        count = self._source.readinto(buffer) or 0
        self._done += count
        now = time.monotonic()
        if now - self._reported >= INTERVAL:
            self._reported = now
            self._emitter.emit(Status.LOADING, self._key, current=self._done, total=self._size)
        return count
