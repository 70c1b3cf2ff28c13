"""Calls of a client that read images, lists of them, and single blobs."""

from __future__ import annotations

import io

import wherry
from wherry._context import public_call
from wherry._values import as_address, as_repository
from wherry.client_calls.base import ClientCalls, Listener
from wherry.content.cancel import CancelToken
from wherry.model.address import Address, Where
from wherry.model.platform import Platform
from wherry.model.reference import Reference


class ReadCalls(ClientCalls):
    """Read images, lists and single blobs.

    These calls store nothing. Only `blob` and `validate` fetch layers.
    """

    @public_call
    def inspect(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        tags: bool = False,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.Inspection:
        """Return what the manifest and the config of an image say.

        Args:
            address: An image. If a repository has no ``latest``, its name means its first tag.
            tags: List the tags of the repository too, at the same time.
        """
        from wherry.ops.inspect import inspect

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return inspect(as_address(address), access, wanted, tags=tags)

    @public_call
    def platforms(
        self,
        address: str | Address,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> tuple[wherry.Digest, list[wherry.types.PlatformImage]]:
        """Return the digest of an index, and the images that it lists with their sizes."""
        from wherry.ops.platforms import list_platforms

        access = self._context.access(store, on_event, cancel)
        return list_platforms(as_address(address), access, self._context.settings.jobs)

    @public_call
    def tags(
        self,
        name: str | Reference,
        *,
        matching: str | None = None,
        order: wherry.types.Order = "registry",
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[str]:
        """List the tags of a repository.

        Args:
            name: A repository, with neither tag nor digest.
            matching: A regular expression, or a range of versions such as ``>=1.2 <2`` and
                ``semver:^1.2``.
            order: The registry's own, by ``name``, or by ``version`` with the newest last.
        """
        from wherry.ops.tags import list_tags

        access = self._context.access(None, on_event, cancel)
        repository = as_repository(name)
        return list_tags(repository, access, matching or "", order)

    @public_call
    def catalog(
        self, registry: str, *, on_event: Listener = None, cancel: CancelToken | None = None
    ) -> list[str]:
        """List the repositories of a registry, without its host.

        Many registries do not have such a list, or show it only to administrators.

        Args:
            registry: ``HOST[:PORT]``.
        """
        from wherry.ops.catalog import list_catalog

        return list_catalog(registry, self._context.access(None, on_event, cancel))

    @public_call
    def digest(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.Digest:
        """Return the digest of an index or manifest, or of the image for ``platform``."""
        from wherry.ops.documents import get_digest

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_digest(as_address(address), access, wanted)

    @public_call
    def manifest(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.Document:
        """Return a manifest or index; ``raw`` has its bytes.

        With ``platform`` it is the manifest of the image for that platform.
        """
        from wherry.ops.documents import get_document

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_document(as_address(address), access, wanted)[1]

    @public_call
    def config(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.ImageConfig:
        """Return the config of an image; ``raw`` has its bytes.

        A schema1 image has no config. wherry makes one without DiffIDs, which would take the
        layers.
        """
        from wherry.ops.documents import get_config

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_config(as_address(address), access, wanted)

    @public_call
    def raw_config(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> bytes:
        """Return the bytes of the config of an image or an artifact, as served.

        For a schema1 image, wherry makes a config as `config` does.
        """
        from wherry.ops.documents import get_raw_config

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_raw_config(as_address(address), access, wanted)

    @public_call
    def history(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        v1: bool = False,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.types.HistoryStep]:
        """Return the steps that made an image, the last one first, with their layers.

        The store is searched for a name without a place, then the registry.

        Args:
            address: The image.
            v1: Give the steps of a schema1 manifest the ids of version 1 in it and those of
                engine 1.9, and other steps the ids that `save` writes.
        """
        from wherry.ops.image_history import get_history

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_history(as_address(address, Where.ANY), access, wanted, v1=v1)

    @public_call
    def referrers(
        self,
        address: str | Address,
        *,
        artifact_type: str | None = None,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.types.Descriptor]:
        """Return the referrers of an image: signatures, SBOMs and others.

        Args:
            address: The image.
            artifact_type: The media type of the referrers; all of them by default.
        """
        from wherry.ops.referrers import list_referrers

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return list_referrers(as_address(address), access, wanted, artifact_type or "")

    @public_call
    def blob(
        self,
        address: str | Address,
        digest: str | wherry.Digest | None = None,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> io.BufferedReader:
        """Open a blob; close it after use.

        The blob is verified while it is read. The read that reaches the end raises
        `IntegrityError` if the content does not match the digest.

        Args:
            address: Where the blob is. It may hold the digest: ``name@sha256:…``.
            digest: The digest of the blob.
        """
        from wherry.image_store import local_store
        from wherry.ops.blob import open_blob

        context = self._context
        access = context.access(store, on_event, cancel)
        raw = open_blob(
            as_address(address),
            "" if digest is None else str(digest),
            access,
            lambda: local_store(context.store_for(store)),
        )
        return io.BufferedReader(raw, 256 * 1024)

    @public_call
    def validate(
        self,
        address: str | Address,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.ValidationReport:
        """Check a whole image where it is; nothing is stored.

        Checks documents, digests, sizes, DiffIDs, the history against the layers, and all
        platforms of an index.

        Returns:
            All findings. An image that cannot be found or read raises an error instead.
        """
        from wherry.ops.validate import validate_image

        access = self._context.access(store, on_event, cancel)
        return validate_image(as_address(address), access, self._context.settings.retries)
