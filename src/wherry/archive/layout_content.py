"""The documents and names that are added to a layout, wherever its files are."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from wherry.archive.layout_index import find_root, name_roots, read_index
from wherry.archive.layout_roots import ListedRoot, UnnamedReferrers, is_original, list_root
from wherry.archive.oci import blob_name
from wherry.archive.oci_archive_sink import check_type
from wherry.errors import NotFound
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import parse_verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Protocol

    from wherry.model.digest import Digest
    from wherry.model.manifest import Document

    class LayoutFiles(Protocol):
        """The files of a layout that is written to."""

        def size(self, name: str) -> int | None:
            """Return the size of a file in bytes, or None."""
            ...

        def read(self, name: str) -> bytes | None:
            """Return a document, or None; raises `InvalidDocument` over 4 MiB."""
            ...

        def write(self, name: str, raw: bytes) -> None:
            """Write a document, or replace it."""
            ...


class LayoutContent:
    """Write documents, and remember what ``index.json`` has to list. Thread-safe.

    Args:
        label: The layout, for errors.
        files: Its files.
    """

    def __init__(self, label: str, files: LayoutFiles) -> None:
        self._label = label
        self._files = files
        self._lock = threading.Lock()
        self._listed: dict[Digest, ListedRoot] = {}
        self._referrers = UnnamedReferrers()

    def put_document(
        self, descriptor: Descriptor, raw: bytes, children: Iterable[tuple[Digest, bool]]
    ) -> None:
        """Write a document, or replace a damaged one; a referrer is listed without a name.

        Raises:
            Unsupported: The document is a schema1 manifest.
        """
        check_type(descriptor)
        with self._lock:
            self._referrers.note(descriptor, raw, children)
        name, files = blob_name(descriptor.digest), self._files
        if files.size(name) != len(raw) or files.read(name) != raw:
            files.write(name, raw)

    def add_root(self, root: Descriptor) -> None:
        """Prepare a root to be listed: in OCI's formats, the unchanged documents beside it.

        Raises:
            NotFound: The layout does not have the root.
        """
        listed = list_root(root, self._document)
        for document in listed.documents:
            made = Descriptor.of(document.raw, document.media_type)
            self.put_document(made, document.raw, ())
        self._listed[root.digest] = listed

    def find(self, name: str, index: bytes | None) -> Digest | None:
        """Return the root that a name stands for in an ``index.json``.

        The root of a docker image is the document that the listed one was converted from.
        """
        found = find_root(read_index(index), name)
        if found is None:
            return None
        listed, original = found
        if original is not None and is_original(original, listed, self._document):
            return original
        return listed

    def has(self, digest: Digest) -> bool:
        """Tell whether a document is there."""
        return self._files.size(blob_name(digest)) is not None

    def change(self, index: bytes | None, names: Mapping[str, Descriptor]) -> bytes | None:
        """Return an ``index.json`` with names and referrers; None if it does not change."""
        parsed = read_index(index)
        before = json.dumps(parsed)
        roots = [(name, self._listed[root.digest]) for name, root in names.items()]
        roots += [("", ListedRoot(root)) for root in self._referrers.roots()]
        changed = name_roots(parsed, roots)
        return None if json.dumps(parsed) == before else changed

    def _document(self, digest: Digest) -> Document:
        raw = self._files.read(blob_name(digest))
        if raw is None:
            raise NotFound(f"{digest} is not there").within(self._label)
        return parse_verified(digest, raw, "")
