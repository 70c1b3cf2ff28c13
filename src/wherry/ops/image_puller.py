"""Put images of a source into the store, unless they are there already."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from wherry.content.read_blob import DAMAGED, read_blob
from wherry.errors import Cancelled, IntegrityError, NotFound, Unsupported, WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Manifest
from wherry.model.platform import HOST_SYSTEM
from wherry.model.record import Record
from wherry.ops.platform_check import find_mismatch, read_stated_platform
from wherry.transfer.collect import node_of
from wherry.transfer.copy_options import CONFIG_FAILED, CopyOptions
from wherry.transfer.graph import check_layers, config_problems, problems
from wherry.transfer.plan import plan
from wherry.transfer.plan_request import CopyRequest
from wherry.transfer.progress import LayerProgress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Source
    from wherry.errors import PlatformMismatch
    from wherry.model.config import ImageConfig
    from wherry.model.platform import Platform
    from wherry.model.schema1 import Schema1
    from wherry.ops.store_sink import StoredImage, StoreSink
    from wherry.store import LocalStore
    from wherry.transfer.graph import Selection
    from wherry.transfer.progress import Emitter


class TargetPlatform(Record):
    """The platform that an image has to be for; ``strict`` if the caller named it."""

    platform: Platform
    strict: bool = False


class Schema1Refused(Unsupported):
    """The image has docker's schema1 format, and the caller or hosts.toml refuses it."""


class ImagePuller:
    """Put images of one source into the store, under one lease.

    ``schema1`` accepts that format (``allow``) or refuses it (``deny``); if it is None, the
    settings of the source decide.
    """

    def __init__(
        self,
        store: LocalStore,
        sink: StoreSink,
        source: Source,
        emitter: Emitter,
        options: CopyOptions,
        cancel: CancelToken,
        *,
        verify_signatures: bool,
        schema1: str | None,
    ) -> None:
        self._store = store
        self._sink = sink
        self._source = source
        self._emitter = emitter
        self._options = options
        self._cancel = cancel
        self._verify_signatures = verify_signatures
        self._schema1 = schema1
        self._warned: set[str] = set()
        self._configs: dict[Digest, bytes] = {}

    def refusal(self, wanted: TargetPlatform, chosen: Selection) -> PlatformMismatch | None:
        """Return the error for an image for another platform, or None.

        The config is read before the layers, so a refused image leaves nothing in the store.
        """
        raw = b"" if chosen.config is None else self._config_ahead(chosen.config)
        error = find_mismatch(chosen, read_stated_platform(chosen, raw), wanted.platform)
        if error is not None and chosen.config is not None:
            self._configs.pop(chosen.config.digest, None)
        return error

    def _config_ahead(self, descriptor: Descriptor) -> bytes:
        """Read a config from the store or source, and keep it for the copy that follows."""
        with contextlib.suppress(NotFound, IntegrityError):
            return self._configs.get(descriptor.digest) or self._store.read(descriptor.digest)
        try:
            raw = read_blob(self._source, descriptor)
        except Cancelled:
            raise
        except WherryError as error:
            raise error.within(CONFIG_FAILED) from error.__cause__
        self._configs[descriptor.digest] = raw
        return raw

    def obtain(self, selection: Selection, wanted: TargetPlatform | None) -> StoredImage:
        """Return an image of the store, fetched if need be; the lease holds all of it.

        Without ``wanted`` the image may be for any platform. A ``strict`` platform is checked
        before layers are fetched.
        """
        check_layers(selection)
        self._warn_once(problems(selection))
        if wanted is not None and wanted.strict:
            error = self.refusal(wanted, selection)
            if error is not None:
                raise error
        if not isinstance(selection.manifest, Manifest):
            self._check_schema1(selection, selection.manifest, wanted)
        try:
            return self._copy(selection, wanted)
        except IntegrityError as error:
            if self._source.remote or self._source.verified:
                raise
            if error.altered:
                error.hint = f"nothing of it was stored; {DAMAGED}"
            raise error.within(self._source.label) from error.__cause__

    def _warn_once(self, messages: Iterable[str]) -> None:
        """Warn of each fault once, even if several images share an index."""
        for message in messages:
            if message not in self._warned:
                self._warned.add(message)
                self._emitter.warn(message)

    def _check_schema1(
        self, chosen: Selection, manifest: Schema1, wanted: TargetPlatform | None
    ) -> None:
        from wherry.ops.schema1 import check

        self._check_schema1_accepted()
        top, message = check(manifest, verify=self._verify_signatures)
        self._emitter.warn(message)
        self._check_platform(chosen, top, wanted)

    def _check_schema1_accepted(self) -> None:
        """Raise `Schema1Refused` if the caller, or else the source's settings, say so."""
        if self._source.verified:
            return  # the format was accepted when the image was pulled
        if (self._schema1 or self._source.schema1) == "deny":
            raise Schema1Refused(
                "the image has docker's deprecated schema1 format, which is refused"
                + ("" if self._schema1 else " (hosts.toml)"),
                hint="`--schema1 allow` accepts it; a current engine pushes it in a newer format",
            )

    def present(self, selection: Selection, wanted: TargetPlatform | None) -> StoredImage | None:
        """Return the image if it is complete in the store; the lease holds all of it."""
        if not self._sink.has_image(node_of(selection.digest, selection.manifest).descriptor):
            return None
        return self._stored(selection, wanted)

    def _stored(self, selection: Selection, wanted: TargetPlatform | None) -> StoredImage:
        image = self._sink.image(selection.digest)
        self._check_platform(selection, image.platform, wanted)
        return image

    def _copy(self, selection: Selection, wanted: TargetPlatform | None) -> StoredImage:
        """Copy the config, the layers and the manifest, unless the store has the image."""
        request = CopyRequest(
            self._source.label, self._sink.label, names=(), jobs=self._options.jobs
        )
        made = plan(
            request,
            selection.digest,
            lambda: self._with_config(selection.manifest),
            self._source,
            self._sink,
            self._cancel,
        )
        if made.is_current:
            return self._stored(selection, wanted)
        from wherry.transfer.blob_steps import Ends
        from wherry.transfer.execute import execute

        options = self._options
        if not isinstance(selection.manifest, Manifest):  # the config is made from the DiffIDs
            options = options.replace(verify_layers=True)
        check = functools.partial(self._check_config, selection, wanted)
        ends = Ends(self._source, self._sink, check_config=check)
        execute(made, ends, options, LayerProgress(self._emitter), self._cancel)
        return self._sink.image(selection.digest)

    def _with_config(self, manifest: Manifest | Schema1) -> Manifest | Schema1:
        """Return a manifest with the content of its config, if that has been read."""
        if not isinstance(manifest, Manifest):
            return manifest
        ahead = self._configs.pop(manifest.config.digest, None)
        if ahead is None:
            return manifest
        return manifest.replace(config=manifest.config._replace(data=ahead))

    def _check_config(
        self, selection: Selection, wanted: TargetPlatform | None, config: ImageConfig
    ) -> None:
        self._warn_once(config_problems(config.id, config.problems))
        self._check_platform(selection, config.platform, wanted)

    def _check_platform(
        self, chosen: Selection, platform: Platform, wanted: TargetPlatform | None
    ) -> None:
        """Refuse an image for another OS, and for another architecture if one was named."""
        error = None if wanted is None else find_mismatch(chosen, platform, wanted.platform)
        if wanted is None or error is None:
            return
        system = platform.normalized().os or HOST_SYSTEM
        if system != wanted.platform.os or wanted.strict:
            raise error
        self._emitter.warn(error.message)

    def add_indexes(self, selection: Selection) -> None:
        """Store the indexes above an image, children before parents."""
        chosen = selection.digest
        for digest, index in reversed(selection.indexes):
            rest = [entry.digest for entry in index.manifests if entry.digest != chosen]
            edges = [*((child, False) for child in rest), (chosen, True)]
            root = Descriptor(index.media_type, digest, len(index.raw))
            self._sink.put_document(root, index.raw, edges, self._cancel)
            chosen = digest
