"""The manifests and tags of one repository, to be resolved, replaced and deleted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from wherry.content.streams import blob_of
from wherry.errors import NotFound, RegistryError
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import digest_of, parse, parse_verified
from wherry.model.record import Record
from wherry.registry.failover import EndpointGroup
from wherry.registry.repository_sink import RepositorySink
from wherry.registry.tag_list import list_tags
from wherry.registry.upload_options import UploadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.errors import WherryError
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.registry.session import Session


class NamedManifest(Record):
    """What a tag or digest stands for; ``media_type`` is "" if it is unknown."""

    digest: Digest
    media_type: str


class RepositoryEditor:
    """A repository at the registry itself; mirrors are left out. Thread-safe.

    All methods retry as the session's policy says. Nothing comes from a cache.
    """

    def __init__(
        self,
        session: Session,
        reference: Reference,
        cancel: CancelToken,
        *,
        warn: Callable[[str], None],
        on_retry: Callable[[float, WherryError], None],
    ) -> None:
        endpoint = session.hosts.endpoints(reference, warn=warn)[-1]
        self.reference = reference
        self._cancel = cancel
        self._endpoints = EndpointGroup(session, (endpoint,), cancel, warn=warn, on_retry=on_retry)
        options = UploadOptions(session.policy, session.upload_pauses, warn=warn, on_retry=on_retry)
        self._sink = RepositorySink(session, reference, options, cancel)
        self._writer = self._sink.api

    def _write(self, call: Callable[[], object]) -> object:
        return self._endpoints.ask_each(lambda _: call())

    def resolve(self, tag_or_digest: str) -> NamedManifest | None:
        """Return what a tag or digest stands for, or None; a GET if a HEAD does not tell.

        Raises:
            Unauthorized: The registry wants other credentials.
            Denied: The credentials do not suffice.
        """
        cancel = self._cancel
        try:
            head = self._endpoints.ask_each(lambda api: api.stat_manifest(tag_or_digest, cancel))
            if head.digest is not None:
                return NamedManifest(head.digest, head.media_type)
            served = self._endpoints.ask_each(lambda api: api.get_manifest(tag_or_digest, cancel))
        except NotFound:
            return None
        document = parse(served.raw, served.media_type)
        return NamedManifest(digest_of(document), served.media_type)

    def tags(self) -> Iterator[str]:
        """Yield all tags, page by page."""
        return list_tags(self._endpoints, self.reference.name, self._cancel)

    def read(self, digest: Digest) -> tuple[bytes, str]:
        """Return the verified bytes of a manifest, and its media type."""
        cancel = self._cancel
        served = self._endpoints.ask_each(lambda api: api.get_manifest(str(digest), cancel))
        if not digest.matches(served.raw):  # it is signed schema1, or this raises
            parse_verified(digest, served.raw, served.media_type)
        return served.raw, served.media_type

    def upload(self, descriptor: Descriptor, raw: bytes) -> None:
        """Upload a small blob, unless the repository has it."""
        blob = blob_of(descriptor, raw)
        self._sink.put(blob, cancel=self._cancel, on_bytes=lambda _: None)

    def set_tag(self, tag: str, descriptor: Descriptor, raw: bytes) -> None:
        """Store a manifest under a tag."""
        self._write(partial(self._writer.put_manifest, descriptor, raw, self._cancel, tag=tag))

    def delete(self, digest: Digest) -> None:
        """Delete a manifest, with all its tags.

        Raises:
            NotFound: The repository does not have it.
            RegistryError: The registry does not delete it.
        """
        try:
            self._write(partial(self._writer.delete_manifest, digest, self._cancel))
        except NotFound as error:
            if self.resolve(str(digest)) is not None:
                raise _undeletable(error) from error
            if error.attempts == 1:
                raise
            # An earlier attempt has deleted it, and its response was lost.

    def delete_tag(self, tag: str) -> bool:
        """Delete a tag alone; return False if the registry has not accepted that.

        Raises:
            Unauthorized: The registry wants other credentials.
            Denied: The credentials do not suffice.
        """
        try:
            return self._write(partial(self._writer.delete_tag, tag, self._cancel)) is True
        except NotFound:
            return False
        except RegistryError as error:
            if error.transient:
                raise
            return False


def _undeletable(error: NotFound) -> RegistryError:
    """Return the error for a registry that says "not found" of what it has."""
    return RegistryError(
        f"the registry has it, but does not delete it: {error.message}",
        status=404,
        method="DELETE",
        url="",
        codes=error.codes,
    ).within(*error.where)
