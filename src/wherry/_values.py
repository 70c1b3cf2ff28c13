"""Values that public calls take: parsed from text, or as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import wherry
from wherry.model.address import Address, Where
from wherry.model.cloud_url import is_cloud_url
from wherry.model.reference import Reference

if TYPE_CHECKING:
    from wherry.content.protocols import RawStream


def as_reference(given: str | Reference) -> Reference:
    """Return a reference, parsed from text with or without ``docker://``."""
    if isinstance(given, Reference):
        return given
    return Reference.parse(given.removeprefix("docker://"))


def as_repository(given: str | Reference) -> Reference:
    """Return a reference that has neither tag nor digest."""
    if isinstance(given, Reference):
        return given.as_name()
    return Reference.parse_name(given.removeprefix("docker://"))


def as_new_name(given: str | Reference) -> Reference:
    """Return a name to give to an image: with ``latest`` by default, never with a digest."""
    return given.as_new() if isinstance(given, Reference) else Reference.parse_new(given)


def as_address(given: str | Address, bare: Where = Where.REGISTRY) -> Address:
    """Return an address; ``bare`` is the place of a name that has none."""
    return given if isinstance(given, Address) else Address.parse(given, bare)


def as_stored_address(given: str | Address | wherry.Image) -> Address:
    """Return the address of an image, which is in the store where the text names no place."""
    if isinstance(given, str | Address):
        return as_address(given, Where.STORE)
    return Address(Where.STORE, name=str(given.record.manifest))


def as_destination(given: str | Reference | Address) -> Address:
    """Return the address of a destination; a name without a place is in a registry."""
    return Address.of(given) if isinstance(given, Reference) else as_address(given)


def as_pushed(given: str | Reference | Address) -> Address:
    """Return the address of an image to push; a name without a place is in the store."""
    if isinstance(given, Reference):
        return Address(Where.STORE, name=str(given), given=given)
    return as_address(given, Where.STORE)


def as_lock(given: wherry.types.LockOrPath) -> wherry.types.Lock:
    """Return a lock, read from its file if it is a path."""
    from wherry.sync.lock_file import Lock

    return given if isinstance(given, Lock) else Lock.read_existing(Path(given))


def locked_address(address: Address, given: wherry.types.LockOrPath | None) -> Address:
    """Return an address in a registry with its digest in a lock; others as they are.

    Raises:
        NotFound: The lock does not have the name.
    """
    reference = address.reference
    if given is None or reference is None or address.where is not Where.REGISTRY:
        return address
    return Address.of(reference._replace(digest=as_lock(given).digest_of(reference)))


def as_archive(given: str | os.PathLike[str] | BinaryIO) -> Path | RawStream | Address:
    """Return an archive to load: a path, a file, or the address of a layout in object storage.

    Raises:
        InvalidReference: The address is invalid, or names an image.
    """
    place = given.removeprefix("oci:") if isinstance(given, str) else ""
    if not isinstance(given, str) or not is_cloud_url(place):
        return as_source(given)
    address = Address.parse(f"oci:{place}")
    if address == Address(Where.OCI, path=address.path):
        return address
    text, name = str(address), len(f"oci:{address.path}:")
    message = "load takes all images of a layout"
    hint = f"wherry copy {text} store:NAME"
    raise wherry.InvalidReference(message, text=text, position=name, hint=hint)


def as_output(given: str | os.PathLike[str] | BinaryIO) -> Path | BinaryIO:
    """Return a path, or a file to write to.

    Raises:
        Unsupported: It is the address of a place in object storage.
    """
    if isinstance(given, str) and is_cloud_url(given.removeprefix("oci:")):
        message = "save writes files and directories, and no object storage"
        hint = f"wherry copy NAME oci:{given.removeprefix('oci:')}"
        raise wherry.Unsupported(message, hint=hint)
    return Path(given) if isinstance(given, str | os.PathLike) else given


def as_source(given: str | os.PathLike[str] | BinaryIO) -> Path | RawStream:
    """Return a path, or a file as what reads of it take."""
    return Path(given) if isinstance(given, str | os.PathLike) else cast("RawStream", given)
