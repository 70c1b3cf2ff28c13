"""Unpack an image into a directory."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from wherry.archive.write_errors import check_parent, translate_write_errors
from wherry.content.events import Status
from wherry.content.output import StagedDirectory
from wherry.content.verify import RawLimit
from wherry.errors import StoreError
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.ops.bundle import check_bundle, make_root, write_config
from wherry.ops.open_layers import open_layers
from wherry.ops.overlay import check_overlay, finish_layers, make_layers, mount
from wherry.ops.unpack_cache import OVERLAY, open_cache
from wherry.transfer.progress import Emitter
from wherry.unpack.unpack_layers import unpack_layers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry.model.address import Address
    from wherry.model.config import ImageConfig
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.open_source import Access
    from wherry.ops.unpack_options import UnpackOptions


class UnpackResult(Record):
    """What was unpacked.

    Attributes:
        digest: The digest of the manifest.
        directory: The directory.
    """

    digest: Digest
    directory: str


def unpack(
    address: Address,
    directory: Path,
    wanted: PlatformChoice,
    options: UnpackOptions,
    access: Access,
) -> UnpackResult:
    """Unpack an image into a new directory.

    The directory gets its name when all layers are unpacked and verified. Layers of a registry
    are unpacked while they arrive.

    Args:
        address: The image.
        directory: The directory; it may exist if it is empty.
        wanted: The platform.
        options: How to unpack.
        access: What opening the image takes.

    Raises:
        StoreError: The directory has something in it, or cannot be written.
        IntegrityError: A layer is damaged; nothing is left of the directory.
        UnsafeArchive: A layer has an entry that leads outside of the directory.
        WherryError: The image cannot be read.
    """
    check_parent(directory)
    _check_target(directory, options)
    if options.cache == OVERLAY:
        check_overlay(directory)
    emitter = Emitter(access.listener, str(address))
    with (
        open_cache(options, emitter, access) as cache,
        open_layers(
            address, wanted, directory.parent, options, emitter, access, cache.has
        ) as image,
        translate_write_errors(directory),
        StagedDirectory(directory) as staged,
    ):
        with _prepared(staged, image.config, options, emitter) as root:
            unpack_layers(
                map(cache.layer, image.layers),
                root,
                options.owners,
                options.wanted,
                options.limits,
                RawLimit(),
                access.cancel,
                emitter.warn,
                keeps_dirlinks=options.keeps_dirlinks,
            )
        staged.publish(syncs=False, replaces=options.replaces)
        if os.path.lexists(staged.path):
            emitter.warn(f"the old directory cannot be removed: {staged.path}")
        if options.cache == OVERLAY:
            mount(staged.descriptor, directory)
    emitter.emit(Status.DONE, message=f"Unpacked to {directory}")
    return UnpackResult(image.digest, str(directory))


@contextlib.contextmanager
def _prepared(
    staged: StagedDirectory, config: ImageConfig, options: UnpackOptions, emitter: Emitter
) -> Iterator[int]:
    """Yield the directory for the files of the image.

    After the block a bundle, or the directories of an overlay, are complete.
    """
    directory = staged.descriptor
    mode = stat.S_IMODE(os.fstat(directory).st_mode)
    os.fchmod(directory, 0o700)
    _drop_acls(directory)
    if options.cache == OVERLAY:
        lower = make_layers(directory)
        try:
            yield lower
        finally:
            os.close(lower)
        finish_layers(directory, staged.path)
        return
    if options.bundle is None:
        yield directory
        return
    check_bundle(config)
    root = make_root(directory)
    try:
        yield root
        write_config(directory, root, config, options.bundle, emitter.warn)
    finally:
        os.close(root)
    os.fchmod(directory, mode)


def _drop_acls(directory: int) -> None:
    """Remove the access control lists that a new directory has from the one above it (acl(5)).

    Else all files would inherit them.
    """
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        with contextlib.suppress(OSError):  # there is none
            os.removexattr(directory, name)


def _check_target(directory: Path, options: UnpackOptions) -> None:
    """Raise `StoreError` for something that may not be replaced."""
    if directory.name in {"", ".."}:
        raise StoreError(
            "this has no name that a new directory could get", hint="name the directory: rootfs"
        ).within(directory)
    if not os.path.lexists(directory):
        return
    if directory.is_mount():
        raise StoreError(
            "a file system is mounted on the directory", hint=f"umount {directory}"
        ).within(directory)
    if directory.is_symlink() or not directory.is_dir():
        raise StoreError("this is not a directory").within(directory)
    if not options.replaces and any(directory.iterdir()):
        raise StoreError(
            "the directory is not empty", hint="choose a new one, or replace it: --replace"
        ).within(directory)
