"""The public store of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import wherry
from wherry._values import as_new_name
from wherry.image import Image
from wherry.model.address import ImageName
from wherry.model.arguments import checked
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.parameters import RULES
from wherry.store import LocalStore


class Store:
    """A local store of images, in a directory that is made on the first write.

    Threads, processes and forked children may use a store at the same time. Stores of the same
    path are equal. A closed store opens again at the next call. All calls raise `TypeError` or
    `ValueError` for a wrong argument, and `StoreError` if the store cannot be read or written.

    Args:
        path: The directory; by default the one that the command uses.
        limits: How large a blob may be, as stored and decompressed.
    """

    @checked(RULES)
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        limits: wherry.types.Limits | None = None,
    ) -> None:
        from wherry.config import Config

        found = Config.from_environment().store if path is None else Path(path)
        self._limits = limits
        self._local = LocalStore(found.absolute(), limits=limits)

    @property
    def path(self) -> Path:
        """The directory of the store, absolute."""
        return self._local.path

    def __repr__(self) -> str:
        return f"<Store {self.path}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy a store by its path; the copy opens the database for itself."""
        return _reopen, (self.path, self._limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. Idempotent; a later call opens it again."""
        self._local.close()

    @checked(RULES)
    def images(
        self,
        *patterns: str,
        dangling: bool | None = None,
        labels: Mapping[str, str | None] | None = None,
        before: ImageName | None = None,
        since: ImageName | None = None,
    ) -> list[Image]:
        """Return the images of the store, each once, in the order of their names.

        Args:
            patterns: Names with wildcards: ``python``, ``python:3.*``, ``ghcr.io/**``. An
                image is returned if any of them matches.
            dangling: True for images without a tag, False for images with one.
            labels: Labels with their values, or with None for any value. All must match.
            before: Only images that were created before this one.
            since: Only images that were created after this one.

        Raises:
            NotFound: The store has no image ``before`` or ``since``.
        """
        from wherry.ops.listing import Filters, list_rows
        from wherry.store.listing import image_of

        filters = Filters.build(
            self._local, patterns, dangling=dangling, labels=labels, before=before, since=since
        )
        found = {row.manifest: row for row in list_rows(self._local, filters)}
        return [Image(self, Digest.parse(row.root), image_of(row)) for row in found.values()]

    @checked(RULES)
    def artifacts(self, *patterns: str) -> list[wherry.types.ArtifactRecord]:
        """Return the names that stand for no image, in order.

        Clients of a server (`wherry.Client.serve`) also push artifacts, such as charts and
        signatures, and indexes without their images.

        Args:
            patterns: Names with wildcards, as for `images`.
        """
        from wherry.ops.artifact_listing import list_artifacts

        return list(list_artifacts(self._local, patterns))

    @checked(RULES)
    def get(self, image: ImageName) -> Image:
        """Return an image.

        Args:
            image: A reference, an image id or a unique prefix of one, or the digest of a
                manifest. ``store:`` before it is ignored, here and in the other calls.

        Raises:
            NotFound: The store has no such image.
            Ambiguous: Several images have ids with this prefix.
            InvalidReference: The text can be none of these.
        """
        from wherry.ops.find_image import find_image

        found = find_image(self._local, image)
        return Image(self, found.root, found.record)

    @checked(RULES)
    def tag(self, image: ImageName, name: str | Reference) -> Image:
        """Give an image one more name, or move the name to it. Idempotent.

        Args:
            image: An image, as for `get`.
            name: The new name, without a digest; ``latest`` is the default tag.

        Raises:
            NotFound: The store has no such image.
            InvalidReference: ``image`` or ``name`` does not parse.
        """
        from wherry.ops.find_image import find_known_image

        reference = as_new_name(name)
        found = find_known_image(self._local, image)
        self._local.pin(reference, found.root, found.record.manifest)
        return Image(self, found.root, found.record)

    @checked(RULES)
    def untag(self, name: str | Reference) -> None:
        """Remove a name; the image stays until `gc`.

        Raises:
            NotFound: The store has no such name.
            InvalidReference: ``name`` does not parse.
        """
        from wherry.ops.find_image import remove_name

        remove_name(self._local, name)

    @checked(RULES)
    def remove(self, image: ImageName, *, force: bool = False) -> wherry.types.RemovalReport:
        """Remove a name, and with its last name the image.

        Args:
            image: A name, an id or the digest of a manifest, as for `get`. An id stands for
                all names of its image, the digest of a manifest for those of that manifest.
            force: Remove an image by its id though several repositories name it.

        Raises:
            NotFound: The store has no such image.
            StoreError: Several repositories name the image of this id.
        """
        from wherry.ops.find_image import remove_image

        return remove_image(self._local, image, force=force)

    @checked(RULES)
    def gc(self, *, dry_run: bool = False) -> wherry.types.GarbageReport:
        """Remove what no name holds and no operation of any process uses.

        Broken downloads are removed too, unless another operation adds to the store.

        Args:
            dry_run: Change nothing; report what would be removed now.
        """
        return self._local.gc(dry_run=dry_run)

    @checked(RULES)
    def check(
        self,
        cancel: wherry.CancelToken | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> wherry.types.CheckReport:
        """Hash every blob, and compare what names need with what is there. Changes nothing.

        Other processes may use the store meanwhile.

        Args:
            cancel: A token that ends the call with `Cancelled`.
            on_progress: Called with the bytes read so far and the bytes in all, by several
                threads, one at a time.

        Raises:
            StoreError: The database is damaged; `rebuild` makes a new one.
        """
        return self._local.check(cancel, on_progress)

    def rebuild(self) -> wherry.types.RebuildReport:
        """Make a new database from the blobs, with names from their copy, names.json.

        The old database stays beside it as ``wherry.db.damaged``.

        Raises:
            StoreError: Another process adds to the store, or the database belongs to a newer
                version of wherry.
        """
        return self._local.rebuild()

    def usage(self) -> wherry.types.Usage:
        """Measure what the store takes on the disk, in bytes."""
        return self._local.usage()


StoreOrPath: TypeAlias = Store | str | os.PathLike[str]


def local_store(store: Store) -> LocalStore:
    """Return the store that operations use."""
    return store._local  # noqa: SLF001 - of the class above


def _reopen(path: Path, limits: wherry.types.Limits | None) -> Store:
    return Store(path, limits=limits)
