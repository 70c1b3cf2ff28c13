"""Calls of a client that write the files of images."""

from __future__ import annotations

import os
from pathlib import Path

import wherry
from wherry._context import public_call
from wherry._values import as_address
from wherry.client_calls.base import ClientCalls, Listener
from wherry.content.cancel import CancelToken
from wherry.model.address import Address
from wherry.model.platform import Platform


class UnpackCalls(ClientCalls):
    """Write the file systems of images."""

    @public_call
    def unpack(
        self,
        address: str | Address,
        directory: str | os.PathLike[str],
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        replace: bool = False,
        keep_owners: bool = False,
        keep_dirlinks: bool = False,
        max_size: int | None = None,
        max_files: int | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.UnpackResult:
        """Unpack an image into a new directory.

        The directory gets its name when all layers are unpacked and verified. Layers of a
        registry are unpacked while they arrive, and are not stored. Root gives the files their
        owners; other users own all files themselves.

        Args:
            address: The image.
            directory: The directory to make; it may exist if it is empty.
            replace: Replace a directory that is not empty, in one step at the end.
            keep_owners: Record the owners in extended attributes that rootless tools read
                (``user.rootlesscontainers``).
            keep_dirlinks: Leave a link to a directory where a layer has a directory.
            max_size: Bytes of all files; 1 TiB by default.
            max_files: Files, directories and links; 5,000,000 by default.

        Raises:
            UnsafeArchive: A layer leads out of the directory, or the image is too large.
        """
        from wherry.ops.unpack import unpack
        from wherry.ops.unpack_options import UnpackOptions

        options = UnpackOptions.build(
            self._context.settings,
            replaces=replace,
            records_owners=keep_owners,
            keeps_dirlinks=keep_dirlinks,
            size=max_size,
            files=max_files,
        )
        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return unpack(as_address(address), Path(directory), wanted, options, access)
