"""The calls of a client that lock images to their digests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import wherry
from wherry._context import public_call
from wherry._values import as_reference
from wherry.client_calls.base import ClientCalls, Listener
from wherry.content.cancel import CancelToken

if TYPE_CHECKING:
    from wherry.ops.open_source import Access
    from wherry.sync.lock import Upgrade


class LockCalls(ClientCalls):
    """Lock names to the digests that they stand for now."""

    @public_call
    def lock(
        self,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "images.toml",
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
            files: The file images.toml, or several files. Compose files and Kubernetes YAML end
                in ``.yaml``, ``.yml`` or ``.json``, and need the extra ``wherry[sync]``. Names of
                Dockerfiles begin with ``Dockerfile`` or ``Containerfile``, or end so.
            lock_file: The lock; by default images.toml with the suffix ``.lock``. For other files
                no lock is read or written by default.
            upgrade: True resolves all names again. A list resolves these: names of images, or
                of repositories for all their tags.
            check: Compare the lock with the registries, and write nothing. Every tag is
                resolved, by a HEAD each.

        Returns:
            The lock and its changes. Of a check, the lock is the one in the file.

        Raises:
            WherryError: A file breaks a rule, or there is no lock to check.
        """
        from wherry.sync.lock import check_lock, lock_images
        from wherry.sync.lock_file import Lock
        from wherry.sync.read_entries import is_image_list, read_entries

        paths = [
            Path(each) for each in ([files] if isinstance(files, str | os.PathLike) else files)
        ]
        target = None if lock_file is None else Path(lock_file)
        if target is None and len(paths) == 1 and is_image_list(paths[0]):
            target = paths[0].with_suffix(".lock")
        if check and target is None:
            raise ValueError("check needs lock_file, unless files is one images.toml")
        jobs = self._context.settings.jobs
        with self._access(on_event, cancel) as access:
            entries = read_entries(paths, _warner(access))
            if check and target is not None:
                return check_lock(entries, Lock.read_existing(target), access, jobs)
            old = None if target is None else Lock.read(target)
            found = lock_images(entries, old, _upgrade(upgrade), access, jobs)
        if target is not None and found.lock != old:
            found.lock.write(target)
        return found

    @public_call
    def pin(
        self,
        file: str | os.PathLike[str],
        *,
        upgrade: bool | Sequence[str] = False,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.types.PinnedImage]:
        """Write digests into a compose file, Kubernetes YAML or a Dockerfile. Idempotent.

        Each name of an image becomes ``name:tag@digest``; ``latest`` is the default tag. All else
        in the file stays as it is. YAML needs the extra ``wherry[sync]``. A name with escapes or
        variables is left out with a warning.

        Args:
            file: The file. It is replaced as a whole.
            upgrade: As for `lock`: which names to resolve again that have a tag and a digest.

        Returns:
            The names that changed.

        Raises:
            WherryError: The file cannot be read or written, or the extra is missing.
        """
        from wherry.sync.pin import pin_images

        jobs = self._context.settings.jobs
        with self._access(on_event, cancel) as access:
            return pin_images(Path(file), _upgrade(upgrade), access, jobs, _warner(access))

    @contextlib.contextmanager
    def _access(self, listener: Listener, cancel: CancelToken | None) -> Iterator[Access]:
        """Yield what opening repositories takes; the listener gets one event at a time."""
        from wherry.transfer.event_queue import queued

        access = self._context.access(None, listener, cancel)
        with queued(access.listener, access.cancel) as events:
            yield access.replace(listener=events)


def _upgrade(given: bool | Sequence[str]) -> Upgrade:  # noqa: FBT001 - a value of the argument
    from wherry.sync.lock import Upgrade

    if isinstance(given, bool):
        return Upgrade(given)
    return Upgrade(names=tuple(str(as_reference(name)) for name in given))


def _warner(access: Access) -> Callable[[str, str], None]:
    """Return a function that reports a warning about a place in a file."""
    from wherry.transfer.progress import Emitter

    return lambda place, message: Emitter(access.listener, place).warn(message)
