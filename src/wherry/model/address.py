"""Addresses: where an image is and what it is called there (SPEC: "Addresses")."""

from __future__ import annotations

import enum
import re

from wherry.errors import InvalidDigest, InvalidReference
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference


class Where(enum.StrEnum):
    """The places that images are in; the value is what an address begins with."""

    REGISTRY = "docker"
    STORE = "store"
    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    DIR = "dir"
    ANY = ""  # the store, and else the registry: what a bare name may mean


_SCHEME = re.compile(r"(store|oci|oci-archive|docker-archive|dir):")
_POSITION = re.compile(r"@([0-9]{1,9})")


class Address(Record):
    """An image in one of the places; made by `parse`.

    ``path`` is the file or directory of an archive or layout. ``name`` is what the image is
    called in the store (a reference, an id, a beginning of one) or in an archive, "" where
    there is but one. ``reference`` is it as a reference, where it has to be one: in a
    registry (with ``latest`` where it has neither tag nor digest) and in docker archives.
    ``digest`` and ``position`` (from 0) stand for it in archives.
    """

    where: Where
    name: str = ""
    path: str = ""
    reference: Reference | None = None
    digest: Digest | None = None
    position: int | None = None

    @classmethod
    def parse(cls, text: str, bare: Where = Where.REGISTRY) -> Address:
        """Read an address; ``bare`` is where a name without a place is looked for.

        Raises `InvalidReference`, which knows the offending character's position.
        """
        if text.startswith("docker://"):
            return _in_registry(text, len("docker://"))
        scheme = _SCHEME.match(text)
        if scheme is None:
            return _in_registry(text, 0) if bare is Where.REGISTRY else _named(text, 0, bare)
        where, start = Where(scheme.group(1)), scheme.end()
        if where is Where.STORE:
            return _named(text, start, where)
        return _archived(text, start, where)

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
                called = self.name or position or digest
                return f"{self.where}:{self.path}" + (f":{called}" if called else "")


def _in_registry(text: str, start: int) -> Address:
    reference = _reference(text, start)
    return Address(Where.REGISTRY, name=text[start:], reference=reference)


def _named(text: str, start: int, where: Where) -> Address:
    if start == len(text):
        raise _error("the image's name is missing", text, start)
    return Address(where, name=text[start:])


def _archived(text: str, start: int, where: Where) -> Address:
    """Read what follows the place; the path ends at its first colon, but in a ``dir:``."""
    rest = text[start:]
    path, colon, name = (rest, "", "") if where is Where.DIR else rest.partition(":")
    at = start + len(path) + 1
    if not path:
        raise _error("the path is missing", text, start)
    if "\0" in path:
        raise _error("a path has no NUL in it", text, start + path.index("\0"))
    if colon and not name:
        raise _error("the image's name is missing behind the colon", text, at)
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
            raise _error("a position is a number from 0 on", text, at + 1)
        return Address(Where.DOCKER_ARCHIVE, path=path, position=int(position.group(1)))
    return Address(Where.DOCKER_ARCHIVE, name=name, path=path, reference=_reference(text, at))


def _reference(text: str, start: int) -> Reference:
    try:
        return Reference.parse(text[start:]).with_default_tag()
    except InvalidReference as error:
        error.text, error.position = text, start + error.position
        raise


def _error(message: str, text: str, position: int) -> InvalidReference:
    return InvalidReference(f"invalid address: {message}", text=text, position=position)
