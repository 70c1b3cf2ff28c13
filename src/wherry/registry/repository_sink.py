"""A repository of a registry as a sink of images: blobs, documents and tags."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from wherry.content.protocols import Busy, Receipt
from wherry.errors import Denied, NotFound, RegistryError, WherryError
from wherry.model.referrer import referrer_of
from wherry.registry.distribution_api import DistributionApi
from wherry.registry.host_calls import HostCalls
from wherry.registry.referrers_index import ReferrersIndexes
from wherry.registry.uploads import find_saved_session, upload_blob
from wherry.registry.write_api import WriteApi

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.registry.session import Session
    from wherry.registry.upload_location import UploadState
    from wherry.registry.upload_options import UploadOptions

# Tags of one request: registries limit them, and each is a header of the answer.
_BATCH_TAGS = 10


class RepositorySink:
    """One repository, written to at the registry itself; mirrors are left out. Thread-safe.

    Args:
        session: The session of the client.
        reference: The repository; its tag or digest does not matter.
        options: What the uploads share: retries, pauses, kept sessions.
        cancel: Cancels the calls that take no token of their own.
    """

    remote = True
    mounts = True
    ordered = False
    indexes = True
    keeps_referrers = True
    layer_compression = "keep"
    follows = False  # DiffIDs need decompression, and content passes through as it is

    def __init__(
        self,
        session: Session,
        reference: Reference,
        options: UploadOptions,
        cancel: CancelToken,
    ) -> None:
        self.reference = reference
        self._cancel = cancel
        self._hosts = session.hosts
        endpoint = self._hosts.endpoints(reference, warn=options.warn)[-1]
        warnings = session.server_warnings(cancel, options.warn)
        self.api = WriteApi(session, endpoint, warnings)
        self._reader = DistributionApi(session, endpoint, warnings)
        self._options = options
        self._calls = HostCalls(endpoint.host, options)
        self._referrers = ReferrersIndexes(self.api, self._reader, self._calls, options.note)
        self._lock = threading.Lock()
        self._writing: dict[Digest, int] = {}
        self._begun: dict[Digest, UploadState] = {}
        self._documents: dict[Digest, bytes] = {}
        self._takes_tags = True

    @property
    def label(self) -> str:
        """The repository's name."""
        return self.reference.name

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the repository has a blob.

        Raises:
            Unauthorized: The registry wants other credentials.
            Denied: The credentials do not suffice.
            NetworkError: The registry did not answer.
        """
        return self._has(descriptor, self._cancel)

    def _has(self, descriptor: Descriptor, cancel: CancelToken) -> bool:
        return self._calls.run(cancel, lambda: self.api.has_blob(descriptor.digest, cancel))

    def resolve(self, name: str) -> Digest | None:
        """Return the digest of a tag or digest by the word of the registry, or None."""
        cancel = self._cancel
        return self._calls.run(cancel, lambda: self.api.head_manifest(name, cancel))

    def mount(self, descriptor: Descriptor, sources: Sequence[str]) -> str | None:
        """Mount a blob from another repository of the registry.

        Where a registry does not mount, it may start an upload; the next `put` uses that. If an
        earlier process has begun to upload the blob, the registry is not asked to choose: the
        upload goes on.

        Args:
            descriptor: The blob.
            sources: The repositories to try in order; "" lets the registry choose.

        Returns:
            The repository that the blob was mounted from, or None.
        """
        cancel = self._cancel
        for source in sources:
            path = self._path_of(source) if source else ""
            if path is None or (not source and self._find_saved(descriptor)):
                continue
            attempt = partial(self.api.mount, descriptor.digest, path, cancel)
            try:
                begun = self._calls.run(cancel, attempt)
            except (NotFound, RegistryError):
                continue  # a plain upload shows whether the registry takes the blob
            if begun is None:
                self._drop_begun(descriptor.digest, None)
                return source
            self._drop_begun(descriptor.digest, begun)
        return None

    def _path_of(self, repository: str) -> str | None:
        """Return the path that a repository has at the endpoint, None if it is elsewhere.

        registries.conf may replace the host and the first components of a name.
        """
        try:
            found = self._hosts.endpoints(self.reference._replace(path=repository))[-1]
        except Denied:  # it is blocked
            return None
        return found.path if found.host == self.api.endpoint.host else None

    def begin(self, descriptor: Descriptor) -> None:
        """Start an upload, which the next `put` uses without asking whether the blob is there.

        A registry may say that it has a blob that it has lost.
        """
        digest, cancel = descriptor.digest, self._cancel
        begun = self._calls.run(cancel, lambda: self.api.start_upload(digest, cancel))
        self._drop_begun(digest, begun)

    def _drop_begun(self, digest: Digest, following: UploadState | None) -> None:
        """Keep the ``following`` session for `put`, and delete the one kept before."""
        with self._lock:
            former = self._begun.pop(digest, None)
            if following is not None:
                self._begun[digest] = following
        if former is not None:
            self._cancel_upload(former, digest)

    def _cancel_upload(self, begun: UploadState, digest: Digest) -> None:
        try:
            self.api.cancel_upload(begun.location, digest, self._cancel)
        except WherryError:
            self._cancel.check()  # the registry drops it after a while

    def _find_saved(self, descriptor: Descriptor) -> bool:
        """Return whether an earlier process has left a session for a blob."""
        digest, size = descriptor.digest, descriptor.size
        return find_saved_session(self.api, digest, size, self._options) is not None

    def put(
        self,
        blob: Blob,
        *,
        follow: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        """Upload a blob unless the repository has it; idempotent.

        ``follow`` has no effect: see `follows`. A session that `mount` or `begin` started is
        used without asking first whether the blob is there.

        Raises:
            Busy: Another thread uploads the same blob by this sink.
            IntegrityError: The source does not have the digest; nothing is stored.
            RegistryError: The registry refuses the blob.
        """
        del follow
        digest = blob.descriptor.digest
        with self._lock:
            if digest in self._writing:
                raise Busy(self._writing[digest])
            self._writing[digest] = 0
            begun = self._begun.pop(digest, None)

        def report(sent: int) -> None:
            self._writing[digest] = sent
            on_bytes(sent)

        try:
            return self._put(blob, begun, cancel, report)
        finally:
            with self._lock:
                del self._writing[digest]

    def _put(
        self,
        blob: Blob,
        begun: UploadState | None,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        descriptor = blob.descriptor
        if begun is None and self._has(descriptor, cancel):
            if descriptor.size is not None:
                on_bytes(descriptor.size)
            return Receipt(descriptor, existed=True)
        if begun is not None and self._find_saved(descriptor):
            self._cancel_upload(begun, descriptor.digest)
            begun = None
        size = upload_blob(self.api, blob, self._options, cancel, on_bytes, begun)
        return Receipt(descriptor._replace(size=size))

    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Store a document under its digest, after what it names; idempotent.

        See `settle` for documents that refer to others.

        Raises:
            RegistryError: The registry refuses the document, or lacks what it names.
            IntegrityError: The registry has stored other bytes.
        """
        del children  # the registry checks them itself
        found = referrer_of(descriptor, raw)
        subject = None if found is None else found[0]
        receipt = self._calls.run(
            cancel, lambda: self.api.put_manifest(descriptor, raw, cancel, subject=subject)
        )
        with self._lock:
            self._documents[descriptor.digest] = raw
        if found is not None and not receipt.has_subject:
            self._referrers.add(*found)

    def settle(self, cancel: CancelToken) -> None:
        """List the referrers that were stored, where the registry does not do so itself.

        `name` does it first. See `ReferrersIndexes.settle`.
        """
        self._referrers.settle(cancel)

    def name(self, name: str, root: Descriptor) -> None:
        """Set a tag to a document that the repository has; always last."""
        self.set_tags((name,), root)

    def set_tags(self, tags: Sequence[str], root: Descriptor) -> None:
        """Set tags to a document that the repository has.

        Several tags take one request where the registry confirms them by ``OCI-Tag`` (OCI
        distribution spec 1.2), else one for each. Lists of referrers are settled before.
        """
        cancel = self._cancel
        self.settle(cancel)
        raw = self._raw(root)
        for start in range(0, len(tags), _BATCH_TAGS):
            batch = left = tuple(tags[start : start + _BATCH_TAGS])
            if len(left) > 1 and self._takes_tags:
                put = partial(self.api.put_manifest, root, raw, cancel, tags=batch)
                receipt = self._calls.run(cancel, put)
                self._takes_tags = bool(receipt.tags)
                left = tuple(tag for tag in batch if tag not in receipt.tags)
            for tag in left:
                self._calls.run(cancel, partial(self.api.put_manifest, root, raw, cancel, tag=tag))

    def _raw(self, root: Descriptor) -> bytes:
        """Return the bytes of a document: as given, as put, or as the registry has them."""
        if root.data is not None:
            return root.data
        with self._lock:
            known = self._documents.get(root.digest)
        if known is not None:
            return known
        from wherry.model.manifest import parse_verified

        cancel, digest = self._cancel, str(root.digest)
        served = self._calls.run(cancel, lambda: self._reader.get_manifest(digest, cancel))
        parse_verified(root.digest, served.raw, served.media_type)  # raises if it is another one
        return served.raw
