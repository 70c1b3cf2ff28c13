"""The options of `save`, and the names of images in archives."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from wherry.archive.layout_names import is_whole, parse_layout_name
from wherry.errors import Unsupported
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.model.reference import Reference

Format: TypeAlias = Literal["docker", "oci-archive", "oci", "dir"]

DIRECTORIES = {"oci", "dir"}
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9._]+")


class SaveOptions(Record):
    """What to save of the images, and how.

    Without ``platforms`` the image that a name of the store shows is saved, or the image for
    ``host``. Each of several platforms is a root of its own in a layout. ``name`` replaces an
    image's own name: a whole name, or a tag alone in a layout. ``jobs`` is the number of members
    of a file that are written at a time.
    """

    host: Platform
    platforms: tuple[Platform, ...] = ()
    format: Format = "docker"
    name: str = ""
    jobs: int = 2

    @classmethod
    def build(
        cls,
        host: Platform,
        platform: str | Platform | None = None,
        format: Format = "docker",  # noqa: A002 - as the public call names it
        name: str | None = None,
    ) -> SaveOptions:
        """Make the options that the arguments of a call ask for.

        Raises:
            InvalidReference: ``platform`` or ``name`` does not parse.
        """
        if isinstance(platform, str):
            platforms = Platform.parse_list(platform, host)
        else:
            platforms = () if platform is None else (platform,)
        if name is not None:
            _check_name(name, format)
        return cls(host, platforms, format, name or "")

    def check(self, count: int) -> None:
        """Raise `Unsupported` if the format cannot hold ``count`` images."""
        if self.format == "dir" and count * max(1, len(self.platforms)) > 1:
            raise Unsupported("a flat directory holds only one image", hint="use --format oci")
        if self.format == "docker" and len(self.platforms) > 1:
            raise Unsupported(
                "a docker archive holds one platform of an image",
                hint="use --format oci or oci-archive",
            )
        if self.name and count > 1:
            raise Unsupported(f"a name needs exactly one image, not {count}")
        if self.name and self.format == "dir":
            raise Unsupported("a flat directory cannot hold a name", hint="use --format oci")

    def names(
        self, own: Reference | None, platform: Platform | None
    ) -> dict[str, Reference | None]:
        """Return the name of an image in the archive.

        Its value is the reference, or None for a tag alone. ``own`` is the image's own name.
        ``platform`` is None unless several are saved: then each platform has its own tag.
        """
        given = self.name
        ending = "" if platform is None else "-" + _NOT_IN_TAGS.sub("-", str(platform)).strip("-")
        if given and not _is_whole(given, self.format):
            return {f"{given}{ending}": None}
        # An image that was asked for by digest has no name in the archive, whatever its tag.
        name = Reference.parse_new(given) if given else own
        if name is None or name.tag is None or name.digest is not None:
            return {}
        if ending:
            name = name.with_tag(f"{name.tag}{ending}")
        return {given if given and not ending else str(name): name}


def _is_whole(name: str, form: Format) -> bool:
    """Tell a whole name from a tag alone, which only layouts accept."""
    return form == "docker" or is_whole(name)


def _check_name(name: str, form: Format) -> None:
    if form == "docker":
        Reference.parse_new(name)
    else:
        parse_layout_name(name)
