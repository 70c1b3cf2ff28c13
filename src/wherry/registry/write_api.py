"""The endpoints of the distribution protocol that write: one method for each."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from wherry.errors import Denied, IntegrityError, NotFound, Unauthorized
from wherry.model import mediatype
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.registry.http.connect_errors import PrivateHost
from wherry.registry.requester import Call
from wherry.registry.stored_digest import check_stored_digest, confirms_subject, named_digest
from wherry.registry.upload_location import (
    UploadLocation,
    UploadState,
    private_upload_error,
    read_upload_state,
)
from wherry.registry.write_answers import (
    check_start,
    check_success,
    error_of,
    is_confirmed,
    not_stored,
)

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.errors import Places
    from wherry.model.descriptor import Descriptor
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.request_body import StreamBody
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.server_warnings import ServerWarnings
    from wherry.registry.session import Session

_OK, _CREATED, _ACCEPTED = 200, 201, 202
_ABSENT = {401, 404, 405, 501}  # answers to HEAD; 401: see `Session.send`
_SCHEMA1_HINT = (
    "many registries take no schema1; Distribution 2.8 takes it with "
    "REGISTRY_COMPATIBILITY_SCHEMA1_ENABLED=true"
)
_PUSH, _DELETE = "pull,push", "pull,push,delete"
_OCTETS = {"Content-Type": "application/octet-stream"}


class ManifestReceipt(Record):
    """What a registry says about a manifest that it has stored.

    Attributes:
        tags: The tags that ``OCI-Tag`` confirms (OCI distribution spec 1.2).
        has_subject: Whether ``OCI-Subject`` confirms that referrers are listed by the API.
    """

    tags: tuple[str, ...] = ()
    has_subject: bool = False


class WriteApi:
    """One repository of one registry. Each call is one attempt; nothing is retried."""

    def __init__(
        self, session: Session, endpoint: Endpoint, warnings: ServerWarnings | None = None
    ) -> None:
        self._session = session
        self._warnings = warnings
        self.endpoint = endpoint
        self._name = f"{endpoint.name}/{endpoint.path}"

    # Blobs

    def has_blob(self, digest: Digest, cancel: CancelToken) -> bool:
        """Return whether the repository has a blob."""
        response = self._send("HEAD", f"blobs/{digest}", cancel, is_verified=True)
        response.drain()
        if response.status in _ABSENT:
            return False
        if response.status != _OK:
            raise error_of(response, self._blob(digest), self.endpoint.name)
        return True

    def mount(self, digest: Digest, source: str, cancel: CancelToken) -> UploadState | None:
        """Mount a blob from another repository of the registry.

        Args:
            digest: The blob.
            source: The repository that has it, or "" to leave the choice to the registry.
            cancel: Cancels the call.

        Returns:
            None if the blob is mounted, or an upload session, which the caller has to use.

        Raises:
            NotFound: The registry refuses the mount; a plain upload may succeed. This also
                stands for 401 and 403, which may concern the other repository only.
        """
        query = {"mount": str(digest)} | ({"from": source} if source else {})
        path = f"blobs/uploads/?{urlencode(query, safe=':/')}"
        more = (f"repository:{source}:pull",) if source else ()
        try:
            return self._start(path, digest, cancel, more)
        except (Unauthorized, Denied) as error:
            raise NotFound(error.message).within(*error.where) from error

    def start_upload(self, digest: Digest, cancel: CancelToken) -> UploadState:
        """Start an upload session."""
        state = self._start("blobs/uploads/", digest, cancel, ())
        if state is None:
            raise IntegrityError(
                "the registry says that it has stored a blob of which nothing was sent",
                expected="202",
                actual="201",
            ).within(*self._blob(digest))
        return state

    def _start(
        self, path: str, digest: Digest, cancel: CancelToken, more_scopes: tuple[str, ...]
    ) -> UploadState | None:
        response = self._send("POST", path, cancel, more_scopes=more_scopes)
        check_start(response, self._blob(digest), self.endpoint.name)
        if response.status == _CREATED:
            check_stored_digest(response, digest, self._blob(digest))
            return None
        return read_upload_state(response, self.endpoint)

    def send(
        self,
        location: UploadLocation,
        digest: Digest,
        body: StreamBody,
        cancel: CancelToken,
        *,
        start: int | None = None,
    ) -> UploadState:
        """Send a part of a blob, or all of it, to an upload session.

        Args:
            location: The session.
            digest: The blob.
            body: What to send.
            cancel: Cancels the call.
            start: The offset of a chunk, whose length is known; None streams without
                ``Content-Range``.
        """
        headers = dict(_OCTETS)
        if start is not None and body.length is not None:
            headers["Content-Range"] = f"{start}-{start + body.length - 1}"
        response = self._send_to(location, "PATCH", cancel, headers=headers, stream=body)
        self._check(response, self._blob(digest))
        return read_upload_state(response, self.endpoint, location)

    def finish(
        self,
        location: UploadLocation,
        digest: Digest,
        cancel: CancelToken,
        body: StreamBody | None = None,
    ) -> None:
        """Finish an upload, with the whole blob or with what is missing of it as ``body``."""
        response = self._send_to(
            location.with_digest(digest), "PUT", cancel, headers=_OCTETS, stream=body
        )
        where = self._blob(digest)
        is_stored = is_confirmed(response, digest, "the upload", where, self.endpoint.name)
        if not is_stored and not self.has_blob(digest, cancel):
            raise not_stored(response, where)

    def get_upload_status(
        self, location: UploadLocation, digest: Digest, cancel: CancelToken
    ) -> UploadState:
        """Ask how much of an upload has arrived; only the new location goes on from there."""
        response = self._send_to(location, "GET", cancel)
        self._check(response, self._blob(digest))
        return read_upload_state(response, self.endpoint, location)

    def cancel_upload(self, location: UploadLocation, digest: Digest, cancel: CancelToken) -> None:
        """Delete an upload session."""
        self._check(self._send_to(location, "DELETE", cancel), self._blob(digest))

    # Manifests

    def put_manifest(
        self,
        descriptor: Descriptor,
        raw: bytes,
        cancel: CancelToken,
        *,
        tag: str = "",
        tags: tuple[str, ...] = (),
        subject: Digest | None = None,
        if_match: str = "",
    ) -> ManifestReceipt:
        """Store a manifest or index.

        Args:
            descriptor: Digest and media type of the document.
            raw: The document.
            cancel: Cancels the call.
            tag: The tag to store it under; "" stores it under its digest.
            tags: Further tags of a document that is stored under its digest; only those in
                the receipt were set (OCI distribution spec 1.2).
            subject: The subject of the document, which the registry may confirm.
            if_match: The ETag that the tag has to have; "" sets the tag in any case.

        Raises:
            IntegrityError: The registry confirms another digest or subject.
            RegistryError: The registry refuses the document.
        """
        digest = descriptor.digest
        query = [("tag", one) for one in tags]
        if tag and digest.algorithm != "sha256":
            query.append(("digest-algorithm", digest.algorithm))
        path = f"manifests/{tag or digest}" + (f"?{urlencode(query)}" if query else "")
        where = (f"{self._name}:{tag}" if tag else f"{self._name}@{digest}",)
        headers = {"Content-Type": descriptor.media_type}
        headers |= {"If-Match": if_match} if if_match else {}
        response = self._send("PUT", path, cancel, headers=headers, body=raw)
        hint = _SCHEMA1_HINT if descriptor.media_type in mediatype.SCHEMA1 else ""
        host = self.endpoint.name
        is_stored = is_confirmed(response, digest, "the manifest", where, host, hint)
        if not is_stored and self.head_manifest(tag or str(digest), cancel) != digest:
            raise not_stored(response, where)
        confirmed = response.header("OCI-Tag").split(",")
        return ManifestReceipt(
            tuple(filter(None, (one.strip() for one in confirmed))),
            has_subject=subject is not None and confirms_subject(response, subject, where),
        )

    def head_manifest(self, tag_or_digest: str, cancel: CancelToken) -> Digest | None:
        """Return the digest that a registry states for a manifest; None if there is none.

        What a digest was asked for has that digest. A registry that names no digest for a tag
        counts as one without that tag, and so does one that refuses HEAD.
        """
        headers = {"Accept": ", ".join(mediatype.ACCEPT)}
        response = self._send("HEAD", f"manifests/{tag_or_digest}", cancel, headers=headers)
        response.drain()
        if response.status in _ABSENT:
            return None
        if response.status != _OK:
            raise error_of(response, (self._name,), self.endpoint.name)
        named = named_digest(response)
        if ":" not in tag_or_digest:
            return named
        asked = Digest.parse(tag_or_digest)
        return named if named is not None and named.algorithm == asked.algorithm else asked

    def delete_manifest(self, digest: Digest, cancel: CancelToken) -> None:
        """Delete a manifest, with all its tags.

        Raises:
            NotFound: The repository does not have it, or the registry does not delete it.
            RegistryError: The registry does not delete it.
        """
        self._delete(f"manifests/{digest}", (f"{self._name}@{digest}",), cancel)

    def delete_tag(self, tag: str, cancel: CancelToken) -> bool:
        """Delete a tag (OCI distribution spec 1.1, Deleting tags).

        Returns:
            Whether the registry has accepted it by 202; another success proves nothing.

        Raises:
            NotFound: There is no such tag, or the registry does not delete tags.
            RegistryError: The registry does not delete tags.
        """
        status = self._delete(f"manifests/{tag}", (f"{self._name}:{tag}",), cancel)
        return status == _ACCEPTED

    def delete_blob(self, digest: Digest, cancel: CancelToken) -> None:
        """Delete a blob from the repository; raises as `delete_manifest` does."""
        self._delete(f"blobs/{digest}", self._blob(digest), cancel)

    # Requests

    def _delete(self, path: str, where: Places, cancel: CancelToken) -> int:
        response = self._send("DELETE", path, cancel, actions=_DELETE)
        self._check(response, where, "does not delete it")
        return response.status

    def _send(
        self,
        method: str,
        path: str,
        cancel: CancelToken,
        *,
        actions: str = _PUSH,
        headers: dict[str, str] | None = None,
        more_scopes: tuple[str, ...] = (),
        body: bytes | None = None,
        is_verified: bool = False,
    ) -> HttpResponse:
        repository = self.endpoint.path
        call = Call(
            method,
            f"/v2/{quote(repository)}/{path}",
            repository,
            actions,
            headers or {},
            is_verified=is_verified,
            more_scopes=more_scopes,
            body=body,
        )
        return self._note_warnings(self._session.send(self.endpoint, call, cancel))

    def _note_warnings(self, response: HttpResponse) -> HttpResponse:
        if self._warnings is not None:
            self._warnings.note(response, self.endpoint)
        return response

    def _send_to(
        self,
        location: UploadLocation,
        method: str,
        cancel: CancelToken,
        *,
        headers: dict[str, str] | None = None,
        stream: StreamBody | None = None,
    ) -> HttpResponse:
        call = Call(method, "", self.endpoint.path, _PUSH, headers or {}, stream=stream)
        try:
            response = self._session.send_to(
                self.endpoint, location.url, call, cancel, public_only=location.public_only
            )
        except PrivateHost:
            raise private_upload_error(self.endpoint, location.url) from None
        return self._note_warnings(response)

    def _check(self, response: HttpResponse, where: Places, refusal: str = "") -> None:
        check_success(response, where, self.endpoint.name, refusal or "refuses the upload")
        response.drain()

    def _blob(self, digest: Digest) -> Places:
        return (self._name, f"blob {digest}")
