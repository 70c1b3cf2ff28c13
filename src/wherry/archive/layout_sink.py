"""OCI image layouts as sinks (OCI image spec, image-layout.md)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.archive.directory_files import DirectoryFiles
from wherry.archive.directory_sink import DirectorySink
from wherry.archive.formats import MARK_ENTRY
from wherry.archive.layout_content import LayoutContent
from wherry.archive.layout_names import parse_layout_name
from wherry.archive.oci import INDEX, MARK, OciLayout, check_version
from wherry.archive.output_directory import OutputDirectory
from wherry.errors import InvalidDigest, InvalidDocument, StoreError, WherryError
from wherry.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.descriptor import Descriptor

_BLOBS = "blobs"


class LayoutSink(DirectorySink):
    """A layout to add images to. Thread-safe, also between processes.

    A layout that did not exist appears whole at the end of the ``with`` block. In an existing
    one, blobs are visible at once, and ``index.json`` changes at the end, under a lock on the
    directory.
    """

    def __init__(self, path: str, cancel: CancelToken) -> None:
        self._content = LayoutContent(path, self)
        super().__init__(path, cancel)

    # The files, for the content

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if there is no regular file."""
        folder, _, leaf = name.rpartition("/")
        return self._directory.size(folder, leaf)

    def read(self, name: str) -> bytes | None:
        """Return a document, or None; raises `InvalidDocument` over 4 MiB."""
        folder, _, leaf = name.rpartition("/")
        return self._directory.read(folder, leaf)

    def write(self, name: str, raw: bytes) -> None:
        """Write a document, or replace it."""
        folder, _, leaf = name.rpartition("/")
        self._directory.write_bytes(folder, leaf, raw)

    def _check(self) -> None:
        names = set(self._directory.names())
        raw = self._directory.read("", MARK)
        if raw is None and names - {_BLOBS}:
            message = "already exists, and is not an OCI layout"
            hint = "choose another place, or empty it"
            raise StoreError(message, hint=hint).within(self.label)
        if raw is not None:
            self._check_readable(raw)

    def _check_readable(self, mark: bytes) -> None:
        """Raise an error if the layout is one that wherry cannot read.

        A tool that was interrupted may not have written ``index.json`` yet.
        """
        if self._directory.read("", INDEX) is None:
            try:
                check_version(mark)
            except WherryError as error:
                raise error.within(self.label) from None
        else:
            with contextlib.closing(DirectoryFiles(self.label)) as files:
                OciLayout(files)

    def _place(self, digest: Digest) -> tuple[str, str]:
        return f"{_BLOBS}/{digest.algorithm}", digest.hex

    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Write a document, or replace a damaged one; idempotent.

        A referrer is listed without a name.

        Raises:
            Unsupported: The document is a schema1 manifest.
            StoreError: The layout cannot be written.
        """
        del cancel
        with self._errors():
            self._content.put_document(descriptor, raw, children)

    def name(self, name: str, root: Descriptor) -> None:
        """Give a root a name at the end of the block; see `Sink.name`.

        A docker image is listed in OCI's formats, with the unchanged documents beside it.

        Raises:
            InvalidReference: A layout cannot have such a name.
            NotFound: The layout does not have the root.
        """
        super().name(name, root)
        with self._errors():
            self._content.add_root(root)

    def resolve(self, name: str) -> Digest | None:
        """Return the root that a name stands for; for a digest, whether its document is there.

        The root of a docker image is the document that the listed one was converted from.
        """
        if name in self._names:
            return self._names[name].digest
        with self._errors():
            try:
                digest = Digest.parse(name)
            except InvalidDigest:
                return self._find_root(name)
            return digest if self._content.has(digest) else None

    def _find_root(self, name: str) -> Digest | None:
        try:
            return self._content.find(name, self.read(INDEX))
        except InvalidDocument as error:
            raise error.within(self.label) from None

    def _check_name(self, name: str) -> None:
        if name:
            parse_layout_name(name)

    def _commit(self) -> None:
        self._write_names(self._directory)
        if not self._directory.publish():
            self._merge()

    def _roll_back(self) -> None:
        """Leave blobs where they are: another writer may rely on them."""

    def _write_names(self, directory: OutputDirectory) -> None:
        with directory.locked(self._cancel):
            if directory.read("", MARK) is None:
                directory.write_bytes("", MARK, MARK_ENTRY.data or b"")
            changed = self._content.change(directory.read("", INDEX), self._names)
            if changed is not None:
                directory.write_bytes("", INDEX, changed)

    def _merge(self) -> None:
        """Move the blobs to a layout that another writer has made meanwhile."""
        made, self._directory = self._directory, OutputDirectory(self.label)
        try:
            self._check()
            for algorithm in made.names(_BLOBS):
                self._directory.move_from(made, f"{_BLOBS}/{algorithm}")
            self._write_names(self._directory)
        finally:
            made.close()
