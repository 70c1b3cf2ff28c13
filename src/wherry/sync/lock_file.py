"""The file images.lock: the digests that names stood for, as TOML."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from wherry.content.output import whole_file
from wherry.errors import InvalidDigest, InvalidReference, NotFound, WherryError
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.registry import toml_files
from wherry.sync.toml_table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LOCK = 16 * 2**20  # bytes of a lock file, about 10,000 images for 8 platforms
_VERSION = "1.0"
_ROOT = ("lock-version", "created-by", "images")
_IMAGE = ("name", "source", "digest", "media-type", "size", "locked-at", "selected", "platforms")
_PLATFORM = ("platform", "digest", "size")


class LockedPlatform(Record):
    """The image for one platform.

    Attributes:
        platform: ``os/arch[/variant]``, as the index or the config states it.
        digest: The digest of its manifest.
        size: The bytes of its config and layers; None for schema1.
    """

    platform: str
    digest: Digest
    size: int | None = None


class LockedImage(Record):
    """A name and the digest that it stood for.

    Attributes:
        name: The full name, with a tag or a digest.
        digest: The digest of its index or manifest.
        media_type: The media type of that document.
        size: The bytes of that document.
        locked_at: When the name stood for it first.
        selected: The platforms that were asked for; empty means all.
        platforms: The images for platforms.
    """

    name: Reference
    digest: Digest
    media_type: str
    size: int
    locked_at: datetime.datetime
    selected: tuple[Platform, ...] = ()
    platforms: tuple[LockedPlatform, ...] = ()


class Lock(Record):
    """The content of a lock file; the images are in the order of their names."""

    images: tuple[LockedImage, ...] = ()

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """Read a lock file; None if there is none.

        Raises:
            WherryError: It cannot be read, or breaks a rule; the error has the place in it.
        """
        raw = toml_files.read(file, MAX_LOCK)
        return None if raw is None else cls.parse(raw, file)

    @classmethod
    def read_existing(cls, file: Path) -> Self:
        """Read a lock file that has to be there; raises as `read` does."""
        found = cls.read(file)
        if found is None:
            error = WherryError("there is no such file", hint="`wherry lock` writes it")
            raise error.within(file)
        return found

    @classmethod
    def parse(cls, raw: bytes, file: Path) -> Self:
        """Parse the content of a lock file; raises as `read` does."""
        try:
            return cls(tuple(_images(toml_files.parse(raw, file, MAX_LOCK))))
        except WherryError as error:
            raise error.within(file) from None

    @property
    def by_name(self) -> Mapping[str, LockedImage]:
        """The images by their full names."""
        return {str(image.name): image for image in self.images}

    def digest_of(self, reference: Reference) -> Digest:
        """Return the digest of a name; a digest in the name itself decides.

        Raises:
            NotFound: The lock does not have the name.
        """
        if reference.digest is not None:
            return reference.digest
        wanted = reference.with_default_tag()
        found = self.by_name.get(str(wanted))
        if found is None:
            raise NotFound(
                f"{wanted.familiar} is not locked",
                hint="`wherry lock` locks what images.toml names",
            )
        return found.digest

    def write(self, file: Path) -> None:
        """Write the lock to a file, as a whole.

        Raises:
            WherryError: The file cannot be written.
        """
        try:
            with whole_file(file) as descriptor, open(descriptor, "wb", closefd=False) as output:
                output.write(self.to_toml().encode())
        except OSError as error:
            raise WherryError(str(error.strerror)).within(file) from error

    def to_toml(self) -> str:
        """Return the content of the file; equal locks have equal content."""
        lines = [f"lock-version = {_quote(_VERSION)}", 'created-by = "wherry"']
        for image in self.images:
            lines += _image_lines(image)
        return "\n".join([*lines, ""])

    def to_json(self) -> list[dict[str, Any]]:
        """Return the images with the keys of the file."""
        return [_image_json(image) for image in self.images]


LockOrPath: TypeAlias = Lock | str | os.PathLike[str]


def _images(root: Mapping[str, Any]) -> Iterator[LockedImage]:
    version = Table(root).required_text("lock-version")
    if version.partition(".")[0] != _VERSION.partition(".")[0]:
        hint = "a newer wherry may read it"
        raise WherryError(f"is {version!r}, expected {_VERSION!r}", hint=hint).within(
            "lock-version"
        )
    strict = version == _VERSION  # a later minor version may have more keys
    table = Table(root, "", _ROOT if strict else None)
    seen: set[Reference] = set()
    for each in table.tables("images", _IMAGE if strict else None):
        image = _image(each, _PLATFORM if strict else None)
        if image.name in seen:
            each.fail("name", f"{image.name} is there twice")
        seen.add(image.name)
        yield image


def _image(table: Table, keys: tuple[str, ...] | None) -> LockedImage:
    text = table.required_text("name")
    try:
        name = Reference.parse(text)
    except InvalidReference as error:
        raise error.within(table.at("name")) from None
    if name.is_name_only or str(name) != text:
        table.fail("name", f"is {text!r}, expected a full name with a tag or digest")
    size = table.size("size")
    if size is None:
        table.fail("", "size is missing")
    digest = _digest(table)
    if name.digest not in {None, digest}:
        table.fail("digest", "is another one than in the name")
    selected = (_platform(*each) for each in table.places("selected"))
    return LockedImage(
        name=name,
        digest=digest,
        media_type=table.required_text("media-type"),
        size=size,
        locked_at=table.moment("locked-at"),
        selected=tuple(selected),
        platforms=tuple(
            LockedPlatform(
                each.required_text("platform"),
                _digest(each),
                each.size("size"),
            )
            for each in table.tables("platforms", keys)
        ),
    )


def _digest(table: Table) -> Digest:
    try:
        return Digest.parse(table.required_text("digest"))
    except InvalidDigest as error:
        raise error.within(table.at("digest")) from None


def _platform(place: str, text: str) -> Platform:
    try:
        return Platform.parse(text)
    except InvalidReference as error:
        raise error.within(place) from None


def _image_json(image: LockedImage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": str(image.name),
        "source": image.name.name,
        "digest": str(image.digest),
        "media-type": image.media_type,
        "size": image.size,
        "locked-at": image.locked_at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if image.selected:
        found["selected"] = [each.specifier for each in image.selected]
    if image.platforms:
        found["platforms"] = [
            {"platform": each.platform, "digest": str(each.digest)}
            | ({} if each.size is None else {"size": each.size})
            for each in image.platforms
        ]
    return found


def _image_lines(image: LockedImage) -> Iterator[str]:
    fields = _image_json(image)
    platforms = fields.pop("platforms", [])
    moment = fields.pop("locked-at")
    selected = fields.pop("selected", [])
    yield from ("", "[[images]]")
    yield from (f"{key} = {_quote(value)}" for key, value in fields.items())
    yield f"locked-at = {moment}"
    if selected:
        yield f"selected = [{', '.join(map(_quote, selected))}]"
    for each in platforms:
        yield from ("", "[[images.platforms]]")
        yield from (f"{key} = {_quote(value)}" for key, value in each.items())


def _quote(value: str | int) -> str:
    """Return a basic string or an integer of TOML."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
