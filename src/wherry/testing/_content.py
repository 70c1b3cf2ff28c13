"""The content of the fake registry: blobs, documents and tags by repository."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.model.reference import is_path, is_tag
from wherry.testing.images import BuiltImage, BuiltIndex, build_image, sha256
from wherry.testing.layers import tar_layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from tarfile import TarInfo

    from wherry.testing.images import Piece

__all__ = ["RegistryContent"]


class RegistryContent:
    """The blobs, manifests and tags of a registry.

    A blob that was added to ``blobs`` or by `add_blob` is visible in every repository. A blob of
    an image, or one that a client uploaded, is visible only in the repositories that have it.

    Attributes:
        blobs: The blobs by digest, as bytes or as the path of a file; may be changed.
        manifests: By repository: the bytes and media type of each manifest by digest.
        tags: By repository: the digest of each tag.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes | Path] = {}
        self.manifests: dict[str, dict[str, tuple[bytes, str]]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self._holders: dict[str, set[str]] = {}

    def add(
        self,
        name: str,
        *,
        files: Mapping[str, bytes | TarInfo | None],
        architecture: str = "amd64",
        env: Sequence[str] = (),
        entrypoint: Sequence[str] | None = None,
        cmd: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> BuiltImage:
        """Build an image with one layer, and add it.

        Args:
            name: The repository and the tag, such as ``acme/app:1``; without a tag, ``latest``.
            files: The files of the layer by path (see `tar_layer`).
            architecture: The architecture of the image, for Linux.
            env: The environment, as ``NAME=value``.
            entrypoint: The entrypoint.
            cmd: The command.
            labels: The labels.

        Raises:
            ValueError: The name is not that of a repository with a tag.
        """
        path, colon, tag = name.partition(":")
        if not is_path(path) or (colon and not is_tag(tag)):
            raise ValueError(f"invalid name {name!r} (expected PATH:TAG, such as acme/app:1)")
        image = build_image(
            [tar_layer(files)],
            architecture=architecture,
            env=env,
            entrypoint=entrypoint,
            cmd=cmd,
            labels=labels,
        )
        self.add_image(path, image, tag or "latest")
        return image

    def add_blob(self, data: bytes | Path, *, algorithm: str = "sha256") -> str:
        """Add a blob.

        Args:
            data: The content, or the path of a file with it.
            algorithm: ``sha256`` or ``sha512``.

        Returns:
            The digest of the blob.
        """
        if isinstance(data, Path):
            with data.open("rb") as file:
                value = hashlib.file_digest(file, algorithm).hexdigest()
        else:
            value = hashlib.new(algorithm, data).hexdigest()
        self.blobs[f"{algorithm}:{value}"] = data
        self._holders.pop(f"{algorithm}:{value}", None)
        return f"{algorithm}:{value}"

    def add_manifest(
        self,
        name: str,
        raw: bytes,
        media_type: str,
        *tags: str,
        digest: str | None = None,
    ) -> str:
        """Add a manifest or index to a repository.

        Args:
            name: The repository.
            raw: The bytes.
            media_type: The media type.
            tags: Tags for the document.
            digest: The digest to serve the document under, instead of the sha256 of the bytes:
                for signed schema1 and for sha512.

        Returns:
            The digest under which the document is served.
        """
        digest = digest or sha256(raw)
        self.manifests.setdefault(name, {})[digest] = (raw, media_type)
        named = self.tags.setdefault(name, {})
        named.update(dict.fromkeys(tags, digest))
        return digest

    def add_image(self, name: str, image: BuiltImage | BuiltIndex, *tags: str) -> str:
        """Add an image, or an index with its images, to a repository.

        Args:
            name: The repository.
            image: The image or index.
            tags: Tags for its root.

        Returns:
            The digest of the root.
        """
        if isinstance(image, BuiltIndex):
            for child in image.images:
                self.add_image(name, child)
            for nested in image.indexes:
                self.add_image(name, nested)
            return self._add_document(name, image.index, *tags)
        for piece in image.blobs():
            self.store_blob(name, piece.digest, piece.data)
        return self._add_document(name, image.manifest, *tags)

    def _add_document(self, name: str, piece: Piece, *tags: str) -> str:
        return self.add_manifest(name, piece.data, piece.media_type, *tags)

    def store_blob(self, name: str, digest: str, data: bytes | Path) -> None:
        """Add a blob to one repository."""
        if digest not in self.blobs:
            self.blobs[digest] = data
            self._holders[digest] = set()
        self.link_blob(name, digest)

    def link_blob(self, name: str, digest: str) -> None:
        """Make a blob of the registry visible in a repository."""
        if digest in self._holders:
            self._holders[digest].add(name)

    def has_blob(self, name: str, digest: str) -> bool:
        """Tell whether a blob is visible in a repository."""
        holders = self._holders.get(digest)
        return digest in self.blobs and (holders is None or name in holders)

    def delete_blob(self, name: str, digest: str) -> None:
        """Remove a blob from a repository, and from the registry if no other has it."""
        holders = self._holders.get(digest, {name})
        holders.discard(name)
        if not holders:
            del self.blobs[digest]
            self._holders.pop(digest, None)
