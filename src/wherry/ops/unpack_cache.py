"""Layers that are unpacked once into the store, for all unpacking that needs them."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
from functools import partial
from typing import TYPE_CHECKING

from wherry.content.verify import RawLimit
from wherry.errors import StoreError
from wherry.store.os_errors import translate_os_errors
from wherry.unpack.cached_layer import CachedLayer, write_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.ops.open_source import Access
    from wherry.ops.unpack_options import UnpackOptions
    from wherry.store.local_store import LocalStore
    from wherry.transfer.progress import Emitter
    from wherry.unpack.owners import Owners
    from wherry.unpack.unpack_layers import Layer, PackedLayer

COPY, OVERLAY = "copy", "overlay"  # and hard links
_FORM = 1  # of the directories; another one gets another number


class NoCache:
    """Layers that are unpacked directly."""

    def has(self, _diff_id: Digest) -> bool:
        """Return False."""
        return False

    def layer(self, packed: PackedLayer) -> Layer:
        """Return the layer itself."""
        return packed


class UnpackCache(NoCache):
    """The cached layers of one unpacking.

    Layers that were found stay in the cache until `close`.

    Args:
        store: The store that has the cache.
        options: How the layers are unpacked.
        cancel: Stops the unpacking.
        warn: Called with what cannot be done here.
    """

    def __init__(
        self,
        store: LocalStore,
        options: UnpackOptions,
        cancel: CancelToken,
        warn: Callable[[str], None],
    ) -> None:
        self._path = store.path
        self._cache = store.unpacked_layers()
        self._options = options
        self._cancel = cancel
        self._warn = warn
        self._owners = None if options.cache == COPY else options.owners
        self._variant = _variant(options.cache, self._owners)
        self._opened: dict[Digest, int] = {}

    def close(self) -> None:
        """Let go of the layers."""
        while self._opened:
            os.close(self._opened.popitem()[1])

    def has(self, diff_id: Digest) -> bool:
        """Tell whether a layer is in the cache, and keep it there."""
        return self._find(diff_id) is not None

    def layer(self, packed: PackedLayer) -> Layer:
        """Return a layer that is read from the cache, and written to it first if it is not there.

        A layer of schema1 has no DiffID that could name it, and stays as it is.
        """
        if packed.diff_id is None:
            return packed
        opened = partial(self._open, packed, packed.diff_id)
        return CachedLayer(packed.digest, opened, self._owners is not None)

    @contextlib.contextmanager
    def _open(self, packed: PackedLayer, diff_id: Digest) -> Iterator[int]:
        while (found := self._find(diff_id)) is None:
            with translate_os_errors(self._path):
                self._cache.add(diff_id, self._variant, partial(self._write, packed))
        try:
            yield found
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise StoreError(
                "hard links need a directory on the file system of the store",
                hint="copy the files with --cache=copy, or choose another --store",
            ).within(self._path) from error

    def _find(self, diff_id: Digest) -> int | None:
        found = self._opened.get(diff_id)
        if found is None:
            with translate_os_errors(self._path):
                found = self._cache.open(diff_id, self._variant)
            if found is not None:
                self._opened[diff_id] = found
        return found

    def _write(self, packed: PackedLayer, directory: int) -> None:
        limits = self._options.limits
        write_layer(
            packed,
            directory,
            self._owners,
            limits,
            RawLimit(),
            self._cancel,
            self._warn,
            below_overlay=self._options.cache == OVERLAY,
        )


@contextlib.contextmanager
def open_cache(options: UnpackOptions, emitter: Emitter, access: Access) -> Iterator[NoCache]:
    """Yield the cache that options ask for.

    Raises:
        StoreError: The store cannot be written.
    """
    if options.cache is None:
        yield NoCache()
        return
    warn = functools.cache(emitter.warn)  # layers warn of the same
    cache = UnpackCache(access.target(), options, access.cancel, warn)
    with contextlib.closing(cache):
        yield cache


def _variant(way: str | None, owners: Owners | None) -> str:
    """Return how the directories of layers are called.

    Hard links have the owner and the attributes of the file in the cache, so each way to set
    owners has directories of its own. A copy gets its own owner.
    """
    if owners is None:
        return f"{_FORM}{way}"
    return f"{_FORM}{way}{hashlib.sha256(repr(owners).encode()).hexdigest()[:16]}"
