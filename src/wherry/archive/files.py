"""The files of an archive or layout by name, wherever they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.read_blob import DAMAGED
from wherry.errors import IntegrityError, InvalidDocument, NotFound, Unsupported
from wherry.model.manifest import parse_verified
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from wherry.content.protocols import Opened
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document

    class Files(Protocol):
        """Named files of one archive or directory, which is at ``path``."""

        path: str
        ended: bool  # False for a tar without its end-of-archive marker
        streamed: bool  # whether members are stored while the archive is read, once

        def names(self) -> Iterable[str]:
            """Return the names of files and links, in no particular order."""
            ...

        def size(self, name: str) -> int:
            """Return a file's size in bytes; raises `NotFound` and `UnsafeArchive`."""
            ...

        def real(self, name: str) -> str:
            """Return the name of the file that a link points to, if it is known."""
            ...

        def open(self, name: str, offset: int = 0) -> Opened:
            """Open a file at ``offset``; raises as `size` does."""
            ...

        def digest(self, name: str) -> Digest | None:
            """Return the sha256 of a file if it has been computed; None otherwise."""
            ...

        def close(self) -> None:
            """Close the archive; streams that were returned end."""
            ...


MAX_DOCUMENTS = 64 * 2**20  # bytes of one archive's documents that are kept in memory
_CHUNK = 1024 * 1024


def read(files: Files, name: str) -> bytes:
    """Return a document or config: at most its first 4 MiB and one byte."""
    stream = files.open(name).stream
    found = bytearray()
    try:
        while len(found) <= MAX_DOCUMENT and (
            data := stream.read1(min(_CHUNK, MAX_DOCUMENT + 1 - len(found)))
        ):
            found += data
    finally:
        stream.close()
    return bytes(found)


def read_document(files: Files, name: str, digest: Digest, media_type: str) -> Document:
    """Return the document in a file.

    Raises:
        IntegrityError: Its digest is not ``digest``.
        InvalidDocument, Unsupported: As `wherry.model.manifest.parse` does.
    """
    try:
        return parse_verified(digest, read(files, name), media_type)
    except IntegrityError as error:
        error.hint = error.hint or DAMAGED
        raise error.within(files.path, name) from None
    except (InvalidDocument, Unsupported) as error:
        raise error.within(files.path, name) from None


def has(files: Files, name: str) -> bool:
    """Tell whether there is a file of this name."""
    try:
        files.size(name)
    except NotFound:
        return False
    return True
