"""The calls of a client that lock images to their digests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import wherry
from wherry._context import public_call
from wherry._values import as_reference
from wherry.client_calls.base import ClientCalls, Listener
from wherry.content.cancel import CancelToken


class LockCalls(ClientCalls):
    """Lock names to the digests that they stand for now."""

    @public_call
    def lock(
        self,
        file: str | os.PathLike[str] = "images.toml",
        lock_file: str | os.PathLike[str] | None = None,
        *,
        upgrade: bool | Sequence[str] = False,
        check: bool = False,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.LockResult:
        """Lock the images that a file names, and write the lock.

        Names of the lock keep their digests while the registry has them. New names are added,
        and names that the file no longer means are dropped.

        Args:
            file: The file images.toml.
            lock_file: The lock; by default ``file`` with the suffix ``.lock``.
            upgrade: True resolves all names again. A list resolves these: names of images, or
                of repositories for all their tags.
            check: Compare the lock with the registries, and write nothing. Every tag is
                resolved, by a HEAD each.

        Returns:
            The lock and its changes. Of a check, the lock is the one in the file.

        Raises:
            WherryError: A file breaks a rule, or there is no lock to check.
        """
        from wherry.sync.image_list import read_image_list
        from wherry.sync.lock import Upgrade, check_lock, lock_images
        from wherry.sync.lock_file import Lock

        names = () if isinstance(upgrade, bool) else tuple(map(str, map(as_reference, upgrade)))
        path = Path(file)
        target = path.with_suffix(".lock") if lock_file is None else Path(lock_file)
        entries = read_image_list(path)
        access, jobs = self._context.access(None, on_event, cancel), self._context.settings.jobs
        if check:
            return check_lock(entries, Lock.read_existing(target), access, jobs)
        old = Lock.read(target)
        found = lock_images(entries, old, Upgrade(upgrade is True, names), access, jobs)
        if found.lock != old:
            found.lock.write(target)
        return found
