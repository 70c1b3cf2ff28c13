"""Skopeo's flat directories as sinks, with one image or one index."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from wherry.archive.dir import MANIFEST, VERSION, document_name
from wherry.archive.directory_sink import DirectorySink
from wherry.archive.formats import VERSION_ENTRY
from wherry.errors import InvalidDocument, StoreError, Unsupported
from wherry.model.convert import MAX_NESTING
from wherry.model.manifest import Index, Manifest, digest_of, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest

# What skopeo writes: blobs, manifests below an index, layers of version 1.0, signatures.
_OWN = re.compile(
    r"([0-9a-f]{64}|[0-9a-f]{128})(\.manifest\.json|\.tar|\.signature-[0-9]+)?|signature-[0-9]+"
)
_MARK = "Directory Transport Version: "


class FlatSink(DirectorySink):
    """A directory for one image, which replaces the image that is there.

    The files of the earlier image are removed when the new ``manifest.json`` is in place. One
    process writes at a time.
    """

    keeps_referrers = False

    def __init__(self, path: str, cancel: CancelToken) -> None:
        self._before: frozenset[str] = frozenset()
        self._written: set[str] = set()  # files that may be new
        self._begun = False
        super().__init__(path, cancel)

    def _check(self) -> None:
        self._before = frozenset(self._directory.names())
        if not self._before:
            return
        others = [each for each in self._before if not _is_own(each)]
        version = (self._directory.read("", VERSION) or b"").decode("utf-8", "replace")
        if others:
            message = (
                f"already exists, with other files than those of an image, such as {min(others)}"
            )
        elif not version.startswith(_MARK):
            message = f"already exists, and is not an image directory: there is no {VERSION} in it"
        else:
            return
        raise StoreError(message, hint="choose another place, or empty it").within(self.label)

    def _place(self, digest: Digest) -> tuple[str, str]:
        return "", digest.hex

    def _begin(self) -> None:
        """Lock the directory and mark it as one of images, before the first file is written."""
        with self._lock:
            if not self._begun:
                self._directory.keep_locked()
                self._check()  # another process may have written an image meanwhile
                if self._directory.read("", VERSION) != VERSION_ENTRY.data:
                    self._directory.write_bytes("", VERSION, VERSION_ENTRY.data or b"")
                self._begun = True

    @contextlib.contextmanager
    def _turn(self, digest: Digest) -> Iterator[None]:
        self._begin()  # before the blob is looked for
        self._written.add(digest.hex)
        with super()._turn(digest):
            yield

    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Write a document under its digest; `name` tells which one is the root. Idempotent.

        Raises:
            StoreError: The directory cannot be written.
        """
        del children, cancel
        name = document_name(descriptor.digest)
        with self._errors():
            self._begin()
            self._written.add(name)
            self._directory.write_bytes("", name, raw)

    def resolve(self, name: str) -> Digest | None:
        """Return the digest of the image; a flat directory has no names."""
        with self._errors():
            found = self._root()
        return found if name in {"", str(found)} else None

    def _root(self) -> Digest | None:
        if self._names:
            return self._names[""].digest
        raw = self._directory.read("", MANIFEST)
        try:
            return None if raw is None else digest_of(parse(raw, ""))
        except (InvalidDocument, Unsupported):  # it is replaced
            return None

    def _check_name(self, name: str) -> None:
        if name:
            raise Unsupported("a flat directory cannot hold a name", hint="use oci:")

    def _commit(self) -> None:
        directory, root = self._directory, document_name(self._names[""].digest)
        if root in self._written:
            try:
                directory.rename(root, MANIFEST)
            except OSError:
                self._roll_back()
                raise
            self._remove_others()
            directory.sync()
        if not directory.publish():
            message = "another process has written it meanwhile"
            raise StoreError(message, hint="try again").within(self.label)

    def _remove_others(self) -> None:
        """Remove the files that the image does not have; one that stays does no harm."""
        wanted: set[str] = set()
        try:
            self._add_files(self._directory.read("", MANIFEST) or b"", wanted, 1)
            names = self._directory.names()
        except (InvalidDocument, Unsupported, OSError):
            return
        for name in names:
            if _OWN.fullmatch(name) and name not in wanted:
                with contextlib.suppress(OSError):
                    self._directory.remove(name)

    def _add_files(self, raw: bytes, wanted: set[str], depth: int) -> None:
        """Add the files of the blobs and documents below a document."""
        document = parse(raw, "")
        if isinstance(document, Manifest):
            wanted.update(blob.digest.hex for blob in (document.config, *document.layers))
        elif isinstance(document, Index):
            for entry in document.manifests:
                name = document_name(entry.digest)
                child = None if name in wanted else self._directory.read("", name)
                if child is not None and depth < MAX_NESTING:
                    wanted.add(name)
                    self._add_files(child, wanted, depth + 1)
        else:
            wanted.update(layer.blob_sum.hex for layer in document.layers)

    def _roll_back(self) -> None:
        """Remove the files that were added to an existing directory."""
        if self._begun and not self._directory.is_new:
            with contextlib.suppress(OSError):
                for name in self._written - self._before:
                    self._directory.remove(name)
                if VERSION not in self._before:
                    self._directory.remove(VERSION)


def _is_own(name: str) -> bool:
    return name in {MANIFEST, VERSION} or _OWN.fullmatch(name) is not None
