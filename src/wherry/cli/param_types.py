"""Parameter types of the command line: paths, names and addresses."""

from __future__ import annotations

import os
from typing import Any

import click
from click.types import StringParamType


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


class RegistryName(StringParamType):
    """The name of a repository in a registry, with or without ``docker://``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse addresses of other places; return a name as it was typed."""
        from wherry.model.address import Address, Where  # not needed for `wherry --version`

        text = super().convert(value, param, ctx)
        if Address.parse(text).where is not Where.REGISTRY:
            raise click.UsageError(f"{text}: expected the name of a repository in a registry", ctx)
        return text


class StoreName(StringParamType):
    """A name, id or digest of an image in the store, with or without ``store:``.

    ``done`` completes the message for other addresses: "only images of the store can be …".
    """

    def __init__(self, done: str) -> None:
        self.done = done

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Remove ``store:``; refuse addresses of other places."""
        from wherry.model.address import Address, Where  # not needed for `wherry --version`

        text = super().convert(value, param, ctx)
        address = Address.parse(text, bare=Where.STORE)
        if address.where is not Where.STORE:
            raise click.UsageError(f"{text}: only images of the store can be {self.done}", ctx)
        return address.name
