"""Parameter types of the command line: paths, names and addresses."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from wherry.model.address import Address

    AddressParamType = click.ParamType[Address]
    IntParamType = click.ParamType[int]
    RangeParamType = click.ParamType[tuple[int, int, int]]
else:  # older versions of click have no type parameters
    AddressParamType = IntParamType = RangeParamType = click.ParamType

_RANGE = re.compile("([0-9]{1,10}):([0-9]{1,10}):([0-9]{1,10})")
_IDS = 2**32 - 1  # users and groups of Linux


class NonEmptyPath(click.Path):
    """A path that is not empty.

    An empty path would stand for the current directory. A shell passes one for a variable
    that is not set: ``--store "$DIR"``.
    """

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """Refuse an empty path, and convert others as click does."""
        if not os.fspath(value):
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class Size(IntParamType):
    """A number of bytes, with a unit as in ``--limit-rate``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse a size."""
        from wherry.config import parse_rate

        try:
            return value if isinstance(value, int) else int(parse_rate(value))
        except ValueError:
            self.fail("that is not a size; write 500M, 1.5GiB or 10G", param, ctx)


class IdRanges(RangeParamType):
    """A range of ids: the first inside, the first on this machine, and their number."""

    name = "range"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int]:
        """Parse a range."""
        if isinstance(value, tuple):
            return value
        found = _RANGE.fullmatch(value)
        if found is None:
            self.fail("that is not a range; write 0:100000:65536", param, ctx)
        inside, here, count = map(int, found.groups())
        if count < 1 or max(inside, here) + count > _IDS:
            self.fail("a range has at least one id, and none over 4,294,967,294", param, ctx)
        return inside, here, count


class AddressType(AddressParamType):
    """An address, parsed where a name without a place means the place ``bare``."""

    name = "address"

    def __init__(self, bare: str = "docker") -> None:
        self._bare = bare

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Parse an address; its errors are those of other commands' names."""
        # Not needed for `wherry --version`.
        from wherry.errors import InvalidReference
        from wherry.model.address import Address, Where

        del param, ctx
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(value, Where(self._bare))
        except InvalidReference as error:
            if value.startswith(("/", "./", "../")):
                error.hint = f"write a path after its kind: oci:{value}, docker-archive:{value}, …"
            raise


class RegistryName(AddressType):
    """The name of a repository in a registry, with or without ``docker://``."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Refuse addresses of other places."""
        from wherry.model.address import Where

        address = super().convert(value, param, ctx)
        if address.where is not Where.REGISTRY:
            raise click.UsageError(f"{value}: expected the name of a repository in a registry", ctx)
        return address


class StoreName(AddressType):
    """A name, id or digest of an image in the store, with or without ``store:``.

    ``done`` completes the message for other addresses: "only images in the store can be …".
    """

    def __init__(self, done: str) -> None:
        super().__init__("store")
        self.done = done

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Refuse addresses of other places."""
        from wherry.model.address import Where

        address = super().convert(value, param, ctx)
        if address.where is not Where.STORE:
            raise click.UsageError(f"{value}: only images in the store can be {self.done}", ctx)
        return address
