"""Validate: every document and blob of an image against what points at it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from dray.content.budget import Budget, BudgetExceeded
from dray.content.codec import detect
from dray.content.pipeline import Limits
from dray.content.verify import RawLimit, follow_growing
from dray.errors import Cancelled, DrayError, InvalidDocument, NotFound
from dray.model import mediatype
from dray.model._fields import MAX_DOCUMENT
from dray.model.config import parse_config
from dray.model.digest import Digest
from dray.model.manifest import Index, Manifest
from dray.model.record import Record
from dray.ops.schema1 import check
from dray.transfer.reader import resuming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from dray.content.cancel import CancelToken
    from dray.content.ports import Opened, Place, Stream
    from dray.content.retry import RetryPolicy
    from dray.model.config import ImageConfig
    from dray.model.descriptor import Descriptor
    from dray.model.manifest import Document
    from dray.model.schema1 import Schema1
    from dray.ops.places import Source
    from dray.transfer.reader import OnRetry

MAX_NESTING = 8
_CHUNK = 256 * 1024
_ENDINGS = {"gzip": ("gzip",), "zstd": ("zstd",), None: (".tar",)}


class Finding(NamedTuple):
    """Something that is wrong (``error``) or odd, and at which place of which document."""

    error: bool
    where: str
    message: str


class Report(Record):
    """All findings, and how much was looked at: documents, blobs and their bytes."""

    root: Digest
    findings: list[Finding]
    documents: int
    blobs: int
    size: int


def validate(source: Source, policy: RetryPolicy, cancel: CancelToken, on_retry: OnRetry) -> Report:
    """Check a whole image: documents, digests, sizes, DiffIDs, history against layers.

    All platforms of an index are checked, each blob once; what is wrong is reported and the
    rest is looked at all the same. Raises `Cancelled`, and `BudgetExceeded` where indexes lead
    to too many documents.
    """

    def open_blob(blob: Descriptor, is_whole: Callable[[], bool]) -> Opened:
        # Without its size: where the blob ends is what is to be found out.
        sizeless = blob._replace(size=None)
        return resuming(source.place, sizeless, policy, cancel, on_retry).open(0, is_whole)

    run = _Run(source.place, open_blob, cancel, sparse=source.sparse)
    run.document(source.digest, source.document, "", 1)
    return Report(source.digest, run.findings, run.documents, len(run.layers), run.size)


class _Run:
    def __init__(
        self,
        place: Place,
        open_blob: Callable[[Descriptor, Callable[[], bool]], Opened],
        cancel: CancelToken,
        *,
        sparse: bool,
    ) -> None:
        self._sparse = sparse
        self._place = place
        self._open = open_blob
        self._cancel = cancel
        self._seen: set[Digest] = set()
        self._fetch = Budget().limited(place.document)
        self.findings: list[Finding] = []
        self.documents = 0
        self.layers: dict[Digest, Digest | None] = {}
        self.size = 0

    def _error(self, where: str, message: str) -> None:
        self.findings.append(Finding(error=True, where=where, message=message))

    def _warn(self, where: str, message: str) -> None:
        self.findings.append(Finding(error=False, where=where, message=message))

    # Documents

    def document(self, digest: Digest, document: Document, where: str, depth: int) -> None:
        self._seen.add(digest)
        self.documents += 1
        if isinstance(document, Index | Manifest):
            for problem in document.problems:
                where_in = f"{where}{problem.path}"
                self.findings.append(Finding(problem.error, where_in, problem.message))
        match document:
            case Index():
                self._index(document, where, depth)
            case Manifest():
                self._manifest(document, where)
            case _:
                self._schema1(document, where)

    def _index(self, index: Index, where: str, depth: int) -> None:
        if depth > MAX_NESTING:
            self._error(where, f"indexes are nested deeper than {MAX_NESTING}")
            return
        for place, entry in enumerate(index.manifests):
            at = f"{where}manifests[{place}]"
            if entry.digest in self._seen:
                continue
            if entry.media_type.lower() not in mediatype.KNOWN:
                self._warn(f"{at}.mediaType", f"{entry.media_type!r} is not a manifest type")
                continue
            try:
                child = self._fetch(entry.digest)
            except (Cancelled, BudgetExceeded):
                raise
            except DrayError as error:
                if not (self._sparse and isinstance(error, NotFound)):
                    self._error(at, str(error))
                continue
            self._check_entry(entry, child, at)
            self.document(entry.digest, child, f"{at} > ", depth + 1)

    def _check_entry(self, entry: Descriptor, child: Document, at: str) -> None:
        if entry.size != len(child.raw):
            message = f"is {entry.size:,}, the document has {len(child.raw):,} bytes"
            self._error(f"{at}.size", message)
        if entry.media_type.lower() != child.media_type:
            self._error(f"{at}.mediaType", f"is {entry.media_type}, it is {child.media_type}")

    def _manifest(self, manifest: Manifest, where: str) -> None:
        if manifest.artifact is not None:
            self._warn(where.removesuffix(" > "), f"this is {manifest.artifact}, not an image")
        config = self._config(manifest, where) if manifest.artifact is None else None
        diff_ids = [
            self._layer(layer, f"{where}layers[{place}]")
            for place, layer in enumerate(manifest.layers)
        ]
        if manifest.artifact is None and config is not None:
            self._compare(config, diff_ids, where)

    def _schema1(self, manifest: Schema1, where: str) -> None:
        try:
            _, message = check(manifest, verify=True)
            self._warn(where.removesuffix(" > "), message)
        except DrayError as error:
            self._error(f"{where}signatures", str(error))
        from dray.model.descriptor import Descriptor

        for place, layer in enumerate(manifest.layers):
            if not layer.throwaway:
                self._layer(Descriptor("", layer.blob_sum), f"{where}fsLayers[{place}]")

    # Blobs

    def _config(self, manifest: Manifest, where: str) -> ImageConfig | None:
        at = f"{where}config"
        if (manifest.config.size or 0) > MAX_DOCUMENT:
            self._error(f"{at}.size", f"is over {MAX_DOCUMENT >> 20} MiB")
            return None
        raw = bytearray()
        if not self._read(manifest.config, at, raw.extend):
            return None
        try:
            config = parse_config(bytes(raw))
        except InvalidDocument as error:
            self._error(f"{at} > {error.path}" if error.path else at, str(error))
            return None
        for problem in config.problems:
            self._error(f"{at} > {problem.path}", problem.message)
        return config

    def _layer(self, layer: Descriptor, at: str) -> Digest | None:
        """Return a layer's DiffID; None where it cannot be read."""
        if layer.digest in self.layers:
            return self.layers[layer.digest]
        found: list[Digest] = []

        def follow(source: _Hashed) -> None:
            limit = RawLimit()
            found.append(
                follow_growing(source, lambda: limit.of(source.size), self._cancel.check)[0]
            )

        good = self._check(layer, at, follow)
        self.layers[layer.digest] = found[0] if good and found else None
        return self.layers[layer.digest]

    def _read(self, blob: Descriptor, at: str, take: Callable[[bytes], None]) -> bool:
        def read(source: _Hashed) -> None:
            buffer = bytearray(_CHUNK)
            while count := source.readinto(buffer):
                take(bytes(buffer[:count]))

        return self._check(blob, at, read)

    def _check(self, blob: Descriptor, at: str, consume: Callable[[_Hashed], None]) -> bool:
        """Read a blob through ``consume`` and compare its size and digest."""
        try:
            source = _Hashed(blob)
            opened = self._open(blob, source.is_whole)
            source.stream = opened.stream
            try:
                problem = None
                try:
                    consume(source)
                except Cancelled:
                    raise
                except DrayError as error:
                    problem = str(error)
                source.drain()
            finally:
                opened.stream.close()
        except Cancelled:
            raise
        except DrayError as error:
            self._error(at, str(error))
            return False
        self.size += source.size
        wrong = list(self._mismatches(source, blob, at))
        if problem is not None and not wrong:
            wrong.append((at, problem))
        for where, message in wrong:
            self._error(where, message)
        self._check_form(source.head, blob, at)
        return not wrong

    def _mismatches(self, source: _Hashed, blob: Descriptor, at: str) -> Iterator[tuple[str, str]]:
        if blob.size not in {None, source.size}:
            yield f"{at}.size", f"is {blob.size:,}, the blob has {source.size:,} bytes"
        if source.hexdigest() != blob.digest.hex:
            actual = f"{blob.digest.algorithm}:{source.hexdigest()}"
            yield f"{at}.digest", f"is {blob.digest}, the content's is {actual}"

    def _check_form(self, head: bytes, blob: Descriptor, at: str) -> None:
        """Compare how a layer is packed with what its type says."""
        kind = blob.media_type.lower()
        if ".layer." not in kind and ".rootfs." not in kind:
            return
        if (reason := mediatype.unreadable_layer(kind)) is not None:
            self._error(f"{at}.mediaType", f"is {blob.media_type}: the layer {reason}")
            return
        form = detect(head)
        if not kind.endswith(_ENDINGS.get(form, ())):
            self._warn(f"{at}.mediaType", f"is {blob.media_type}, the layer is {form or 'plain'}")

    # Config against layers

    def _compare(self, config: ImageConfig, diff_ids: list[Digest | None], where: str) -> None:
        at = f"{where}config > "
        if len(config.diff_ids) != len(diff_ids):
            count = len(config.diff_ids)
            self._error(f"{at}rootfs.diff_ids", f"has {count} entries for {len(diff_ids)} layers")
        for place, (stated, found) in enumerate(zip(config.diff_ids, diff_ids, strict=False)):
            same = found is None or stated.algorithm != found.algorithm or stated == found
            if not same:
                message = f"is {stated}, the layer's is {found}"
                self._error(f"{at}rootfs.diff_ids[{place}]", message)
        steps = sum(not entry.empty_layer for entry in config.history)
        if config.history and steps != len(diff_ids):
            self._error(
                f"{at}history", f"has {steps} steps with a layer for {len(diff_ids)} layers"
            )
        for name in ("os", "architecture"):
            if not getattr(config, name):
                self._warn(f"{at}{name}", "is missing")


class _Hashed(io.RawIOBase):
    """A blob's bytes as they pass, hashed and counted, up to the limit for blobs."""

    stream: Stream

    def __init__(self, blob: Descriptor) -> None:
        self._digest = blob.digest
        self._hash = blob.digest.hasher()
        self._left = Limits().blob
        self.size = 0
        self.head = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.stream.read1(min(len(view), self._left)) if self._left else b""
        if len(self.head) < 8:  # noqa: PLR2004 - what magic bytes need
            self.head += data[:8]
        self._hash.update(data)
        self.size += len(data)
        self._left -= len(data)
        view[: len(data)] = data
        return len(data)

    def drain(self) -> None:
        buffer = bytearray(_CHUNK)
        while self.readinto(buffer):
            pass

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def is_whole(self) -> bool:
        return self.hexdigest() == self._digest.hex
