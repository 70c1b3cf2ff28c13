"""Push images to the application of a registry, without sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.model.descriptor import Descriptor
from wherry.store import repository_blobs
from wherry.testing import BuiltImage, BuiltIndex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_client import Answer, AsgiClient
    from wherry.model.digest import Digest
    from wherry.store import LocalStore

HOST = "localhost:5000"


def put_blob(local: LocalStore, path: str, data: bytes) -> Digest:
    """Give a repository a blob, as an upload does."""
    blob = Descriptor.of(data, "")
    with local.ingest() as ingest:
        ingest.put_bytes(blob, data, CancelToken())
        with ingest.db.write() as connection:
            repository_blobs.add(connection, f"{HOST}/{path}", [blob.digest])
    return blob.digest


def put_blobs(local: LocalStore, path: str, image: BuiltImage) -> None:
    """Give a repository the config and the layers of an image."""
    for piece in (image.config, *image.layers):
        put_blob(local, path, piece.data)


def put_manifest(
    api: AsgiClient,
    path: str,
    image: BuiltImage | BuiltIndex,
    reference: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Put the root document of an image, by default by its digest."""
    document = image.manifest if isinstance(image, BuiltImage) else image.index
    target = f"/v2/{path}/manifests/{reference or image.digest}"
    given = {"Content-Type": document.media_type, **(headers or {})}
    return api("PUT", target, document.data, given)


def push(
    api: AsgiClient, local: LocalStore, path: str, image: BuiltImage | BuiltIndex, tag: str = ""
) -> Answer:
    """Push an image with its blobs, and an index after its images."""
    if isinstance(image, BuiltImage):
        put_blobs(local, path, image)
    else:
        for each in image.images:
            push(api, local, path, each)
    answer = put_manifest(api, path, image, tag)
    assert answer.status == 201, answer.body
    return answer
