"""Check every document and blob of an image against the descriptors that name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from wherry.content.budget import Budget, BudgetExceeded
from wherry.content.protocols import Receipt
from wherry.content.retry import RetryPolicy
from wherry.errors import Cancelled, InvalidDocument, NotFound, WherryError
from wherry.model import mediatype
from wherry.model.address import Where
from wherry.model.config import parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest
from wherry.model.record import Record
from wherry.ops.blob_check import BlobCheck
from wherry.ops.open_source import open_image
from wherry.ops.platform_check import fits
from wherry.transfer.graph import MAX_NESTING, listed
from wherry.transfer.progress import Emitter
from wherry.transfer.resume import resuming_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened, Source
    from wherry.model.address import Address
    from wherry.model.config import ImageConfig
    from wherry.model.manifest import Document
    from wherry.model.platform import Platform
    from wherry.model.schema1 import Schema1
    from wherry.ops.open_source import Access, SourceImage
    from wherry.transfer.resume import OnRetry


class Finding(NamedTuple):
    """An error or a warning about an image.

    Attributes:
        error: Whether it is an error.
        where: The path of the field, such as ``manifests[0] > layers[1].size``.
        message: The finding.
    """

    error: bool
    where: str
    message: str


class ValidationReport(Record):
    """The findings about an image.

    Attributes:
        root: The digest of the manifest or index.
        findings: The errors and warnings.
        documents: The number of documents that were checked.
        blobs: The number of layers that were checked.
        size: The bytes of all blobs that were read.
    """

    root: Digest
    findings: list[Finding]
    documents: int
    blobs: int
    size: int


def validate_image(address: Address, access: Access, retries: int) -> ValidationReport:
    """Open an image wherever it is and check it; see `validate`."""
    label = address.name if address.where is Where.REGISTRY else str(address)
    on_retry = Emitter(access.listener, label).report_retry
    with open_image(address, access) as image:
        return validate(image, RetryPolicy(attempts=retries), access.cancel, on_retry)


def validate(
    image: SourceImage, policy: RetryPolicy, cancel: CancelToken, on_retry: OnRetry
) -> ValidationReport:
    """Check the documents and blobs of an image.

    Digests, sizes and DiffIDs are compared, and the history with the layers. All platforms of
    an index are checked, each blob once. An error does not end the check. Whatever `pull`
    refuses is an error.

    Raises:
        Cancelled: The check was cancelled.
        BudgetExceeded: The indexes list too many documents.
    """

    def open_blob(blob: Descriptor, is_whole: Callable[[], bool]) -> Opened:
        # Without the size, because the check is to find out where the blob ends.
        sizeless = blob._replace(size=None)
        return resuming_blob(image.source, sizeless, policy, cancel, on_retry).open(0, is_whole)

    findings: list[Finding] = []

    def report(error: bool, where: str, message: str) -> None:  # noqa: FBT001 - as in a finding
        findings.append(Finding(error, where, message))

    blobs = BlobCheck(open_blob, cancel, report)
    run = _Validation(image.source, blobs, report, sparse=image.sparse)
    run.root(image.digest, image.document)
    return ValidationReport(image.digest, findings, run.documents, blobs.layers, blobs.size)


class _DocumentFacts(NamedTuple):
    """The properties of a checked document, for other entries that list it.

    ``height`` is the number of nested indexes, the document included. ``platform`` is the
    platform of the config; None for an index and an artifact. ``offers`` are the platforms that
    an index lists, with None for an entry without a platform. ``is_empty`` tells that there is
    no image below it.
    """

    media_type: str
    size: int
    height: int = 0
    artifact: str = ""
    platform: Platform | None = None
    offers: Sequence[Platform | None] = ()
    is_empty: bool = False


class _Validation:
    def __init__(
        self,
        source: Source,
        blobs: BlobCheck,
        report: Callable[[bool, str, str], None],
        *,
        sparse: bool,
    ) -> None:
        self._sparse = sparse
        self._blobs = blobs
        self._report = report
        self._known: dict[Digest, _DocumentFacts] = {}
        self._fetch = Budget().limit(source.document)
        self._absent = False
        self.documents = 0

    def _error(self, where: str, message: str) -> None:
        self._report(True, where, message)  # noqa: FBT003 - as in a finding

    def _warn(self, where: str, message: str) -> None:
        self._report(False, where, message)  # noqa: FBT003 - as in a finding

    # Documents

    def root(self, digest: Digest, document: Document) -> None:
        known = self._document(digest, document, "", 1)
        if known.artifact:
            self._error("", f"this is {known.artifact}, not an image")
        elif known.is_empty and not self._absent:
            self._error("", "there is no image in it")

    def _document(
        self, digest: Digest, document: Document, where: str, depth: int
    ) -> _DocumentFacts:
        self.documents += 1
        known = _DocumentFacts(document.media_type, len(document.raw))
        self._known[digest] = known
        if isinstance(document, Index | Manifest):
            for problem in document.problems:
                self._report(problem.error, f"{where}{problem.path}", problem.message)
        match document:
            case Index():
                known = self._index(document, known, where, depth)
            case Manifest():
                known = self._manifest(document, known, where)
            case _:
                known = self._schema1(document, known, where)
        self._known[digest] = known
        return known

    def _index(self, index: Index, known: _DocumentFacts, where: str, depth: int) -> _DocumentFacts:
        if depth > MAX_NESTING:
            self._error(where.removesuffix(" > "), _too_deep())
            return known
        height, is_empty = 1, True
        for place, entry in enumerate(index.manifests):
            at = f"{where}manifests[{place}]"
            if not mediatype.may_be_image(entry.media_type):
                self._warn(f"{at}.mediaType", f"{entry.media_type!r} is not a manifest type")
                continue
            child = self._child(entry, at, depth)
            if child is None:
                continue
            height = max(height, 1 + child.height)
            is_empty = is_empty and (child.is_empty or entry.is_attestation)
            self._check_entry(entry, child, at)
            self._check_platform(entry, child, at)
        offers = dict.fromkeys(entry.platform for entry in listed(index))
        return known._replace(height=height, offers=tuple(offers), is_empty=is_empty)

    def _child(self, entry: Descriptor, at: str, depth: int) -> _DocumentFacts | None:
        """Check the document of an entry once; return None if it cannot be read."""
        known = self._known.get(entry.digest)
        if known is not None:
            if depth + known.height > MAX_NESTING:
                self._error(at, _too_deep())
            return known
        try:
            child = self._fetch(entry.digest)
        except (Cancelled, BudgetExceeded):
            raise
        except WherryError as error:
            self._absent = True
            if not (self._sparse and isinstance(error, NotFound)):
                self._error(at, str(error))
            return None
        known = self._document(entry.digest, child, f"{at} > ", depth + 1)
        if known.artifact:
            self._warn(at, f"this is {known.artifact}, not an image")
        return known

    def _check_entry(self, entry: Descriptor, child: _DocumentFacts, at: str) -> None:
        if entry.size != child.size:
            self._error(f"{at}.size", f"is {entry.size:,}, the document has {child.size:,} bytes")
        if entry.media_type.lower() != child.media_type:
            self._error(
                f"{at}.mediaType", f"is {entry.media_type}, the document is {child.media_type}"
            )

    def _check_platform(self, entry: Descriptor, child: _DocumentFacts, at: str) -> None:
        """Compare the platform of an entry with the platform of its image."""
        listed_as = entry.platform
        if entry.is_attestation or not _is_stated(listed_as):
            return
        wanted, stated = listed_as.normalized(), listed_as.specifier
        if child.artifact:
            self._error(f"{at}.platform", f"is {stated}, this is {child.artifact}, not an image")
        elif child.platform is not None and not fits((listed_as,), child.platform, wanted):
            self._error(f"{at}.platform", f"is {stated}, the config says {child.platform}")
        elif child.height and not any(_may_hold(wanted, offer) for offer in child.offers):
            self._error(f"{at}.platform", f"is {stated}, the index has no image for it")

    def _manifest(self, manifest: Manifest, known: _DocumentFacts, where: str) -> _DocumentFacts:
        config = None
        if manifest.artifact is None:
            config = self._config(manifest, where)
        stated = config.diff_ids if config is not None else ()
        algorithms = [diff_id.algorithm for diff_id in stated[: len(manifest.layers)]]
        algorithms += ["sha256"] * (len(manifest.layers) - len(algorithms))
        receipts = [
            self._blobs.layer(layer, f"{where}layers[{place}]", algorithm)
            for place, (layer, algorithm) in enumerate(
                zip(manifest.layers, algorithms, strict=True)
            )
        ]
        self._blobs.image(receipts, f"{where}layers")
        if config is None:
            artifact = manifest.artifact or ""
            return known._replace(artifact=artifact, is_empty=bool(artifact))
        found = [None if receipt is None else receipt.diff_id for receipt in receipts]
        self._compare(config, found, where)
        return known._replace(platform=config.platform)

    def _schema1(self, manifest: Schema1, known: _DocumentFacts, where: str) -> _DocumentFacts:
        from wherry.ops.schema1 import check, convert

        platform = None
        try:
            platform, message = check(manifest, verify=True)
            self._warn(where.removesuffix(" > "), message)
        except WherryError as error:
            self._error(f"{where}signatures", str(error))
        found: list[Receipt | None] = [
            self._blobs.layer(Descriptor("", layer.blob_sum), f"{where}fsLayers[{place}]")
            for place, layer in enumerate(manifest.layers)
            if not layer.throwaway
        ]
        self._blobs.image(found, f"{where}fsLayers")
        receipts = [receipt for receipt in reversed(found) if receipt is not None]
        if len(receipts) == len(found):
            try:
                convert(manifest, receipts)
            except WherryError as error:
                self._error(f"{where}history", str(error))
        return known._replace(platform=platform)

    # Config against layers

    def _config(self, manifest: Manifest, where: str) -> ImageConfig | None:
        at = f"{where}config"
        raw = self._blobs.config(manifest.config, at)
        if raw is None:
            return None
        try:
            config = parse_config(raw)
        except InvalidDocument as error:
            self._error(f"{at} > {error.path}" if error.path else at, str(error))
            return None
        for problem in config.problems:
            self._error(f"{at} > {problem.path}", problem.message)
        return config

    def _compare(self, config: ImageConfig, diff_ids: list[Digest | None], where: str) -> None:
        at = f"{where}config > "
        if len(config.diff_ids) != len(diff_ids):
            count = len(config.diff_ids)
            self._error(f"{at}rootfs.diff_ids", f"has {count} entries for {len(diff_ids)} layers")
        for place, (stated, found) in enumerate(zip(config.diff_ids, diff_ids, strict=False)):
            if found is not None and stated != found:
                message = f"is {stated}, the layer's is {found}"
                self._error(f"{at}rootfs.diff_ids[{place}]", message)
        steps = sum(not entry.empty_layer for entry in config.history)
        if config.history and steps != len(diff_ids):
            self._error(
                f"{at}history", f"has {steps} steps with a layer for {len(diff_ids)} layers"
            )
        for name in ("os", "architecture"):
            if not getattr(config, name):
                self._warn(f"{at}{name}", "is missing")


def _too_deep() -> str:
    return f"indexes are nested deeper than {MAX_NESTING}"


def _may_hold(wanted: Platform, offer: Platform | None) -> bool:
    """Tell whether an index entry may hold an image for a platform."""
    return not _is_stated(offer) or wanted.rank(offer) is not None


def _is_stated(platform: Platform | None) -> TypeGuard[Platform]:
    return platform is not None and bool(platform.os or platform.architecture)
