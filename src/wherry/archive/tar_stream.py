"""The files of a tar that is read once, from front to back, as from a pipe.

The documents that name the layers often come after the layers. So every file that may be a layer
is kept while the tar is read. Documents are kept in memory, and the caller stores the rest.
A tar without the names of an image archive is refused after a few files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.detect import IMPORT, MARKS, is_part, link_error, no_archive
from wherry.archive.files import MAX_DOCUMENTS
from wherry.archive.members import Members, find
from wherry.archive.tar import NotATar, UnsafeLink, members
from wherry.content.codec import decompress
from wherry.content.streams import CountingReader, open_bytes
from wherry.content.verify import RawLimit
from wherry.errors import IntegrityError, Unsupported, WherryError
from wherry.model.digest import Digest
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from typing_extensions import Buffer

    from wherry.archive.tar import Member
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened, RawStream

    class MemberSink(Protocol):
        """Stores files until the archive has been read."""

        def put(self, source: RawStream, name: str, size: int) -> Digest:
            """Store ``source`` up to its end and return its sha256."""
            ...

        def open(self, digest: Digest, size: int, offset: int) -> Opened:
            """Open a stored file."""
            ...


_HEAD = 8
_ENOUGH = 10  # files whose names belong to no image archive
_CHUNK = 256 * 1024


class StreamedFiles:
    """The files of a tar that has been read; ``path`` names it in errors."""

    streamed = True

    def __init__(self, path: str, source: RawStream, sink: MemberSink, cancel: CancelToken) -> None:
        self.path = path
        self._sink = sink
        # By the offsets of members: a name may appear twice.
        self._documents: dict[int, bytes] = {}
        self._digests: dict[int, Digest] = {}
        self._faults: dict[int, WherryError] = {}
        self._room = MAX_DOCUMENTS
        self._marked = False  # whether a file has the name of an archive's own documents
        self._others = 0
        reader = TarStream(source, cancel)
        found = Members()
        self._members = found.found
        try:
            for member in members(reader):
                found.add(member)
                if member.offset is not None:
                    self._take(member, member.offset, reader)
            found.check(path, self._known)
            self.ended = reader.ended
            reader.drain()
        except NotATar:
            raise no_archive(path) from None
        except UnsafeLink as error:
            raise link_error(path, self._members, error) from None
        except WherryError as error:
            raise error.within(path) from error.__cause__
        if not reader.arrived:
            raise no_archive(path, "is empty")

    def _take(self, member: Member, offset: int, reader: TarStream) -> None:
        head = reader.read(min(_HEAD, member.size))
        json = head.lstrip()[:1] in {b"{", b"["}
        text = json or member.size <= _HEAD
        self._marked = self._marked or member.name in MARKS
        wanted = self._marked or is_part(member.name)
        if not (wanted or json):
            self._others += 1
            if self._others >= _ENOUGH:
                raise no_archive(self.path, hint=IMPORT)
        if text and member.size <= min(MAX_DOCUMENT, self._room):
            data = head + reader.read(member.size - len(head))
            if len(data) == member.size:
                self._documents[offset] = data
                self._room -= member.size
        elif wanted:
            self._keep(member, offset, _MemberStream(head, reader, member.size))

    def _keep(self, member: Member, offset: int, content: _MemberStream) -> None:
        """Store a member; damage to it matters only to the images that need it."""
        try:
            self._digests[offset] = self._sink.put(content, member.name, member.size)
        except IntegrityError as error:
            self._faults[offset] = error.within(member.name)
        else:
            content.check()

    def names(self) -> Iterable[str]:
        """Return the names of all files and links."""
        return self._members

    def size(self, name: str) -> int:
        """Return a file's size in bytes; raises `NotFound` and `UnsafeArchive`."""
        return find(self.path, self._members, name).size

    def real(self, name: str) -> str:
        """Return the name of the file that a link points to."""
        return find(self.path, self._members, name).name

    def digest(self, name: str) -> Digest | None:
        """Return the sha256 of a file, which was computed while the tar was read."""
        member = find(self.path, self._members, name)
        return self._known(member) or self._kept(member)

    def open(self, name: str, offset: int = 0) -> Opened:
        """Open a file at ``offset``; raises as `size` does."""
        member = find(self.path, self._members, name)
        data = self._documents.get(_offset(member))
        if data is not None:
            return open_bytes(data, offset)
        return self._sink.open(self._kept(member), member.size, offset)

    def _known(self, member: Member) -> Digest | None:
        data = self._documents.get(_offset(member))
        return self._digests.get(_offset(member)) if data is None else Digest.of(data)

    def _kept(self, member: Member) -> Digest:
        if (fault := self._faults.get(_offset(member))) is not None:
            raise fault.within(self.path)
        digest = self._digests.get(_offset(member))
        if digest is None:
            raise Unsupported(
                f"{member.name} comes before the document that names it, "
                "and its name is not that of a layer",
                hint="it can be read from a file that is not compressed",
            ).within(self.path)
        return digest

    def close(self) -> None:
        """Do nothing: the stored files belong to the caller."""


def _offset(member: Member) -> int:
    return -1 if member.offset is None else member.offset


class TarStream:
    """A decompressed stream with a size limit; also a source for `members`."""

    def __init__(self, source: RawStream, cancel: CancelToken) -> None:
        self._arrived = CountingReader(source)
        self._plain = decompress(self._arrived, cancel.check)
        self._cancel = cancel
        self.position = 0
        self.ended = False

    @property
    def arrived(self) -> int:
        """The number of bytes that have been read from the stream, before decompression."""
        return self._arrived.size

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes; raises `IntegrityError` over the size limit."""
        self._cancel.check()
        count = self._plain.readinto(buffer)
        self.position += count
        if self._plain.compression is not None:
            limit = RawLimit().of(self._arrived.size)
            if self.position > limit:
                raise IntegrityError(
                    f"it decompresses to more than {limit:,} bytes",
                    expected=f"at most {limit} bytes",
                    actual="more",
                )
        return count

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer at the end."""
        found = bytearray(count)
        view, filled = memoryview(found), 0
        while filled < count and (some := self.readinto(view[filled:])):
            filled += some
        return bytes(view[:filled])

    def skip_to(self, position: int) -> None:
        """Move forward; raises `IntegrityError` if the stream ends before ``position``."""
        buffer = memoryview(bytearray(_CHUNK))
        while self.position < position:
            if not self.readinto(buffer[: position - self.position]):
                raise IntegrityError(
                    f"the archive is cut off: it ends at byte {self.position:,}",
                    expected=f"{position} bytes",
                    actual=str(self.position),
                )

    def drain(self) -> None:
        """Read to the end, so that the writer of a pipe does not fail."""
        buffer = bytearray(_CHUNK)
        while self.readinto(buffer):
            pass


class _MemberStream:
    """The content of one member, whose first bytes have been read already."""

    def __init__(self, head: bytes, reader: TarStream, size: int) -> None:
        self._head = head
        self._reader = reader
        self._left = size - len(head)

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        if self._head:
            count = min(len(view), len(self._head))
            view[:count] = self._head[:count]
            self._head = self._head[count:]
            return count
        if not self._left:
            return 0
        count = self._reader.readinto(view[: self._left])
        self._left -= count
        if not count:
            self.check()
        return count

    def check(self) -> None:
        """Raise `IntegrityError` if the archive ended before the member did."""
        if self._left:
            raise IntegrityError(
                f"the archive is cut off: {self._left:,} bytes of a member are missing",
                expected="a whole archive",
                actual="the beginning of one",
            )
