"""What a client does with archives: save, load, import."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import wherry
from wherry.calls import operation
from wherry.config import MAX_EPOCH, host_platform, source_date_epoch
from wherry.connected import Connected
from wherry.model.address import Address, Where
from wherry.model.platform import Platform

if TYPE_CHECKING:
    from wherry.content.protocols import Raw
    from wherry.ops.open_source import Access
    from wherry.store import LocalStore


class Archiving(Connected):
    """The calls of `wherry.Client` that are about archives."""

    @operation
    def save(
        self,
        names: str | wherry.Image | Sequence[str | wherry.Image],
        output: str | os.PathLike[str] | BinaryIO,
        *,
        format: wherry.types.Format = "docker",  # noqa: A002 - what it is called everywhere
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        name: str | None = None,
        on_event: Callable[[wherry.Event], None] | None = None,
        cancel: wherry.CancelToken | None = None,
    ) -> list[wherry.types.Saved]:
        """Write images to an archive, or with ``oci`` and ``dir`` to a new directory.

        ``names`` are addresses; a bare name means the store (SPEC: "Addresses"). An `Image` is
        taken from its own store and has no name in the archive. ``format`` is ``docker`` (what
        `docker load` and its like read, old engines included; layers without compression),
        ``oci-archive``, ``oci`` or ``dir`` (everything byte for byte). ``output`` is a path, or
        an open binary file such as a pipe. The same images give the same bytes; a path gets its
        name when all is written. ``platform`` chooses one image of each index; without it the
        docker format takes the one that was pulled last, the others the whole index where all
        of it is there. Of several platforms, with commas between, each is an image of its own
        in a layout, and its tag ends in the platform: ``1.4-linux-arm64``. ``name`` is what one
        image is called instead: a whole name, or in a layout any reference, such as ``1.4``.

        Raises `InvalidReference`, `NotFound`, `PlatformMismatch`, `IntegrityError`,
        `Unsupported`, `StoreError`, `Cancelled`, and what reading the addresses raises.
        """
        from wherry.image import Image
        from wherry.ops.save import SaveOptions, check_name, save

        host, platform = host_platform(), self._asked_for(platform)
        if isinstance(platform, str):
            wanted = Platform.parse_list(platform, host)
        else:
            wanted = () if platform is None else (platform,)
        if name is not None:
            check_name(name, format)
        given = [names] if isinstance(names, str | Image) else names
        images = [each for each in given if isinstance(each, Image)]
        return save(
            [_address(each) for each in given],
            Path(output) if isinstance(output, str | os.PathLike) else output,
            SaveOptions(host, wanted, format, name or ""),
            _finding(images, self._access(store, on_event, cancel)),
        )

    @operation
    def load(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        name: str | None = None,
        on_failure: Callable[[wherry.errors.WherryError], None] | None = None,
        on_event: Callable[[wherry.Event], None] | None = None,
        cancel: wherry.CancelToken | None = None,
    ) -> list[wherry.Image]:
        """Put the images of an archive or layout into a store, under the names they have there.

        ``source`` is a path, or an open binary file such as a pipe, which is read once to its
        end. Everything is taken that docker, podman, skopeo and `save` write, archives of
        engines before 1.10 too, compressed or not. ``platform`` chooses one image of each
        index; without it all that are there are loaded. ``name`` is given to the image of an
        archive that holds one, instead of its names there. Idempotent.

        An image that cannot be loaded keeps no other from being loaded. ``on_failure`` gets
        the error of each. Without it, the first error is raised when the others are loaded.

        Raises `NotFound`, `PlatformMismatch`, `InvalidDocument`, `IntegrityError`,
        `UnsafeArchive`, `Unsupported`, `InvalidReference`, `StoreError` and `Cancelled`; then
        no name is changed.
        """
        from wherry.content.events import ignore
        from wherry.image import Image
        from wherry.model.reference import Reference
        from wherry.ops.load import LoadOptions, load
        from wherry.transfer.copy import CopyOptions

        host, into = host_platform(), self._meant(store)
        platform = self._asked_for(platform)
        wanted = Platform.parse(platform, host) if isinstance(platform, str) else platform
        given = None if name is None else Reference.parse_new(name)
        loaded, failures = load(
            into,
            _read_from(source),
            LoadOptions(
                host,
                wanted,
                given,
                CopyOptions(jobs=self._transfers.jobs),
                self._transfers.schema1,
            ),
            self._calls.token(cancel),
            on_event or ignore,
        )
        for error in failures:
            if on_failure is None:
                raise error
            on_failure(error)
        return [Image(into, each.root, each.image) for each in loaded]

    @operation
    def import_(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        reference: str | None = None,
        *,
        config: bytes | None = None,
        parent: str | None = None,
        platform: str | Platform | None = None,
        changes: Sequence[str] = (),
        message: str = "",
        created: int | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Callable[[wherry.Event], None] | None = None,
        cancel: wherry.CancelToken | None = None,
    ) -> wherry.Image:
        """Make an image of one layer: a tar, compressed or not, or a directory's content.

        ``config`` is JSON that is kept byte for byte. With a ``rootfs`` it is the image's
        config, whose DiffIDs have to fit; without one it is a version 1 JSON, from which the
        config is made as for schema1. ``parent`` is the address of an image to put the layer
        on (a bare name means the store). A source of no bytes at all adds no layer.
        ``platform`` is what the image is for, this machine's by default; with ``parent`` it
        chooses the image of an index. What ``config`` says counts instead, so beside it a
        platform without a parent is a `ValueError`.
        ``changes`` are instructions of a Dockerfile, as for `docker import --change`; they are
        made to the parent's settings. ``message`` is the comment in the history. Neither goes
        with ``config`` (`ValueError`). ``created`` is when the image was made, in seconds since
        1970; files of a directory that are younger get this time too. Without it,
        ``SOURCE_DATE_EPOCH`` counts, else the present.
        ``reference`` gets ``latest`` where it has no tag, and may not have a digest.

        Raises `IntegrityError` for what is no tar, `InvalidDocument`, `InvalidReference`,
        `PlatformMismatch`, `StoreError`, `Cancelled`, and what reading the parent raises.
        """
        from wherry.errors import InvalidReference
        from wherry.image import Image
        from wherry.model.reference import Reference
        from wherry.ops.import_ import ImportOptions, import_layer

        if platform is not None and config is not None and parent is None:
            raise ValueError("a config says itself which platform its image is for")
        if config is not None and (changes or message):
            raise ValueError("a config is kept as it is: it takes no changes and no message")
        if not message.isascii() and message != message.encode(errors="replace").decode():
            raise InvalidReference("the message is no text in UTF-8", text="", position=0)
        if created is not None and not 0 <= created <= MAX_EPOCH:
            raise ValueError(f"created is {created}, expected seconds since 1970")
        if config is None or parent is not None:
            platform = self._asked_for(platform)
        host, into = host_platform(), self._meant(store)
        wanted = Platform.parse(platform, host) if isinstance(platform, str) else platform
        record = import_layer(
            into,
            _read_from(source),
            None if reference is None else Reference.parse_new(reference),
            ImportOptions(
                wanted or Platform(host.os, host.architecture),
                strict=wanted is not None,
                config=config,
                parent=None if parent is None else Address.parse(parent, bare=Where.STORE),
                schema1=self._transfers.schema1,
                changes=tuple(changes),
                message=message,
                epoch=source_date_epoch() if created is None else created,
            ),
            self._access(store, on_event, cancel),
        )
        return Image(into, record.manifest, record)


def _read_from(source: str | os.PathLike[str] | BinaryIO) -> Path | Raw:
    return Path(source) if isinstance(source, str | os.PathLike) else cast("Raw", source)


def _address(given: str | wherry.Image) -> Address:
    if isinstance(given, str):
        return Address.parse(given, bare=Where.STORE)
    return Address(Where.STORE, name=str(given.record.manifest))


def _finding(images: Sequence[wherry.Image], access: Access) -> Access:
    """Return ``access`` with the images under the names that `_address` gives them."""
    by_name = {str(image.record.manifest): image for image in images}

    def stored(name: str) -> tuple[LocalStore, wherry.Digest, wherry.Digest]:
        image = by_name.get(name)
        if image is None:
            return access.stored(name)
        return image.store, image.root, image.record.manifest

    return access.replace(stored=stored)
