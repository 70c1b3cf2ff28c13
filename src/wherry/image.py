"""Images of a store and their layers."""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import wherry
from wherry.model.digest import Digest
from wherry.model.record import Record

if TYPE_CHECKING:
    from wherry.store import LocalStore


class Image:
    """An image in a store. All of its content is on the disk and verified.

    Images are equal if their stores, digests and manifests are equal. An image is pickled by its
    store and digests, without its documents. Properties raise `NotFound`, `IntegrityError` or
    `StoreError` if the store has lost or damaged a document.

    Attributes:
        store: The store that the image is in.
        digest: The digest to pull the image by: that of the index or manifest that its name
            points to, as the registry gave it.
        record: The store's row of the image, with the digest of its manifest.
    """

    def __init__(
        self, store: wherry.Store, digest: Digest, record: wherry.types.ImageRecord
    ) -> None:
        self.store = store
        self.digest = digest
        self.record = record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy an image without its documents."""
        return Image, self._identity

    @property
    def _local(self) -> LocalStore:
        return self.store._local  # noqa: SLF001 - what the store is made of

    @property
    def _identity(self) -> tuple[wherry.Store, Digest, wherry.types.ImageRecord]:
        return self.store, self.digest, self.record

    def __repr__(self) -> str:
        return f"<Image {self.id.short} {self.record.platform}>"

    @property
    def id(self) -> Digest:
        """The image id: the digest of the config."""
        return self.record.id

    @property
    def size(self) -> int:
        """The bytes of config and layers in the store, where layers are compressed."""
        return self.record.size

    @property
    def created(self) -> datetime.datetime | None:
        """The time of creation, aware; None if the config has none, or a malformed one.

        ``config.created`` is the text in the config, with all digits of a second.
        """
        from wherry.model import gotime

        return gotime.parse(self.record.created)

    @property
    def platform(self) -> wherry.Platform:
        """The platform that the config names."""
        return self.config.platform.normalized()

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """All names of the image, in full form."""
        return tuple(str(name) for name in self._local.names_of(self.record.manifest))

    @functools.cached_property
    def config(self) -> wherry.types.ImageConfig:
        """The parsed config; ``config.raw`` has its bytes."""
        from wherry.model.config import parse_config

        return parse_config(self._local.read(self.record.id))

    @functools.cached_property
    def manifest(self) -> wherry.types.Manifest:
        """The parsed manifest; ``manifest.raw`` has its bytes as served."""
        from wherry.model.manifest import Manifest

        found = self._local.document(self.record.manifest)
        assert isinstance(found, Manifest)  # noqa: S101 - images have one
        return found

    @functools.cached_property
    def platforms(self) -> tuple[wherry.Platform, ...]:
        """The platforms of the index whose images are in the store; its own one first."""
        from wherry.model.config import parse_config
        from wherry.model.manifest import Index

        found = [self.platform]
        document = self._local.document(self.digest)
        if isinstance(document, Index):
            records = (self._local.image(entry.digest) for entry in document.manifests)
            found += [
                parse_config(self._local.read(record.id)).platform.normalized()
                for record in records
                if record is not None and record.id != self.id
            ]
        return tuple(dict.fromkeys(found))

    @functools.cached_property
    def history(self) -> Sequence[wherry.types.HistoryStep]:
        """The steps that made the image, the last one first."""
        from wherry.ops.history import list_history

        return list_history(self.config, self.manifest.layers)

    @functools.cached_property
    def layers(self) -> Sequence[Layer]:
        """The layers, bottom first."""
        steps = self.config.layer_history(len(self.manifest.layers))
        return [
            Layer(
                store=self.store,
                digest=layer.digest,
                diff_id=diff_id,
                media_type=layer.media_type,
                size=self._local.facts(layer.digest).size or layer.size or 0,
                created_by=step.created_by,
            )
            for layer, diff_id, step in zip(
                self.manifest.layers, self.config.diff_ids, steps, strict=True
            )
        ]

    def unpack(
        self,
        directory: str | os.PathLike[str],
        *,
        replace: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        on_event: Callable[[wherry.Event], None] | None = None,
        cancel: wherry.CancelToken | None = None,
    ) -> None:
        """Unpack the image into a new directory, as `Client.unpack` does, which has more options.

        Args:
            directory: The directory to make; it may exist if it is empty.
            replace: Replace a directory that is not empty, in one step at the end.
            include: Patterns of paths; only these and what is below them are unpacked.
            exclude: Patterns of paths that are not unpacked.
            on_event: Called with one event at a time.
            cancel: Ends the call from another thread.

        Raises:
            NotFound: A pattern of ``include`` matches nothing in the image.
            IntegrityError: A layer in the store is damaged.
            StoreError: The directory is not empty, or cannot be written.
            UnsafeArchive: A layer leads out of the directory.
        """
        from wherry.ops.stored_files import unpack

        unpack(
            self._local,
            (self.digest, self.record.manifest),
            Path(directory),
            on_event,
            cancel,
            replaces=replace,
            include=include,
            exclude=exclude,
        )

    def export(self) -> io.BufferedReader:
        """Open the merged file system as one tar, sorted by path.

        All layers are read and verified by the first read. Close the stream in the thread that
        reads it.

        Returns:
            A stream to read from front to back. Reading raises `IntegrityError` for a damaged
            layer, and `UnsafeArchive` for one that leads out of the root.
        """
        from wherry.ops.stored_files import open_export

        return open_export(self._local, (self.digest, self.record.manifest))

    def members(self) -> Iterator[wherry.types.ImageMember]:
        """Yield the files of the merged file system, sorted by path, without writing any.

        All layers are read and verified first.

        Raises:
            IntegrityError: A layer in the store is damaged.
            UnsafeArchive: A layer leads out of the root.
        """
        from wherry.ops.stored_files import list_members

        return list_members(self._local, (self.digest, self.record.manifest))


class Layer(Record):
    """A layer of an image.

    Attributes:
        store: The store that the layer is in.
        digest: The digest of the layer as stored.
        diff_id: The digest of the decompressed tar.
        media_type: The media type in the manifest.
        size: The bytes of the layer as stored, compressed.
        created_by: The step of the history that made the layer; may be empty.
    """

    store: wherry.Store
    digest: Digest
    diff_id: Digest
    media_type: str
    size: int
    created_by: str

    @property
    def _local(self) -> LocalStore:
        return self.store._local  # noqa: SLF001 - what the store is made of

    def __repr__(self) -> str:
        return f"<Layer {self.digest.short} {self.media_type}>"

    def open(self) -> io.BufferedReader:
        """Open the decompressed tar of the layer, and verify it while it is read.

        Returns:
            A stream to read from front to back. The read that reaches the end raises
            `IntegrityError` if the content does not match the DiffID.

        Raises:
            NotFound: The layer is missing from the store.
        """
        from wherry.content.verify import VerifiedLayer

        source = self._local.open(self.digest)
        return io.BufferedReader(VerifiedLayer(source, self.diff_id, self.digest), 256 * 1024)

    @contextlib.contextmanager
    def open_tar(self) -> Iterator[wherry.types.TarFile]:
        """Yield the layer as a `tarfile.TarFile` to read from front to back.

        The end of the block reads the rest of the layer and verifies all of it.

        Raises:
            IntegrityError: The content does not match the DiffID.
            NotFound: The layer is missing from the store.
        """
        import tarfile

        from wherry.content.verify import VerifiedLayer

        with contextlib.closing(
            VerifiedLayer(self._local.open(self.digest), self.diff_id, self.digest)
        ) as stream:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=256 * 1024) as tar:
                yield tar
            stream.drain()
