"""The checks of a manifest that is pushed, and its way into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.errors import InvalidDocument, Unsupported
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, parse
from wherry.model.record import Record
from wherry.serve.answers import ApiError
from wherry.serve.conditions import Conditions
from wherry.store import repository_blobs
from wherry.store.stored_images import listed_digests, read_image, required_blobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.serve.context import Context
    from wherry.serve.repository_names import Repository

_SHOWN = 10  # digests of missing blobs that an error lists


class ManifestPush(Record):
    """A manifest or index that a client pushes.

    Attributes:
        digest: Its digest.
        document: The parsed document.
        tags: The tags that it gets.
        reference: The tag or digest in the path of the request.
        conditions: The conditions of the request.
    """

    digest: Digest
    document: Manifest | Index
    reference: Digest | str
    tags: tuple[str, ...] = ()
    conditions: Conditions = Conditions()

    @property
    def subject(self) -> Digest | None:
        """The digest of the manifest that it refers to."""
        found = self.document.subject
        return None if found is None else found.digest


def read_push(
    raw: bytes,
    media_type: str,
    reference: Digest | str,
    listed: Sequence[str],
    conditions: Conditions,
) -> ManifestPush:
    """Read what a client pushes; raises `ApiError`.

    Args:
        raw: The document.
        media_type: The ``Content-Type`` of the request.
        reference: The tag or digest in its path.
        listed: The tags in its query.
        conditions: Its conditions.
    """
    if isinstance(reference, Digest):
        check_digest(raw, reference)
        digest, tags = reference, [*listed]
    else:
        digest, tags = Digest.of(raw), [reference, *listed]
    return ManifestPush(
        digest=digest,
        document=read_document(raw, media_type),
        reference=reference,
        tags=tuple(dict.fromkeys(tags)),
        conditions=conditions,
    )


def read_document(raw: bytes, media_type: str) -> Manifest | Index:
    """Parse a document that is pushed; raises `ApiError`.

    The ``Content-Type`` has to be the media type in the document, if that has one (OCI
    distribution spec, "Pushing Manifests").
    """
    try:
        document = parse(raw, media_type)
    except (InvalidDocument, Unsupported) as error:
        raise ApiError("MANIFEST_INVALID", str(error)) from None
    if not isinstance(document, Manifest | Index):
        message = "docker's schema1 format is not accepted, push schema2 or OCI"
        raise ApiError("MANIFEST_INVALID", message)
    served = mediatype.essence(media_type)
    if served not in mediatype.GENERIC and served != document.media_type:
        message = f"the document is {document.media_type}, but its Content-Type is {served}"
        raise ApiError("MANIFEST_INVALID", message)
    return document


def check_digest(raw: bytes, digest: Digest) -> None:
    """Raise `ApiError` unless the content has the digest in the path."""
    if not digest.matches(raw):
        actual = Digest.of(raw, digest.algorithm)
        message = f"the content has the digest {actual}"
        raise ApiError("DIGEST_INVALID", message, detail={"digest": digest})


def push(context: Context, place: Repository, pushed: ManifestPush) -> None:
    """Store a manifest and name it; raises `ApiError`.

    All checks are repeated in the transaction that names it.
    """
    store = context.store
    name, needed = place.name, required_blobs(pushed.document)
    _check_missing(store.ask(lambda rows: repository_blobs.missing(rows, name, needed), needed))
    document = pushed.document
    image = read_image(pushed.digest, document, store.read, store.size)
    own = Descriptor(document.media_type, pushed.digest, len(document.raw))
    with store.ingest() as ingest:
        ingest.put_bytes(own, document.raw, CancelToken())
        with ingest.change_repository(place.reference, context.host, needed) as changes:
            current = changes.find(pushed.reference)
            pushed.conditions.check_change(None if current is None else current.digest)
            _check_missing(changes.missing(needed))
            changes.record(own, document.raw, listed_digests(document), image)
            children = listed_digests(document) if isinstance(document, Index) else ()
            changes.name(own.digest, pushed.tags, blobs=needed, children=children)


def _check_missing(missing: Sequence[Digest]) -> None:
    if not missing:
        return
    shown = ", ".join(missing[:_SHOWN]) + (" …" if len(missing) > _SHOWN else "")
    raise ApiError(
        "MANIFEST_BLOB_UNKNOWN",
        f"the repository lacks {shown}",
        detail={"digest": missing[0], "digests": missing[:_SHOWN]},
    )
