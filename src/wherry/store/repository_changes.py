"""Changes of one repository of the store: documents that are pushed, and deletions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import InvalidReference
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.store import (
    documents,
    images,
    refs,
    repository_blobs,
    repository_documents,
    subjects,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

    from wherry.model.descriptor import Descriptor
    from wherry.store.blobs import BlobFiles
    from wherry.store.images import ImageRecord
    from wherry.store.repository_documents import StoredDocument

_WORST = 1000  # the rank of an image that does not run on the host

_IMAGES_BELOW = """
WITH RECURSIVE below (digest) AS (
    VALUES (?) UNION
    SELECT edges.child FROM below JOIN edges ON edges.parent = below.digest
)
SELECT images.manifest, images.platform FROM below JOIN images ON images.manifest = below.digest
"""
_ROOTS_ABOVE = """
WITH RECURSIVE above (digest) AS (
    SELECT parent FROM edges WHERE child = ? UNION
    SELECT edges.parent FROM above JOIN edges ON edges.child = above.digest
)
SELECT DISTINCT refs.root FROM above CROSS JOIN refs ON refs.root = above.digest
"""


class RepositoryChanges:
    """Changes of a repository (``host/path``) in one write transaction.

    Attributes:
        renamed: Whether a name was added, moved or removed.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        files: BlobFiles,
        repository: Reference,
        host: Platform,
    ) -> None:
        self._connection = connection
        self._files = files
        self._repository = repository
        self._host = host
        self.renamed = False

    def find(self, reference: Digest | str) -> StoredDocument | None:
        """Return the document that the repository has under a digest or a tag."""
        return repository_documents.find(self._connection, self._repository.name, reference)

    def missing(self, blobs: Iterable[Digest]) -> list[Digest]:
        """Return those of some blobs that the repository does not have, or that are not stored."""
        listed = list(blobs)
        lacking = repository_blobs.missing(self._connection, self._repository.name, listed)
        return lacking + [each for each in listed if not self._files.exists(each)]

    # Pushes

    def record(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Iterable[Digest],
        image: ImageRecord | None,
    ) -> None:
        """Record a document whose bytes are stored, and the image that it may be."""
        own = descriptor.digest
        edges = [(child, self._files.exists(child)) for child in children]
        documents.add(self._connection, own, own, descriptor.media_type, edges)
        # Indexes may be pushed before what they list.
        self._connection.execute("UPDATE edges SET wanted = 1 WHERE child = ?", (str(own),))
        subjects.record(self._connection, own, raw)
        if image is not None:
            images.add_image(self._connection, image)

    def name(
        self,
        root: Digest,
        tags: Iterable[str],
        *,
        blobs: Collection[Digest] = (),
        children: Collection[Digest] = (),
    ) -> None:
        """Name a document whose rows are recorded, by its digest and by tags.

        A document that loses its last tag stays in the repository under its digest until it is
        collected. The digest of a document that never had a tag is a name like any other.

        Args:
            root: The document.
            tags: Its new tags.
            blobs: What it lists as a manifest. From now on the document keeps it.
            children: What it lists as an index. The index stands for these documents, so they
                need no names of their own.
        """
        shown = self._shown(root)
        tagged = False
        for tag in tags:
            reference = self._repository.with_tag(tag)
            before = refs.find(self._connection, reference)
            self._set(reference, root, shown, kept=True)
            if before is not None and before.root != root:
                self._leave(before)
            tagged = True
        name = self._repository.with_digest(root)
        self._set(name, root, shown, kept=not (tagged or self._is_tagged(root)))
        if tagged:
            refs.let_go(self._connection, name)
        self._drop([self._repository.with_digest(child) for child in children if child != root])
        repository_blobs.restore(self._connection, self._repository.name, root)
        repository_blobs.let_go(self._connection, self._repository.name, blobs)
        self._show_above(root)

    def _is_tagged(self, root: Digest) -> bool:
        first, _ = repository_blobs.name_range(self._repository.name)
        row = self._connection.execute(
            "SELECT 1 FROM refs WHERE root = ? AND name >= ? AND name < ? LIMIT 1",
            (str(root), first, f"{self._repository.name};"),
        ).fetchone()
        return row is not None

    def _shown(self, root: Digest) -> Digest:
        """Return the manifest of the image that a name shows, or the document itself."""
        found = self._connection.execute(_IMAGES_BELOW, (str(root),)).fetchall()
        if not found:
            return root
        rank = self._host.ranking()

        def preference(row: Sequence[str]) -> tuple[int, str]:
            try:
                place = rank(Platform.parse(row[1]))
            except InvalidReference:
                place = None
            return _WORST if place is None else place, row[0]

        return Digest.parse(min(found, key=preference)[0])

    def _show_above(self, document: Digest) -> None:
        """Let the names of indexes that had no image show one that came after them."""
        for (root,) in self._connection.execute(_ROOTS_ABOVE, (str(document),)).fetchall():
            shown = self._shown(Digest.parse(root))
            self._connection.execute(
                "UPDATE refs SET manifest = ? WHERE root = ? AND manifest = root AND manifest <> ?",
                (str(shown), root, str(shown)),
            )

    # Deletions

    def delete_tag(self, tag: str) -> bool:
        """Remove one tag; tell whether there was one. The document stays under its digest."""
        reference = self._repository.with_tag(tag)
        before = refs.find(self._connection, reference)
        if before is None:
            return False
        self._drop([reference])
        self._leave(before)
        return True

    def delete(self, document: StoredDocument) -> None:
        """Remove a document of the repository, with its tags.

        Documents that it lists stay. If another index lists it, a row says that it is gone.
        """
        name = self._repository.name
        first, end = repository_blobs.name_range(name)
        rows = self._connection.execute(
            "SELECT name FROM refs WHERE root = ? AND name >= ? AND name < ?",
            (str(document.digest), first, end),
        )
        self._drop([refs.read_name(text) for (text,) in rows.fetchall()])
        for child in self._stored_children(document.own):
            if not repository_blobs.is_recorded(self._connection, name, child):
                self._keep(child)
        if repository_blobs.has(self._connection, name, document.digest):
            repository_blobs.remove(self._connection, name, document.digest)

    def _stored_children(self, own: Digest) -> list[Digest]:
        """Return the documents that a document lists and that are stored."""
        rows = self._connection.execute(
            "SELECT DISTINCT documents.known_as FROM edges"
            " JOIN documents ON documents.known_as = edges.child WHERE edges.parent = ?",
            (str(own),),
        )
        return [Digest.parse(child) for (child,) in rows.fetchall()]

    def _keep(self, child: Digest) -> None:
        """Name a document by its digest, unless it is below another name of the repository."""
        if not repository_blobs.is_below_name(self._connection, self._repository.name, child):
            self._set(self._repository.with_digest(child), child, self._shown(child), kept=True)

    def _leave(self, before: refs.Ref) -> None:
        """Keep a document in the repository that lost a tag, until it is collected."""
        if not repository_blobs.is_below_name(self._connection, self._repository.name, before.root):
            loose = self._repository.with_digest(before.root)
            self._set(loose, before.root, before.manifest, kept=False)

    def _set(self, name: Reference, root: Digest, manifest: Digest, *, kept: bool) -> None:
        self.renamed |= refs.set_ref(self._connection, name, root, manifest, kept=kept)

    def _drop(self, names: Collection[Reference]) -> None:
        refs.remove(self._connection, names)
        self.renamed |= bool(names)
