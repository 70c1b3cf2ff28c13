"""OCI archives as sinks: a tar with the files of an OCI layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.blob_part import fill
from wherry.archive.entry import Entry
from wherry.archive.formats import MARK_ENTRY, blob_directories, index_json
from wherry.archive.layout_names import parse_layout_name
from wherry.archive.layout_roots import ListedRoot, UnnamedReferrers, list_root
from wherry.archive.oci import INDEX, blob_name
from wherry.archive.tar_sink import TarSink
from wherry.archive.write_errors import PULL_SCHEMA1
from wherry.content.cancel import CancelToken
from wherry.errors import NotFound, Unsupported
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import parse
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.archive.blob_part import Spool
    from wherry.archive.formats import NamedRoot
    from wherry.content.protocols import Blob
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.reference import Reference

MAX_HELD = 64 * 2**20  # bytes of configs that wait for their manifests


class OciArchiveSink(TarSink):
    """A new OCI archive. Configs wait for their manifests, as `save` puts them after the layers.

    Args:
        path: The file or the named pipe.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, MARK_ENTRY)
        self._directories: set[str] = set()
        self._held: dict[Digest, bytes] = {}
        self._documents: dict[Digest, bytes] = {}
        self._roots: dict[Digest, ListedRoot] = {}
        self._referrers = UnnamedReferrers()

    def _add(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> int:
        descriptor = blob.descriptor
        if descriptor.size is None or descriptor.size > MAX_DOCUMENT:
            name = self._place(descriptor.digest)
            with self._file.tar.member(name, descriptor.size) as part:
                return fill(part, blob, cancel, on_bytes)
        spool = self._spooled(blob, cancel, on_bytes)
        try:
            if not self._hold(descriptor.digest, spool):
                self._file.tar.add_spool(self._place(descriptor.digest), spool)
            return spool.size
        finally:
            spool.close()

    def _hold(self, digest: Digest, spool: Spool) -> bool:
        """Keep what may be a config in memory; tell whether it was kept."""
        if spool.size > MAX_DOCUMENT or sum(map(len, self._held.values())) > MAX_HELD:
            return False
        raw = spool.read()
        if raw.lstrip()[:1] != b"{":
            return False
        self._held[digest] = raw
        return True

    def _place(self, digest: Digest) -> str:
        """Return the name of a blob's member; its directories are written if need be."""
        for entry in blob_directories(digest, self._directories):
            self._file.tar.add(entry)
        return blob_name(digest)

    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Write a document after what it names; idempotent.

        A referrer is listed without a name.

        Raises:
            Unsupported: The document is a schema1 manifest.
            StoreError: The archive cannot be written.
        """
        del cancel
        digest = descriptor.digest
        check_type(descriptor)
        with self._lock, self._errors():
            self._referrers.note(descriptor, raw, children)
            for child, _ in children:
                self._write_held(child)
            if digest not in self._stored:
                self._file.tar.add(Entry(self._place(digest), raw))
                self._stored[digest] = len(raw)
                self._documents[digest] = raw

    def _write_held(self, digest: Digest) -> None:
        if digest in self._held:
            raw = self._held.pop(digest)
            self._file.tar.add(Entry(self._place(digest), raw))

    def name(self, name: str, root: Descriptor) -> None:
        """Give a root a name, or move the name to it; see `Sink.name`.

        A docker image is listed in OCI's formats, with the unchanged documents beside it.

        Raises:
            InvalidReference: A layout cannot have such a name.
            NotFound: The root was not put into this archive.
        """
        super().name(name, root)
        self._roots.setdefault(root.digest, list_root(root, self._document))

    def _document(self, digest: Digest) -> Document:
        raw = self._documents.get(digest)
        if raw is None:
            raise NotFound(f"{digest} was not written").within(self.label)
        return parse(raw, "")

    def _check_name(self, name: str) -> None:
        if name:
            parse_layout_name(name)

    def _write_rest(self) -> None:
        for digest in list(self._held):
            self._write_held(digest)
        for root in self._roots.values():
            for document in root.documents:
                made = Descriptor.of(document.raw, document.media_type)
                self.put_document(made, document.raw, (), CancelToken())
        self._file.tar.add(Entry(INDEX, index_json(self._named_roots())))

    def _named_roots(self) -> list[NamedRoot]:
        found: list[NamedRoot] = []
        for digest, root in self._roots.items():
            names: dict[str, Reference | None] = {
                name: parse_layout_name(name)
                for name, named in self._names.items()
                if name and named.digest == digest
            }
            if digest in {each.digest for each in self._names.values()}:
                found.append((root, names))
        listed = {root.descriptor.digest for root, _ in found}
        referrers = (each for each in self._referrers.roots() if each.digest not in listed)
        return found + [(ListedRoot(each), {}) for each in referrers]

    def _close(self) -> None:
        self._held.clear()


def check_type(descriptor: Descriptor) -> None:
    """Raise `Unsupported` for schema1, which layouts do not have."""
    if descriptor.media_type.lower() in mediatype.SCHEMA1:
        raise Unsupported(
            "an OCI layout cannot hold docker's schema1 format", hint=PULL_SCHEMA1
        ).within(descriptor.digest)
