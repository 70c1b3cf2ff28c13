"""Opening archives and layouts that a copy writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.layout_names import parse_layout_name
from wherry.errors import InvalidReference
from wherry.model.address import Where
from wherry.model.cloud_settings import CloudSettings
from wherry.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.archive.archive_sink import ArchiveSink
    from wherry.content.cancel import CancelToken
    from wherry.model.address import Address


def open_archive_sink(
    address: Address, cancel: CancelToken, cloud: Callable[[], CloudSettings] = CloudSettings
) -> ArchiveSink:
    """Open an archive or layout to write to; nothing is written before the first blob.

    Args:
        address: The archive or layout.
        cancel: Stops what waits.
        cloud: Returns how to connect to object storage.

    Returns:
        A sink that is a context manager. The end of its block makes the image visible, unless
        the block fails.

    Raises:
        InvalidReference: The address has a digest, a position or a name that cannot be given.
        NotFound: The directory above does not exist.
        StoreError: There is something else at the path, or it cannot be read.
        Unsupported: The layout has an unknown version.
    """
    if address.digest is not None or address.position is not None:
        text = str(address)
        raise InvalidReference(
            "the name of a new image is neither a digest nor a position",
            text=text,
            position=text.index("@", len(f"{address.where}:{address.path}")),
        )
    if address.name:
        _check_name(address)
    match address.where:
        case Where.OCI if address.in_cloud:
            from wherry.archive.cloud_sink import CloudSink

            return CloudSink(address.path, cloud(), cancel)
        case Where.OCI:
            from wherry.archive.layout_sink import LayoutSink

            return LayoutSink(address.path, cancel)
        case Where.DIR:
            from wherry.archive.flat_sink import FlatSink

            return FlatSink(address.path, cancel)
        case Where.OCI_ARCHIVE:
            from wherry.archive.oci_archive_sink import OciArchiveSink

            return OciArchiveSink(address.path)
        case _:
            from wherry.archive.docker_archive_sink import DockerArchiveSink

            return DockerArchiveSink(address.path)


def _check_name(address: Address) -> None:
    """Raise `InvalidReference` for a name that an image of the place cannot have."""
    if address.where is Where.DOCKER_ARCHIVE:
        Reference.parse_new(address.name)
    else:
        parse_layout_name(address.name)
