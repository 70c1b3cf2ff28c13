"""The plan of a copy: documents to write, blobs to move, names to set.

A plan is an immutable value. It can be printed, compared and pickled.
"""

from __future__ import annotations

from typing import Any

from wherry.model import mediatype
from wherry.model.compression import Compression
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.record import Record


class Step(Record):
    """What happens to one blob.

    Attributes:
        source: The blob at the source; its size may be unknown.
    """

    action = ""
    source: Descriptor

    @property
    def size(self) -> int:
        """Bytes of the blob at the source; 0 if they are unknown."""
        return self.source.size or 0

    @property
    def is_foreign(self) -> bool:
        """Whether the blob is left at the addresses that the manifest names."""
        return False

    def to_json(self) -> dict[str, Any]:
        """Return the step for `json.dumps`."""
        return {
            "action": self.action,
            "digest": str(self.source.digest),
            "size": self.source.size,
            "mediaType": self.source.media_type,
        }


class Skip(Step):
    """The destination has the blob, or does not need it.

    Attributes:
        target: The blob at the destination; another one if an earlier copy has converted it.
        foreign: The layer is left at the addresses that the manifest names.
        conversion: How ``target`` is made of the source, if it is another blob.
    """

    action = "skip"
    target: Descriptor
    foreign: bool = False
    conversion: Convert | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether the blob is left at the addresses that the manifest names."""
        return self.foreign

    def to_json(self) -> dict[str, Any]:
        """Return the step for `json.dumps`."""
        return super().to_json() | {"target": str(self.target.digest), "foreign": self.foreign}


class Mount(Step):
    """The blob is mounted from a repository of the same registry.

    Attributes:
        repositories: The repositories to try, in order. If all refuse, the blob is moved.
    """

    action = "mount"
    repositories: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the step for `json.dumps`."""
        return super().to_json() | {"from": list(self.repositories)}


class Move(Step):
    """The blob is sent as it is."""

    action = "move"


class Convert(Step):
    """The layer is decompressed, compressed anew, and sent.

    Attributes:
        compression: How to compress it.
        diff_id: The DiffID that the config states; None if there is none.
        target: The converted layer, if an earlier copy has recorded it.
        repositories: Repositories to mount ``target`` from, in order.
    """

    action = "convert"
    compression: Compression
    diff_id: Digest | None = None
    target: Descriptor | None = None
    repositories: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the step for `json.dumps`."""
        return super().to_json() | {"compression": str(self.compression)}


class PlannedDocument(Record):
    """A manifest or index to write.

    Attributes:
        source: The document at the source.
        original: Its bytes there.
        target: The document as it will be written; None until its layers are converted.
        raw: The bytes to write; those of the source until ``target`` is known.
        exists: Whether the destination has the document, and so all that it names.
        config: The digest of the config; None for an index.
    """

    source: Descriptor
    original: bytes
    target: Descriptor | None
    raw: bytes
    exists: bool = False
    config: Digest | None = None

    def __repr__(self) -> str:
        return f"<PlannedDocument {self.source.digest}>"

    @property
    def is_unchanged(self) -> bool:
        """Whether the document keeps its digest."""
        return self.target is not None and self.target.digest == self.source.digest

    @property
    def is_manifest(self) -> bool:
        """Whether this is not an index."""
        return mediatype.kind_of(self.source.media_type) != "index"

    def to_json(self) -> dict[str, Any]:
        """Return the document for `json.dumps`, without its bytes."""
        return {
            "action": "skip" if self.exists else "write",
            "digest": str(self.source.digest),
            "size": self.source.size,
            "mediaType": self.source.media_type,
            "target": None if self.target is None else str(self.target.digest),
        }


class PlannedName(Record):
    """A name to set on a document, which is identified by its digest at the source."""

    name: str
    root: Digest


class Rewrite(Record):
    """How the documents of a copy change.

    Attributes:
        format: ``oci``, ``docker`` or ``v2s1``; empty keeps the format.
        kept: The documents that indexes keep; None keeps all entries.
        repository: The repository in schema1 manifests, without its registry.
        tag: The tag in schema1 manifests.
    """

    format: str = ""
    kept: frozenset[Digest] | None = None
    repository: str = ""
    tag: str = ""


class CopyPlan(Record):
    """What a copy does.

    Attributes:
        source: The address to copy from.
        destination: The address to copy to.
        root: The root document at the source.
        documents: Manifests and indexes, children before parents, and then referrers.
        blobs: A step for each blob, each digest once, in the order of the documents.
        names: The names to set, after all else.
        rewrite: How documents change.
        notes: What a user should know: digests that change and why.
        is_current: Whether the destination has the root already. Then only names are left.
        current_names: The names that stand for the root already.
        is_v1: Whether the destination is a version 1 registry. Then there are no documents, and
            a step for each image of the chain, bottom first.
    """

    source: str
    destination: str
    root: Descriptor
    documents: tuple[PlannedDocument, ...] = ()
    blobs: tuple[Step, ...] = ()
    names: tuple[PlannedName, ...] = ()
    rewrite: Rewrite = Rewrite()
    notes: tuple[str, ...] = ()
    is_current: bool = False
    current_names: tuple[str, ...] = ()
    is_v1: bool = False

    @property
    def skips(self) -> tuple[Skip, ...]:
        """The blobs that the destination has."""
        return tuple(step for step in self.blobs if isinstance(step, Skip))

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The blobs to mount."""
        return tuple(step for step in self.blobs if isinstance(step, Mount))

    @property
    def moves(self) -> tuple[Move | Convert, ...]:
        """The blobs to send, as they are or converted."""
        return tuple(step for step in self.blobs if isinstance(step, Move | Convert))

    @property
    def bytes_to_move(self) -> int:
        """Bytes of the blobs to send, as they are at the source."""
        return sum(step.size for step in self.moves)

    @property
    def writes(self) -> tuple[PlannedDocument, ...]:
        """The documents that the destination lacks."""
        return tuple(document for document in self.documents if not document.exists)

    def to_json(self) -> dict[str, Any]:
        """Return the plan for `json.dumps`."""
        return {
            "source": self.source,
            "destination": self.destination,
            "root": str(self.root.digest),
            "current": self.is_current,
            "documents": [document.to_json() for document in self.documents],
            "blobs": [step.to_json() for step in self.blobs],
            "names": [{"name": each.name, "root": str(each.root)} for each in self.names],
            "notes": list(self.notes),
            "bytesToMove": self.bytes_to_move,
            **({"v1": True} if self.is_v1 else {}),
        }
