"""The file images.toml: which images to lock or to keep in sync (docs/command.md, "lock")."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Literal

from wherry.errors import InvalidReference, WherryError
from wherry.model.address import Address
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.model.semver import Range
from wherry.registry import toml_files
from wherry.sync.toml_table import Table, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SELECTION = ("match", "semver", "newest", "by", "allow", "deny")
_SHARED = (*_SELECTION, "platforms", "referrers", "format", "destination")
_ENTRY = ("source", "tags", *_SHARED)
_FIELDS = ("registry", "path", "name", "tag")  # of a template for destinations
_ALL = "all"  # platforms


class ImageEntry(Record):
    """One entry of the file: a repository and which of its images, or one image.

    Attributes:
        place: Where it is in the file, such as ``images[2]``.
        source: The image, or the repository if it has neither a tag nor a digest.
        tags: Names of tags. A tag is chosen if it is one of these, if ``match`` finds it, or if
            it is in the range ``semver``. Without all three, every tag is chosen.
        match: A regular expression, searched for anywhere in the tag.
        semver: A range of versions.
        newest: How many of the chosen tags to keep, the newest.
        by: How ``newest`` orders tags.
        allow: Regular expressions; a tag that none of them finds is dropped.
        deny: Regular expressions; a tag that one of them finds is dropped.
        platforms: The platforms; empty means all.
        referrers: Whether signatures, SBOMs and other referrers belong to it.
        format: The format at the destination; empty keeps the image as it is.
        destination: The template of the name at the destination; may be empty.
    """

    place: str
    source: Reference
    tags: tuple[str, ...] = ()
    match: str = ""
    semver: str = ""
    newest: int | None = None
    by: Literal["version", "created"] = "version"
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    referrers: bool = False
    format: str = ""
    destination: str = ""

    @property
    def is_repository(self) -> bool:
        """Whether it stands for tags of a repository, not for one image."""
        return self.source.is_name_only

    @property
    def takes_every_tag(self) -> bool:
        """Whether nothing says which tags of the repository are meant."""
        return self.is_repository and not (self.tags or self.match or self.semver)

    @property
    def needs_tag_list(self) -> bool:
        """Whether the registry has to list its tags."""
        return self.is_repository and bool(self.match or self.semver or not self.tags)

    def destination_of(self, image: Reference) -> str:
        """Return the address at the destination for an image of this entry.

        A template without ``{tag}`` keeps the tag, or the digest of an image without a tag.
        """
        return _fill(self.destination, image)


def read_image_list(file: Path) -> list[ImageEntry]:
    """Read a file of images.

    Raises:
        WherryError: There is no such file, or it breaks a rule; the error has the place in it.
    """
    raw = toml_files.read(file)
    if raw is None:
        hint = "it names the images to lock; `--from` reads compose files and others instead"
        raise WherryError("there is no such file", hint=hint).within(file)
    return parse_image_list(raw, file)


def parse_image_list(raw: bytes, file: Path) -> list[ImageEntry]:
    """Parse the content of a file of images; raises as `read_image_list` does."""
    found = toml_files.parse(raw, file)
    try:
        return _entries(Table(found, "", ("version", "defaults", "images")))
    except WherryError as error:
        raise error.within(file) from None


def _entries(root: Table) -> list[ImageEntry]:
    version = root.count("version")
    if version not in {None, 1}:
        root.fail("version", f"is {version}, expected 1", hint="a newer wherry may read it")
    defaults = root.table("defaults", _SHARED)
    _entry_fields(defaults)  # an error there is one of the defaults, not of the first entry
    found = [_entry(each, defaults.value) for each in root.tables("images", _ENTRY)]
    if not found:
        raise WherryError("there are no images in it", hint="each begins with [[images]]")
    return found


def _entry(own: Table, defaults: Mapping[str, object]) -> ImageEntry:
    source = _source(own)
    tags = own.places("tags")
    for place, tag in tags:
        try:
            source.with_tag(tag)
        except InvalidReference as error:
            raise error.within(place) from None
    if not source.is_name_only:
        for key in ("tags", *_SELECTION):
            if key in own.value:
                own.fail(key, "is for a source without a tag or digest")
    fields = _entry_fields(Table({**defaults, **own.value}, own.place))
    return fields.replace(source=source, tags=tuple(tag for _, tag in tags))


def _source(own: Table) -> Reference:
    text = own.required_text("source")
    try:
        return Reference.parse(text.removeprefix("docker://"))
    except InvalidReference as error:
        raise error.within(own.at("source")) from None


def _entry_fields(table: Table) -> ImageEntry:
    """Check the keys that entries and defaults share."""
    by = table.choice("by", ("version", "created"))
    return ImageEntry(
        place=table.place,
        source=Reference("", ""),  # the caller knows it
        match=_pattern(table.at("match"), table.text("match")),
        semver=_range(table.at("semver"), table.text("semver")),
        newest=table.count("newest"),
        by="created" if by == "created" else "version",
        allow=tuple(_pattern(*each) for each in table.places("allow")),
        deny=tuple(_pattern(*each) for each in table.places("deny")),
        platforms=_platforms(table),
        referrers=table.flag("referrers"),
        format=table.choice("format", ("oci", "docker")),
        destination=_template(table),
    )


def _pattern(place: str, text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        at = getattr(error, "pos", None) or 0
        message = f"invalid regular expression: {getattr(error, 'msg', error)}"
        raise InvalidReference(message, text=text, position=at).within(place) from None
    return text


def _range(place: str, text: str) -> str:
    if text:
        try:
            Range(text)
        except InvalidReference as error:
            raise error.within(place) from None
    return text


def _platforms(table: Table) -> tuple[Platform, ...]:
    value = table.value.get("platforms")
    if value is None or value == _ALL:
        return ()
    if not isinstance(value, list):
        shown = repr(value) if isinstance(value, str) else kind_of(value)
        table.fail("platforms", f'is {shown}, expected "all" or an array of strings')
    found = []
    for place, text in table.places("platforms"):
        try:
            found.append(Platform.parse(text))
        except InvalidReference as error:
            raise error.within(place) from None
    return tuple(dict.fromkeys(found))


def _template(table: Table) -> str:
    text = table.text("destination")
    if not text:
        return ""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        table.fail("destination", "has a brace without its other half")
    for _, field, form, conversion in parts:
        if field is not None and (field not in _FIELDS or form or conversion):
            allowed = " ".join(f"{{{each}}}" for each in _FIELDS)
            table.fail("destination", f"{{{field}}} is not known", hint=f"known are: {allowed}")
    try:
        Address.parse(_fill(text, Reference("registry.example", "path/name", "tag")))
    except InvalidReference as error:
        table.fail("destination", error.message)
    return text


def _fill(template: str, image: Reference) -> str:
    tag = image.tag or ""
    name = image.path.rpartition("/")[2]
    fields = {"registry": image.domain, "path": image.path, "name": name, "tag": tag}
    filled = string.Formatter().vformat(template, (), fields)
    if "{tag}" in template:
        return filled
    return f"{filled}:{tag}" if tag else f"{filled}@{image.digest}"
