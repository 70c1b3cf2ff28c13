"""Put images of a source into the store, unless they are there already."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.content.read_blob import DAMAGED, read_blob
from wherry.content.verify import VerifiedLayer
from wherry.errors import Cancelled, IntegrityError, NotFound, Unsupported, WherryError
from wherry.model.config import parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Manifest, digest_of
from wherry.model.platform import HOST_SYSTEM
from wherry.model.record import Record
from wherry.ops.platform_check import find_mismatch, read_stated_platform
from wherry.store.images import ImageRecord
from wherry.transfer.copy import CONFIG_FAILED, ImageCopy
from wherry.transfer.copy_options import CopyOptions
from wherry.transfer.graph import check_layers, config_problems, problems
from wherry.transfer.progress import LayerProgress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Receipt, Source
    from wherry.errors import PlatformMismatch
    from wherry.model.config import ImageConfig
    from wherry.model.platform import Platform
    from wherry.model.schema1 import Schema1
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest
    from wherry.transfer.graph import Selection
    from wherry.transfer.progress import Emitter


class TargetPlatform(Record):
    """The platform that an image has to be for; ``strict`` if the caller named it."""

    platform: Platform
    strict: bool = False


class PulledImage(Record):
    """A complete image in the store, and its manifest, which may be converted."""

    record: ImageRecord
    platform: Platform
    manifest: bytes
    media_type: str
    blobs: list[Digest]


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
        ingest: Ingest,
        source: Source,
        emitter: Emitter,
        options: CopyOptions,
        cancel: CancelToken,
        *,
        verify_signatures: bool,
        schema1: str | None,
    ) -> None:
        self._store = store
        self._ingest = ingest
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

    def obtain(self, selection: Selection, wanted: TargetPlatform | None) -> PulledImage:
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
        image = self.present(selection, wanted)
        if image is not None:
            return image
        try:
            return self._fetch(selection, wanted)
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

    def present(self, selection: Selection, wanted: TargetPlatform | None) -> PulledImage | None:
        """Return the image if it is complete in the store; the lease holds all of it."""
        manifest: Digest | None = selection.digest
        if not isinstance(selection.manifest, Manifest):
            manifest = self._store.converted_manifest(selection.digest)
        record = self._store.image(manifest) if manifest else None
        if record is None:
            return None
        blobs = [record.id, *(layer.digest for layer in selection.layers)]
        if not self._ingest.hold({*blobs, record.manifest}).issuperset({*blobs, record.manifest}):
            return None
        if self._store.image(record.manifest) is None:
            return None  # it was collected before the lease held it
        if self._options.verify_layers and not self._ingest.all_followed(blobs[1:]):
            return None  # it was pulled without verification
        try:
            platform = parse_config(self._store.read(record.id)).platform
            document = self._store.document(record.manifest)
        except IntegrityError as error:
            self._remove(error)
            return None
        self._check_platform(selection, platform, wanted)
        return PulledImage(record, platform, document.raw, document.media_type, blobs)

    def _remove(self, damaged: IntegrityError) -> None:
        """Remove a damaged file of the store, so that it is fetched again."""
        if self._source.verified:
            raise damaged  # a store cannot replace its own files
        self._ingest.remove_damaged(Digest.parse(damaged.expected))

    def _fetch(self, selection: Selection, wanted: TargetPlatform | None) -> PulledImage:
        if isinstance(selection.manifest, Manifest):
            config, receipts = self._copy(selection, self._options, wanted)
            assert config is not None  # noqa: S101 - a `Manifest` has a config
            self._check_odd_diff_ids(config, receipts)
            return stored_image(selection.manifest, selection.digest, config, receipts)
        from wherry.ops.schema1 import convert

        # The config is made from the DiffIDs, so they have to be computed.
        _, receipts = self._copy(selection, self._options.replace(verify_layers=True), wanted)
        manifest, config = convert(selection.manifest, receipts)
        self._ingest.put_bytes(manifest.config, config.raw, self._cancel)
        return stored_image(manifest, digest_of(manifest), config, receipts)

    def _copy(
        self, selection: Selection, options: CopyOptions, wanted: TargetPlatform | None
    ) -> tuple[ImageConfig | None, list[Receipt]]:
        if selection.config is not None and self._store.holds(selection.config.digest):
            try:  # another image may have the same config
                self._store.read(selection.config.digest)
            except NotFound:  # it was collected meanwhile
                pass
            except IntegrityError as error:
                self._remove(error)
        config = selection.config
        if config is not None and (ahead := self._configs.pop(config.digest, None)) is not None:
            config = config._replace(data=ahead)
        copy = ImageCopy(
            config,
            selection.layers,
            self._source,
            self._ingest,
            self._store.read,
            options,
            LayerProgress(self._emitter),
        )

        def check(config: ImageConfig) -> None:
            self._warn_once(config_problems(config.id, config.problems))
            self._check_platform(selection, config.platform, wanted)

        return copy.run(check, self._cancel)

    def _check_odd_diff_ids(self, config: ImageConfig, receipts: list[Receipt]) -> None:
        """Compare DiffIDs that are not sha256; the transfer computes only sha256."""
        for diff_id, receipt in zip(config.diff_ids, receipts, strict=True):
            if self._options.verify_layers and diff_id.algorithm != "sha256":
                digest = receipt.descriptor.digest
                with VerifiedLayer(self._store.open(digest), diff_id, digest) as layer:
                    layer.drain()

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

    def add_documents(self, selection: Selection, image: PulledImage) -> None:
        """Store the documents of an image, children before parents."""
        record = image.record
        self._add(image.manifest, image.media_type, record.manifest, image.blobs)
        if not isinstance(selection.manifest, Manifest):
            found = selection.manifest
            self._add(found.raw, found.media_type, selection.digest, [record.manifest])
        chosen = selection.digest
        for digest, index in reversed(selection.indexes):
            rest = [entry.digest for entry in index.manifests if entry.digest != chosen]
            self._add(index.raw, index.media_type, digest, [chosen], rest)
            chosen = digest

    def _add(
        self,
        raw: bytes,
        media_type: str,
        known_as: Digest,
        wanted: list[Digest],
        unwanted: Sequence[Digest] = (),
    ) -> None:
        edges = [(child, False) for child in unwanted] + [(child, True) for child in wanted]
        own = known_as if known_as.matches(raw) else Digest.of(raw, known_as.algorithm)
        descriptor = Descriptor(media_type, own, len(raw))
        self._ingest.put_document(descriptor, raw, edges, self._cancel, known_as)


def stored_image(
    manifest: Manifest, digest: Digest, config: ImageConfig, receipts: Sequence[Receipt]
) -> PulledImage:
    """Return an image that is complete in the store; ``digest`` is that of its manifest."""
    sizes = {receipt.descriptor.digest: receipt.descriptor.size or 0 for receipt in receipts}
    record = ImageRecord(
        manifest=digest,
        id=manifest.config.digest,
        platform=str(config.platform.normalized()),
        created=config.created,
        size=sum(sizes.values()) + len(config.raw),
    )
    blobs = [record.id, *sizes]
    return PulledImage(record, config.platform, manifest.raw, manifest.media_type, blobs)
