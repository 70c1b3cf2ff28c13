"""Addresses: where an image is, and its name there (docs/command.md, "Addresses")."""

from __future__ import annotations

import enum
import re
from typing import TypeAlias

from wherry.errors import InvalidDigest, InvalidReference
from wherry.model.arguments import TEXT, checked
from wherry.model.cloud_url import find_url_end, is_cloud_url
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference, is_short


class Where(enum.StrEnum):
    """A place of images; the value is what an address begins with."""

    REGISTRY = "docker"
    STORE = "store"
    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    DIR = "dir"
    ANY = ""  # the store, or the registry if the store has no such image


_SCHEME = re.compile(r"(store|oci|oci-archive|docker-archive|dir):")
_POSITION = re.compile(r"@([0-9]{1,9})")


class Address(Record):
    """An image at a place; made by `parse` or `of`.

    Attributes:
        where: The place.
        name: The name as it was written. In a store it is a reference, an id or the prefix of
            an id. It is empty if the address of an archive has no name.
        path: The file or directory of an archive or layout, or the URL of a layout in object
            storage: ``s3://BUCKET/PREFIX``, without a slash at the end.
        given: ``name`` as a reference, without a default tag; None if it is not a reference.
        digest: The digest of an image in an archive.
        position: The position of an image in an archive, from 0.
        short: Whether the name has no registry and no place: registries.conf may complete it.
    """

    where: Where
    name: str = ""
    path: str = ""
    given: Reference | None = None
    digest: Digest | None = None
    position: int | None = None
    short: bool = False

    @property
    def reference(self) -> Reference | None:
        """``given`` with the default tag ``latest``; None in a store."""
        if self.given is None or self.where in {Where.STORE, Where.ANY}:
            return None
        return self.given.with_default_tag()

    @property
    def in_cloud(self) -> bool:
        """Whether ``path`` is a URL of object storage."""
        return self.where is Where.OCI and is_cloud_url(self.path)

    @classmethod
    def of(cls, reference: Reference) -> Address:
        """Return the address of a name in a registry."""
        return cls(Where.REGISTRY, name=str(reference), given=reference)

    @classmethod
    @checked({"text": TEXT})
    def parse(cls, text: str, bare: Where = Where.REGISTRY) -> Address:
        """Parse an address.

        Args:
            text: ``docker://NAME``, ``store:NAME``, ``oci:PATH[:NAME]``,
                ``oci:s3://BUCKET/PREFIX[:NAME]`` and so on, or a name without a place.
            bare: Where to look for a name without a place.

        Raises:
            InvalidReference: The text is not an address; the error has the position.
        """
        if text.startswith("docker://"):
            return _in_registry(text, len("docker://"))
        scheme = _SCHEME.match(text)
        if scheme is None:
            found = _in_registry(text, 0) if bare is Where.REGISTRY else _parse_name(text, 0, bare)
            may_be_short = bare in {Where.REGISTRY, Where.ANY} and found.given is not None
            return found.replace(short=True) if may_be_short and is_short(text) else found
        where, start = Where(scheme.group(1)), scheme.end()
        if where is Where.STORE:
            return _parse_name(text, start, where)
        return _parse_archive(text, start, where)

    def __str__(self) -> str:
        match self.where:
            case Where.REGISTRY:
                return f"docker://{self.reference}"
            case Where.ANY:
                return self.name
            case Where.STORE:
                return f"store:{self.name}"
            case _:
                position = "" if self.position is None else f"@{self.position}"
                digest = "" if self.digest is None else f"@{self.digest}"
                selector = self.name or position or digest
                return f"{self.where}:{self.path}" + (f":{selector}" if selector else "")


def _in_registry(text: str, start: int) -> Address:
    return Address(Where.REGISTRY, name=text[start:], given=_reference(text, start))


def _parse_name(text: str, start: int, where: Where) -> Address:
    if start == len(text):
        raise _error("the image's name is missing", text, start)
    try:
        given = Reference.parse(text[start:])
    except InvalidReference:  # an id, or a name that the look-up in the store refuses
        given = None
    return Address(where, name=text[start:], given=given)


def _parse_archive(text: str, start: int, where: Where) -> Address:
    """Parse a path and a name; a path ends at a colon, except after ``dir:``."""
    rest = text[start:]
    if is_cloud_url(rest):
        if where is not Where.OCI:
            raise _error("only a layout (oci:) can be in object storage", text, start)
        end = find_url_end(text, start)
        path, colon, name = text[start:end], text[end : end + 1], text[end + 1 :]
        at, path = end + 1, path.rstrip("/")
    else:
        path, colon, name = (rest, "", "") if where is Where.DIR else rest.partition(":")
        at = start + len(path) + 1
    if not path:
        raise _error("the path is missing", text, start)
    if "\0" in path:
        raise _error("a path cannot contain a NUL byte", text, start + path.index("\0"))
    if colon and not name:
        raise _error("the image's name is missing after the colon", text, at)
    if where is Where.DOCKER_ARCHIVE and name:
        return _in_docker_archive(text, path, at)
    if name.startswith("@"):
        try:
            return Address(where, path=path, digest=Digest.parse(name[1:]))
        except InvalidDigest as error:
            raise _error(error.message, text, at + 1) from None
    return Address(where, name=name, path=path)


def _in_docker_archive(text: str, path: str, at: int) -> Address:
    name = text[at:]
    if name.startswith("@"):
        position = _POSITION.fullmatch(name)
        if position is None:
            raise _error("a position is a number, counted from 0", text, at + 1)
        return Address(Where.DOCKER_ARCHIVE, path=path, position=int(position.group(1)))
    return Address(Where.DOCKER_ARCHIVE, name=name, path=path, given=_reference(text, at))


def _reference(text: str, start: int) -> Reference:
    try:
        return Reference.parse(text[start:])
    except InvalidReference as error:
        error.text, error.position = text, start + error.position
        raise


def _error(message: str, text: str, position: int) -> InvalidReference:
    return InvalidReference(f"invalid address: {message}", text=text, position=position)


# What an image of a store is found by.
ImageName: TypeAlias = str | Digest | Reference | Address
