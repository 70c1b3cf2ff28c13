"""Calls of a client that write the files of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import wherry
from wherry._context import public_call
from wherry._values import as_address
from wherry.client_calls.base import ClientCalls, Listener
from wherry.content.cancel import CancelToken
from wherry.model.address import Address
from wherry.model.platform import Platform


class UnpackCalls(ClientCalls):
    """Write the file systems of images: as a directory, or as one tar."""

    @public_call
    def unpack(
        self,
        address: str | Address,
        directory: str | os.PathLike[str],
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        replace: bool = False,
        layer: int | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        strip_components: int = 0,
        keep_owners: bool = False,
        uid_map: Sequence[tuple[int, int, int]] = (),
        gid_map: Sequence[tuple[int, int, int]] = (),
        keep_dirlinks: bool = False,
        bundle: bool = False,
        cache: str | None = None,
        rootless: bool = False,
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
            layer: Only this layer: 1 is the lowest, -1 the topmost.
            include: Patterns of paths, such as ``etc`` or ``usr/*/doc``; they stand for all
                below them too. Only these are unpacked.
            exclude: Patterns of paths that are not unpacked.
            strip_components: Parts to drop from the front of each path, after the patterns.
            keep_owners: Record the owners in extended attributes that rootless tools read
                (``user.rootlesscontainers``).
            uid_map: Ranges of users: the first in the image, the first here, and their number.
            gid_map: Ranges of groups likewise.
            keep_dirlinks: Leave a link to a directory where a layer has a directory.
            cache: Unpack each layer once into the store, and take the files from there.
                ``copy`` makes reflinks where the file system can. ``link`` makes hard links:
                the files are read-only, since a change of one would change the cache.
                ``overlay`` mounts an overlay file system on the directory, which only root may;
                ``umount`` ends it, and leaves what was written in ``upper``.
            bundle: Make an OCI bundle: the files in ``rootfs``, and ``config.json`` for a
                runtime, made from the config of the image.
            rootless: Make a bundle that a user without privileges can run, as if that user
                unpacked it. Users other than root make no others.
            max_size: Bytes of all files; 1 TiB by default.
            max_files: Files, directories and links; 5,000,000 by default.

        Raises:
            UnsafeArchive: A layer leads out of the directory, or the image is too large.
            NotFound: There is no such image, a pattern of ``include`` matches nothing in it, or
                a bundle's image lacks its own user.
            ValueError: A bundle was asked for with a layer, with parts to drop or as an overlay,
                or a rootless one without ``bundle``.
            Unsupported: An overlay cannot be mounted here.
        """
        from wherry.ops.unpack import unpack
        from wherry.ops.unpack_options import UnpackOptions, choose_isolation, choose_owners

        if bundle and cache == "overlay":
            raise ValueError("a bundle cannot be an overlay")
        owners = choose_owners(records=keep_owners, uids=uid_map, gids=gid_map, rootless=rootless)
        options = UnpackOptions.build(
            self._context.settings,
            owners=owners,
            bundle=choose_isolation(
                owners, bundle=bundle, rootless=rootless, layer=layer, strip=strip_components
            ),
            include=include,
            exclude=exclude,
            strip=strip_components,
            layer=layer,
            replaces=replace,
            keeps_dirlinks=keep_dirlinks,
            cache=cache,
            max_size=max_size,
            max_files=max_files,
        )
        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return unpack(as_address(address), Path(directory), wanted, options, access)

    @public_call
    def export(
        self,
        address: str | Address,
        output: str | os.PathLike[str] | BinaryIO,
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        layer: int | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        strip_components: int = 0,
        keep_dirlinks: bool = False,
        max_size: int | None = None,
        max_files: int | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Write the files of an image as one tar, sorted by path.

        The same image always gives the same bytes. All layers are verified before the first byte
        is written. Their decompressed content waits in temporary files.

        Args:
            address: The image.
            output: A path, whose file is complete when it gets its name, or a binary file that
                is open for writing, such as a pipe.
            layer: As for `unpack`.
            include: As for `unpack`.
            exclude: As for `unpack`.
            strip_components: As for `unpack`.
            keep_dirlinks: As for `unpack`.
            max_size: As for `unpack`.
            max_files: As for `unpack`.

        Raises:
            NotFound: There is no such image, or a pattern of ``include`` matches nothing in it.
            UnsafeArchive: A layer leads out of the root, or the image is too large.
        """
        from wherry.ops.export import export
        from wherry.ops.unpack_options import UnpackOptions

        options = UnpackOptions.build(
            self._context.settings,
            include=include,
            exclude=exclude,
            strip=strip_components,
            layer=layer,
            keeps_dirlinks=keep_dirlinks,
            max_size=max_size,
            max_files=max_files,
        )
        target = Path(output) if isinstance(output, str | os.PathLike) else output
        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        export(as_address(address), target, wanted, options, access)
