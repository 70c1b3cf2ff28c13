"""The blobs of the repositories that the server offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.store import blob_info, repository_blobs
from wherry.store.os_errors import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.digest import Digest
    from wherry.store.store_handle import StoreHandle


class Repositories:
    """Looks up and changes which blobs repositories (``host/path``) have.

    Methods may be called from any thread.
    """

    def __init__(self, handle: StoreHandle) -> None:
        self._handle = handle

    def find_blob(self, repository: str, digest: Digest) -> int | None:
        """Return the size in bytes of a blob or document that a repository has, or None.

        A file of another size than was stored counts as missing, so that clients send the blob
        again.
        """
        db = self._handle.database()
        if db is None:
            return None
        with db.read() as connection:
            if not repository_blobs.has(connection, repository, digest):
                return None
            known = blob_info.find(connection, digest)
        with translate_os_errors(self._handle.path):
            try:
                size = self._handle.files.size(digest)
            except FileNotFoundError:
                return None
        is_damaged = known is not None and known.size not in {None, size}
        return None if is_damaged else size

    def mount(self, repository: str, digest: Digest, sources: Sequence[str] | None) -> bool:
        """Give a repository a blob that another one has; return whether one has it.

        Args:
            repository: The repository that gets the blob.
            digest: The blob.
            sources: The repositories that are asked; None asks all.
        """
        db = self._handle.database()
        if db is None:
            return False
        with db.write(durable=False) as connection:
            if not self._handle.files.exists(digest):
                return False
            if sources is None:
                is_there = repository_blobs.is_anywhere(connection, digest)
            else:
                is_there = any(repository_blobs.has(connection, each, digest) for each in sources)
            if is_there:
                repository_blobs.add(connection, repository, [digest])
            return is_there

    def remove(self, repository: str, digest: Digest) -> bool:
        """Take a blob from a repository, even if a manifest there lists it.

        Returns:
            Whether the repository had it. Its bytes stay until they are collected.
        """
        db = self._handle.database()
        if db is None:
            return False
        with db.write() as connection:
            if not repository_blobs.has(connection, repository, digest):
                return False
            repository_blobs.remove(connection, repository, digest)
            return True
