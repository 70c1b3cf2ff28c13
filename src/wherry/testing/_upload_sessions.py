"""Blob uploads of the fake registry: sessions, chunks, mounts (OCI distribution spec, "Push")."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from wherry.testing._messages import IncomingRequest, Reply, error_reply
from wherry.testing._request_body import RequestCut

if TYPE_CHECKING:
    from wherry.testing._behaviours import Behaviour
    from wherry.testing._content import RegistryContent

__all__ = ["FakeUploads", "UploadFeatures"]

_IN_MEMORY = 1024 * 1024  # bytes; larger blobs stay in files
_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d+)-(\d+)(?:/(?:\d+|\*))?")


@dataclass(frozen=True)
class UploadFeatures:
    """Optional features of uploads.

    Attributes:
        chunk_min_length: Bytes, sent as ``OCI-Chunk-Min-Length``; after a shorter chunk no other
            is accepted.
        mounts_from_any: Whether a mount without ``from`` finds the blobs of all repositories.
    """

    chunk_min_length: int | None = None
    mounts_from_any: bool = False


@dataclass
class _UploadSession:
    """An upload session; the bytes received so far are in a file."""

    name: str
    id: str
    path: Path
    size: int = 0
    first_chunk: int = 0
    last_chunk: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class FakeUploads:
    """The upload sessions at ``/v2/NAME/blobs/uploads/``. Thread-safe.

    As in Distribution 3, the query of a session's address has the offset at which it was issued.
    A write to an old address gets 416; the status of the session has the current address.
    """

    def __init__(
        self, content: RegistryContent, behaviour: Behaviour, options: UploadFeatures
    ) -> None:
        self._content = content
        self._behaviour = behaviour
        self._options = options
        self._open: dict[str, _UploadSession] = {}
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()

    @property
    def open_sessions(self) -> int:
        """The number of sessions that are neither finished nor cancelled."""
        return len(self._open)

    def forget(self) -> None:
        """Remove all sessions, as a registry does when they expire."""
        with self._lock:
            self._open.clear()

    def close(self) -> None:
        """Remove the files of sessions and of uploaded blobs."""
        if self._directory is not None:
            self._directory.cleanup()

    def answer(self, request: IncomingRequest, name: str, session: str) -> Reply:
        """Return the reply to a request that starts a session or writes to one.

        ``session`` is empty for a request that starts one.
        """
        if not session:
            if request.method != "POST":
                return error_reply(405, "UNSUPPORTED")
            return self._start(request, name)
        upload = self._open.get(session)
        if upload is None or upload.name != name:
            return error_reply(404, "BLOB_UPLOAD_UNKNOWN")
        with upload.lock:
            match request.method:
                case "GET":
                    return self._status(upload)
                case "PATCH":
                    return self._patch(request, upload)
                case "PUT":
                    return self._finish(request, upload)
                case "DELETE":
                    self._drop(upload)
                    return Reply(204)
                case _:
                    return error_reply(405, "UNSUPPORTED")

    def _start(self, request: IncomingRequest, name: str) -> Reply:
        mount = request.value("mount")
        if mount is not None and self._mount(name, mount, request.value("from")):
            return self._created(name, mount)
        with self._lock:
            if self._directory is None:
                self._directory = tempfile.TemporaryDirectory(prefix="fake-registry-")
            number = secrets.token_hex(16)
            path = Path(self._directory.name) / number
            path.touch()
            upload = self._open[number] = _UploadSession(name, number, path)
        digest = request.value("digest")
        if digest is not None and self._behaviour.takes_single_post:
            return self._finish(request, upload)
        reply = self._session_reply(202, upload)
        if self._options.chunk_min_length is not None:
            reply.set("OCI-Chunk-Min-Length", str(self._options.chunk_min_length))
        return reply

    def _mount(self, name: str, digest: str, source: str | None) -> bool:
        if source is None:
            found = self._options.mounts_from_any and digest in self._content.blobs
        else:
            found = self._content.has_blob(source, digest)
        if found:
            self._content.link_blob(name, digest)
        return found

    def _patch(self, request: IncomingRequest, upload: _UploadSession) -> Reply:
        content_range = request.headers.get("content-range")
        refusal = self._refuse_chunk(request, upload, content_range)
        if refusal is not None:
            return refusal
        before = upload.size
        self._receive(request, upload)
        if not upload.first_chunk:
            upload.first_chunk = upload.size
        upload.last_chunk = upload.size - before if content_range is not None else None
        return self._session_reply(202, upload)

    def _refuse_chunk(
        self, request: IncomingRequest, upload: _UploadSession, content_range: str | None
    ) -> Reply | None:
        behaviour = self._behaviour
        if content_range is None:
            return self._refuse_offset(request, upload)
        found = _CONTENT_RANGE.fullmatch(content_range)
        if found is None or int(found[2]) < int(found[1]):
            return error_reply(400, "BLOB_UPLOAD_INVALID", "invalid Content-Range")
        start, length = int(found[1]), int(found[2]) + 1 - int(found[1])
        if not behaviour.takes_chunks:
            return error_reply(405, "UNSUPPORTED", "chunked uploads are not supported")
        if behaviour.max_chunk is not None and length > behaviour.max_chunk:
            return self._range_refusal(upload)
        least = self._options.chunk_min_length or 0
        if upload.last_chunk is not None and upload.last_chunk < least:
            return error_reply(400, "BLOB_UPLOAD_INVALID", "the last chunk was too short")
        if behaviour.checks_offsets and start != upload.size:
            return self._range_refusal(upload)
        return self._refuse_offset(request, upload)

    def _refuse_offset(self, request: IncomingRequest, upload: _UploadSession) -> Reply | None:
        offset = request.value("_offset")
        if self._behaviour.checks_offsets and offset != str(upload.size):
            return self._range_refusal(upload)
        return None

    def _receive(self, request: IncomingRequest, upload: _UploadSession) -> None:
        try:
            with upload.path.open("ab") as file:
                while data := request.stream.read1():
                    file.write(data)
                    upload.size += len(data)
        except RequestCut:
            if not self._behaviour.keeps_broken_uploads:
                self._drop(upload)
            raise

    def _finish(self, request: IncomingRequest, upload: _UploadSession) -> Reply:
        digest = request.value("digest") or ""
        algorithm, _, value = digest.partition(":")
        if algorithm not in {"sha256", "sha512"}:
            return error_reply(400, "DIGEST_INVALID")
        if request.method == "PUT":
            refusal = self._refuse_offset(request, upload)
            if refusal is not None:
                return refusal
        self._receive(request, upload)
        with upload.path.open("rb") as file:
            actual = hashlib.file_digest(file, algorithm).hexdigest()
        if actual != value:
            self._drop(upload)
            return error_reply(400, "DIGEST_INVALID", "provided digest did not match the content")
        with self._lock:
            self._open.pop(upload.id, None)
        is_small = upload.size <= _IN_MEMORY
        data = upload.path.read_bytes() if is_small else upload.path
        self._content.store_blob(upload.name, digest, data)
        if is_small or self._content.blobs[digest] != upload.path:
            upload.path.unlink()
        return self._created(upload.name, digest)

    def _drop(self, upload: _UploadSession) -> None:
        with self._lock:
            self._open.pop(upload.id, None)
        with contextlib.suppress(FileNotFoundError):
            upload.path.unlink()

    def _status(self, upload: _UploadSession) -> Reply:
        reply = self._session_reply(204, upload)
        if self._behaviour.range_stays:
            reply.set("Range", _range_text(upload.first_chunk))
        return reply

    def _range_refusal(self, upload: _UploadSession) -> Reply:
        return error_reply(416, "RANGE_INVALID", detail={"size": upload.size})

    def _session_reply(self, status: int, upload: _UploadSession) -> Reply:
        """Return a reply with the session's address and the range that was received.

        Distribution sends ``0-0`` for no bytes as well as for one byte.
        """
        query = urlencode({"_state": secrets.token_urlsafe(8), "_offset": upload.size})
        headers = {
            "Location": f"/v2/{upload.name}/blobs/uploads/{upload.id}?{query}",
            "Range": _range_text(upload.size),
            "Docker-Upload-UUID": upload.id,
        }
        return Reply(status, headers)

    def _created(self, name: str, digest: str) -> Reply:
        headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
        return Reply(201, headers)


def _range_text(size: int) -> str:
    return f"0-{max(0, size - 1)}"
