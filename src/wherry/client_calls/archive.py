"""Calls of a client that write and read archives, and make images from files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import BinaryIO

import wherry
from wherry._context import public_call
from wherry._values import as_archive, as_new_name, as_output, as_source, as_stored_address
from wherry.client_calls.base import ClientCalls, Listener
from wherry.config import creation_time, host_platform
from wherry.content.cancel import CancelToken
from wherry.content.events import ignore
from wherry.model.address import Address
from wherry.model.platform import Platform
from wherry.model.reference import Reference


class ArchiveCalls(ClientCalls):
    """Save images to archives, load them, and import the files of a layer."""

    @public_call
    def save(
        self,
        names: str | Address | wherry.Image | Sequence[str | Address | wherry.Image],
        output: str | os.PathLike[str] | BinaryIO,
        *,
        format: wherry.types.Format = "docker",  # noqa: A002 - what it is called everywhere
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        name: str | Reference | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.types.SaveResult]:
        """Write images to an archive or to a new directory.

        The same images always give the same bytes. The file or directory gets its name when it
        is complete.

        Args:
            names: Addresses; a name without a place means the store. An `Image` is read from
                its own store and has no name in the archive.
            output: A path, or a binary file that is open for writing, such as a pipe.
            format: ``docker`` is what ``docker load`` reads, with layers unpacked.
                ``oci-archive``, and the directories ``oci`` and ``dir``, keep every byte.
            platform: Save one image of each index. Without it, the docker format saves the
                image that was pulled last, and other formats save the index if the store has
                all of it. A layout can hold several platforms, with commas between. Their tags
                end in the platform: ``1.4-linux-arm64``.
            name: Another name for the image. A layout accepts a tag such as ``1.4`` too.
        """
        from wherry.image import Image
        from wherry.ops.save import save
        from wherry.ops.save_options import SaveOptions

        options = SaveOptions.build(
            host_platform(),
            self._context.platform(platform),
            format,
            None if name is None else str(name),
        )
        given = [names] if isinstance(names, str | Address | Image) else names
        images = [each for each in given if isinstance(each, Image)]
        target = as_output(output)
        access = self._context.access(store, on_event, cancel, images)
        return save([as_stored_address(each) for each in given], target, options, access)

    @public_call
    def load(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        name: str | Reference | None = None,
        on_failure: Callable[[wherry.WherryError], None] | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.Image]:
        """Load the images of an archive or layout into a store. Idempotent.

        The archive may be compressed, and written by docker, podman, skopeo or `save`. Archives
        of engines before 1.10 are read too. An image that fails does not stop the others.

        Args:
            source: A path, or a binary file that is open for reading, such as a pipe. A file
                is read once, to its end. ``oci:s3://BUCKET/PREFIX`` is a layout in object
                storage.
            platform: Load one image of each index; by default all that the archive has.
            name: The name to give to the image of an archive that holds one image.
            on_failure: Called with the error of each image that cannot be loaded. Without it
                the first error is raised after the others are loaded.
        """
        from wherry.image import Image
        from wherry.image_store import local_store
        from wherry.ops.load import load
        from wherry.ops.load_options import LoadOptions

        context, target = self._context, self._context.store_for(store)
        asked = context.platform(platform)
        given = None if name is None else as_new_name(name)
        options = LoadOptions.build(context.settings, host_platform(), asked, given)
        token, listener = context.token(cancel), on_event or ignore
        local, archive = local_store(target), as_archive(source)
        loaded, failures = load(local, archive, options, token, listener, context.cloud)
        for error in failures:
            if on_failure is None:
                raise error
            on_failure(error)
        return [Image(target, each.root, each.image) for each in loaded]

    @public_call
    def import_(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        reference: str | Reference | None = None,
        *,
        config: bytes | None = None,
        parent: str | Address | None = None,
        platform: str | Platform | None = None,
        changes: Sequence[str] = (),
        message: str | None = None,
        created: int | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.Image:
        """Make an image of one layer: a tar, compressed or not, or the files of a directory.

        Args:
            source: A path, or a binary file that is open for reading. An empty file adds no
                layer.
            reference: The name of the image, without a digest; ``latest`` is the default tag.
            config: JSON that is stored byte for byte. With a ``rootfs`` it is the config of the
                image, and its DiffIDs must match. Without ``rootfs`` it is a version 1 JSON,
                and wherry makes the config from it as for schema1.
            parent: The address of an image to add the layer to; a name without a place means
                the store.
            platform: The platform of the image. With ``parent`` it selects an image of an
                index.
            changes: Dockerfile instructions that change the parent's settings, as
                ``docker import --change`` takes them.
            message: The comment in the history.
            created: The time of creation in seconds since 1970. Files of a directory that are
                newer get this time. Without it ``SOURCE_DATE_EPOCH`` decides, then the clock.

        Raises:
            ValueError: ``config`` goes with neither ``changes`` nor ``message``, and only with
                ``parent`` does it go with ``platform``.
        """
        from wherry.image import Image
        from wherry.image_store import local_store
        from wherry.ops.import_ import import_layer
        from wherry.ops.import_options import ImportOptions

        context, target = self._context, self._context.store_for(store)
        if config is None or parent is not None:
            platform = context.platform(platform)
        options = ImportOptions.build(
            context.settings,
            host_platform(),
            platform,
            config=config,
            parent=parent,
            changes=changes,
            message=message or "",
            epoch=creation_time(created),
        )
        name = None if reference is None else as_new_name(reference)
        access = context.access(store, on_event, cancel)
        local = local_store(target)
        record = import_layer(local, as_source(source), name, options, access)
        return Image(target, record.manifest, record)
