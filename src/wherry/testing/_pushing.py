"""Uploads to a registry through the standard library's HTTP client alone."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry.testing.images import BuiltImage, BuiltIndex, Piece, sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPConnection

__all__ = ["Pusher"]


class Pusher:
    """Uploads blobs and documents to one repository.

    Every upload raises `RuntimeError` with the registry's response if the registry refuses it.

    Args:
        connect: Opens a connection to the registry.
        name: The repository.
        credentials: User and password, sent with each request unless there is a token.
        token: A bearer token, sent with each request.
    """

    def __init__(
        self,
        connect: Callable[[], HTTPConnection],
        name: str,
        *,
        credentials: tuple[str, str] | None = None,
        token: str | None = None,
    ) -> None:
        self._connect = connect
        self._name = name
        self._headers: dict[str, str] = {}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        elif credentials is not None:
            pair = base64.b64encode(":".join(credentials).encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"

    def push_image(self, image: BuiltImage | BuiltIndex, *tags: str) -> str:
        """Upload an image, or an index with its images, and return its digest."""
        if isinstance(image, BuiltIndex):
            for child in image.images:
                self.push_image(child)
            for nested in image.indexes:
                self.push_image(nested)
            return self._push_document(image.index, *tags)
        for digest, piece in {piece.digest: piece for piece in image.blobs()}.items():
            self.push_blob(piece.data, digest)
        return self._push_document(image.manifest, *tags)

    def push_blob(self, data: bytes | Path, digest: str | None = None) -> str:
        """Upload a blob in one request, from memory or a file, and return its digest."""
        if digest is None:
            digest = _digest(data)
        status, headers, body = self._ask("POST", f"/v2/{self._name}/blobs/uploads/", b"")
        if status != 202:
            raise RuntimeError(f"upload of {digest}: {status} {body!r}")
        place = urlsplit(headers["location"])
        query = f"{place.query}&digest={digest}" if place.query else f"digest={digest}"
        status, _, body = self._ask("PUT", f"{place.path}?{query}", data)
        if status != 201:
            raise RuntimeError(f"upload of {digest}: {status} {body!r}")
        return digest

    def push_manifest(self, raw: bytes, media_type: str, *tags: str) -> str:
        """Upload a document under each tag, or under its digest; return its digest."""
        digest = sha256(raw)
        for reference in tags or (digest,):
            path = f"/v2/{self._name}/manifests/{reference}"
            status, headers, body = self._ask("PUT", path, raw, media_type)
            if status != 201:
                raise RuntimeError(f"manifest {reference}: {status} {body!r}")
            digest = headers.get("docker-content-digest", digest)
        return digest

    def _push_document(self, piece: Piece, *tags: str) -> str:
        return self.push_manifest(piece.data, piece.media_type, *tags)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | Path,
        media_type: str = "application/octet-stream",
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {"Content-Type": media_type, **self._headers}
        connection = self._connect()
        try:
            if isinstance(body, Path):
                headers["Content-Length"] = str(body.stat().st_size)
                with body.open("rb") as file:
                    connection.request(method, path, file, headers)
            else:
                connection.request(method, path, body, headers)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return response.status, named, response.read()
        finally:
            connection.close()


def _digest(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return sha256(data)
    with data.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
