"""Check the blobs of an image against the descriptors that name them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from wherry.content.codec import detect
from wherry.content.pipeline import Limits
from wherry.content.protocols import Receipt
from wherry.content.verify import follow_growing
from wherry.errors import Cancelled, WherryError
from wherry.model import mediatype
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Buffer

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened, Stream
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest

_CHUNK = 256 * 1024
_ENDINGS = {"gzip": ("gzip",), "zstd": ("zstd",), None: (".tar",)}


class _LayerFacts(NamedTuple):
    """The properties of a layer that was read.

    ``head`` holds its first bytes. ``diff_id`` is None for a damaged layer, ``size`` for an
    unreadable layer. ``raw_size`` is the uncompressed size in bytes.
    """

    size: int | None = None
    head: bytes = b""
    diff_id: Digest | None = None
    raw_size: int = 0


class BlobCheck:
    """Read each blob once, and pass what is wrong to ``report``.

    ``opening`` opens a blob. ``layers`` is the number of layers that were read, ``size`` the
    number of bytes of all blobs.
    """

    def __init__(
        self,
        opening: Callable[[Descriptor, Callable[[], bool]], Opened],
        cancel: CancelToken,
        report: Callable[[bool, str, str], None],
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._open = opening
        self._cancel = cancel
        self._report = report
        self._facts: dict[Digest, dict[str, _LayerFacts]] = {}
        self.size = 0

    @property
    def layers(self) -> int:
        """The number of layers, each counted once."""
        return len(self._facts)

    def config(self, blob: Descriptor, at: str) -> bytes | None:
        """Return a config; report an altered or unreadable config and return None."""
        if (blob.size or 0) > MAX_DOCUMENT:
            self._error(f"{at}.size", f"is over {MAX_DOCUMENT >> 20} MiB")
            return None
        raw = bytearray()

        def take(source: _HashingReader) -> None:
            buffer = bytearray(_CHUNK)
            while count := source.readinto(buffer):
                raw.extend(memoryview(buffer)[:count])

        source = _HashingReader(blob, MAX_DOCUMENT + 1)
        if not self._read(source, blob, at, take):
            return None
        if len(raw) > MAX_DOCUMENT:
            self._error(at, f"is over {MAX_DOCUMENT >> 20} MiB")
            return None
        return bytes(raw)

    def layer(self, blob: Descriptor, at: str, algorithm: str = "sha256") -> Receipt | None:
        """Check a layer; return its receipt, or None for an altered or unreadable layer.

        The DiffID is computed with ``algorithm``. Each descriptor of a layer is compared with
        it. Faults of the layer itself are reported once.
        """
        known = self._facts.setdefault(blob.digest, {})
        first = next(iter(known.values()), None)
        if algorithm not in known:
            known[algorithm] = self._follow(blob, at, algorithm, again=first is not None)
        facts = known[algorithm]
        if first is not None and facts.size is not None and blob.size not in {None, facts.size}:
            self._error(f"{at}.size", _wrong_size(blob, facts.size))
        self._check_form(facts, blob, at)
        if facts.diff_id is None or facts.size is None:
            return None
        return Receipt(blob._replace(size=facts.size), facts.diff_id, facts.raw_size)

    def image(self, receipts: Sequence[Receipt | None], at: str) -> None:
        """Compare the total size of the layers of one image with the limit."""
        layers = {found.descriptor.digest: found for found in receipts if found is not None}
        arrived = sum(found.descriptor.size or 0 for found in layers.values())
        raw = sum(found.raw_size or 0 for found in layers.values())
        if max(arrived, raw) > self._limits.image:
            self._error(at, f"have more than {self._limits.image:,} bytes together, the limit")

    def _error(self, where: str, message: str) -> None:
        self._report(True, where, message)  # noqa: FBT003 - as in a finding

    def _follow(self, blob: Descriptor, at: str, algorithm: str, *, again: bool) -> _LayerFacts:
        """Read a layer and compute its DiffID."""
        found: list[tuple[Digest, int]] = []

        def follow(source: _HashingReader) -> None:
            limit = self._limits.raw
            found.append(
                follow_growing(source, lambda: limit.of(source.size), self._cancel.check, algorithm)
            )

        source = _HashingReader(blob, self._limits.blob)
        good = self._read(source, blob, at, follow, again=again)
        if not good:
            found.clear()
        size = source.size if source.is_read else None
        return _LayerFacts(size, source.head, *(found[0] if found else ()))

    def _read(
        self,
        source: _HashingReader,
        blob: Descriptor,
        at: str,
        consume: Callable[[_HashingReader], None],
        *,
        again: bool = False,
    ) -> bool:
        """Read a blob through ``consume``; report faults unless it is read ``again``."""
        try:
            problem = self._consume(source, blob, consume)
        except Cancelled:
            raise
        except WherryError as error:
            wrong = [(at, str(error))]
        else:
            self.size += 0 if again else source.size
            wrong = list(_mismatches(source, blob, at))
            if problem and not wrong:
                wrong.append((at, problem))
        for where, message in [] if again else wrong:
            self._error(where, message)
        return not wrong

    def _consume(
        self, source: _HashingReader, blob: Descriptor, consume: Callable[[_HashingReader], None]
    ) -> str:
        """Read a blob to its end; return the error of ``consume``, or an empty text."""
        opened = self._open(blob, source.is_whole)
        source.stream = opened.stream
        problem = ""
        try:
            try:
                consume(source)
            except Cancelled:
                raise
            except WherryError as error:
                problem = str(error)
            source.drain()
            source.is_read = True
        finally:
            opened.stream.close()
        return problem

    def _check_form(self, facts: _LayerFacts, blob: Descriptor, at: str) -> None:
        """Compare the compression of a layer with its media type."""
        kind = blob.media_type.lower()
        if (reason := mediatype.unreadable_layer(kind)) is not None:
            self._error(f"{at}.mediaType", f"is {blob.media_type}: the layer {reason}")
            return
        if facts.size is None or (".layer." not in kind and ".rootfs." not in kind):
            return
        form = detect(facts.head)
        if not kind.endswith(_ENDINGS.get(form, ())):
            message = f"is {blob.media_type}, the layer is {form or 'plain'}"
            self._report(False, f"{at}.mediaType", message)  # noqa: FBT003 - as in a finding


def _mismatches(source: _HashingReader, blob: Descriptor, at: str) -> Iterator[tuple[str, str]]:
    if blob.size not in {None, source.size}:
        yield f"{at}.size", _wrong_size(blob, source.size)
    if not source.is_whole():
        actual = f"{blob.digest.algorithm}:{source.hexdigest()}"
        yield f"{at}.digest", f"is {blob.digest}, the content's is {actual}"


def _wrong_size(blob: Descriptor, size: int) -> str:
    return f"is {blob.size:,}, the blob has {size:,} bytes"


class _HashingReader(io.RawIOBase):
    """Read at most ``limit`` bytes of a blob, and hash and count them."""

    stream: Stream

    def __init__(self, blob: Descriptor, limit: int) -> None:
        self._digest = blob.digest
        self._hash = blob.digest.hasher()
        self._left = limit
        self.is_read = False
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
