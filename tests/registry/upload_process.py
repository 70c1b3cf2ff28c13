"""Uploads a file in a process of its own, which a test may kill.

Arguments: the registry's host, the file, and a file that keeps the address of the session.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.content.protocols import Blob, Opened
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.registry.session import Session
from wherry.registry.upload_options import UploadOptions
from wherry.registry.uploads import upload_blob
from wherry.registry.write_api import WriteApi

if TYPE_CHECKING:
    from collections.abc import Callable


class SessionFile:
    """The addresses of upload sessions in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _read(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self._path.read_text()) if self._path.exists() else {}
        return found

    def _write(self, content: dict[str, str]) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(content))
        new.replace(self._path)

    def load(self, repository: str, digest: Digest) -> str | None:
        return self._read().get(f"{repository}@{digest}")

    def save(self, repository: str, digest: Digest, url: str) -> None:
        self._write(self._read() | {f"{repository}@{digest}": url})

    def forget(self, repository: str, digest: Digest) -> None:
        content = self._read()
        content.pop(f"{repository}@{digest}", None)
        self._write(content)


class FileStream:
    """A file from an offset on."""

    def __init__(self, path: Path, offset: int) -> None:
        self._file = path.open("rb")
        self._file.seek(offset)

    def read1(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


def blob_in(path: Path, digest: Digest) -> Blob:
    """Return a file as a blob."""
    descriptor = Descriptor("", digest, path.stat().st_size)

    def open_at(offset: int, _: Callable[[], bool]) -> Opened:
        return Opened(FileStream(path, offset), offset)

    return Blob(descriptor, open_at)


def main() -> None:
    host, file, digest, kept = sys.argv[1:]
    session = Session(connections=1)
    api = WriteApi(session, session.hosts.host(host).replace(path="app"))
    options = UploadOptions(session.policy, session.upload_pauses, SessionFile(Path(kept)))
    blob = blob_in(Path(file), Digest.parse(digest))
    upload_blob(api, blob, options, CancelToken(), lambda _: None)


if __name__ == "__main__":
    main()
