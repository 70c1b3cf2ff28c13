"""What a client tells of images where they are: nothing is stored, no layer is fetched."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import wherry
from wherry.calls import operation
from wherry.config import host_platform
from wherry.connected import Connected
from wherry.content.events import Event
from wherry.model.platform import Platform

if TYPE_CHECKING:
    from wherry.ops.documents import Wanted

Listener: TypeAlias = Callable[[Event], None] | None


class Reading(Connected):
    """The calls that read documents.

    ``address`` is a name in a registry, or begins with ``store:``, ``oci:``, ``oci-archive:``,
    ``docker-archive:`` or ``dir:``. Without ``platform`` an index stands for this machine's
    system and architecture. What was fetched once is kept, so that asking again costs no more
    than a look whether a tag has moved. All raise `InvalidReference`, `NotFound`,
    `PlatformMismatch`, `Unauthorized`, `Denied`, `RateLimited`, `RegistryError`,
    `NetworkError`, `IntegrityError`, `InvalidDocument`, `Unsupported`, `UnsafeArchive`,
    `StoreError` and `Cancelled`.
    """

    @operation
    def inspect(
        self,
        address: str,
        *,
        platform: str | Platform | None = None,
        tags: bool = False,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> wherry.Inspection:
        """Return what is known of an image by its manifest and config.

        ``tags`` lists the repository's tags as well, at the same time. A name with neither
        tag nor digest is ``latest``, and where there is none, the first tag.
        """
        from wherry.model.address import Address
        from wherry.ops.inspect import inspect

        access = self._access(store, on_event, cancel)
        return inspect(Address.parse(address), access, self._wanted(platform), tags=tags)

    @operation
    def platforms(
        self,
        address: str,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> tuple[wherry.Digest, list[wherry.types.PlatformImage]]:
        """Return the digest of an index and the images that it lists, with their sizes."""
        from wherry.model.address import Address
        from wherry.ops.platforms import platforms

        access = self._access(store, on_event, cancel)
        return platforms(Address.parse(address), access, self._transfers.jobs)

    @operation
    def tags(
        self,
        name: str,
        *,
        matching: str = "",
        order: wherry.types.Order = "registry",
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> list[str]:
        """List the tags of a repository.

        ``name`` has neither tag nor digest; with one, `InvalidReference` is raised.
        ``matching`` is a regular expression, or a range of versions: ``>=1.2 <2``,
        ``semver:^1.2``. ``order`` is the registry's, by ``name``, or by ``version``, the
        newest last.
        """
        from wherry.model.reference import Reference
        from wherry.ops.open_source import open_repository
        from wherry.ops.tags import matcher, select_tags

        matcher(matching)  # what cannot be read is told before the registry is asked
        access = self._access(None, on_event, cancel)
        reference = Reference.parse_name(name.removeprefix("docker://"))
        return select_tags(open_repository(reference, access).tags(), matching, order)

    @operation
    def digest(
        self,
        address: str,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> wherry.Digest:
        """Return the digest that a name stands for, or with ``platform`` its image's."""
        from wherry.model.address import Address
        from wherry.ops.documents import digest

        access = self._access(store, on_event, cancel)
        return digest(Address.parse(address), access, self._wanted(platform))

    @operation
    def manifest(
        self,
        address: str,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> wherry.types.Document:
        """Return the manifest or index that a name stands for; ``raw`` is it as served.

        With ``platform`` it is the manifest of the image for it.
        """
        from wherry.model.address import Address
        from wherry.ops.documents import document

        access = self._access(store, on_event, cancel)
        return document(Address.parse(address), access, self._wanted(platform))[1]

    @operation
    def config(
        self,
        address: str,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> wherry.types.ImageConfig:
        """Return an image's config; ``raw`` is it as served.

        A schema1 image has none: it is made, without the DiffIDs, which take the layers.
        """
        from wherry.model.address import Address
        from wherry.ops.documents import config

        access = self._access(store, on_event, cancel)
        return config(Address.parse(address), access, self._wanted(platform))

    @operation
    def raw_config(
        self,
        address: str,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> bytes:
        """Return the bytes of a config as served, whatever they are: an artifact's too.

        A schema1 image has none: it is made, as `config` makes it.
        """
        from wherry.model.address import Address
        from wherry.ops.documents import raw_config

        access = self._access(store, on_event, cancel)
        return raw_config(Address.parse(address), access, self._wanted(platform))

    @operation
    def history(
        self,
        address: str,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> list[wherry.types.Step]:
        """Return the steps that made an image, the last one first, with their layers.

        A bare name means the store, and where it has no such image, the registry.
        """
        from wherry.model.address import Address, Where
        from wherry.ops.documents import steps

        access = self._access(store, on_event, cancel)
        return steps(Address.parse(address, bare=Where.ANY), access, self._wanted(platform))

    @operation
    def referrers(
        self,
        address: str,
        *,
        artifact_type: str = "",
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> list[wherry.types.Descriptor]:
        """Return what refers to an image, of one type or of any: signatures, SBOMs."""
        from wherry.model.address import Address
        from wherry.ops.referrers import referrers

        access = self._access(store, on_event, cancel)
        return referrers(Address.parse(address), access, self._wanted(platform), artifact_type)

    @operation
    def blob(
        self,
        address: str,
        digest: str | wherry.Digest = "",
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: wherry.CancelToken | None = None,
    ) -> io.BufferedReader:
        """Open a blob by its digest, which may stand in the address: ``name@sha256:…``.

        It is verified as it is read: the read that reaches the end raises `IntegrityError` if
        the content is not what the digest says. Close it.
        """
        import io

        from wherry.model.address import Address
        from wherry.ops.blob import open_blob

        access = self._access(store, on_event, cancel)

        def meant() -> wherry.Store:
            return self._meant(store)

        raw = open_blob(Address.parse(address), str(digest), access, meant)
        return io.BufferedReader(raw, 256 * 1024)

    def _wanted(self, platform: str | Platform | None) -> Wanted:
        """Return the platform that was asked for; variants of amd64 are not, where none was."""
        from wherry.ops.documents import Wanted

        host, platform = host_platform(), self._asked_for(platform)
        default = Platform(host.os, host.architecture) if host.architecture == "amd64" else host
        if isinstance(platform, str):
            return Wanted(Platform.parse(platform, default), default)
        return Wanted(platform, default)
