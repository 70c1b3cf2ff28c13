"""Paths as the command line takes them."""

from __future__ import annotations

import os
from typing import Any

import click


class Place(click.Path):
    """A path; an empty one is refused, since it would stand for the current directory.

    It is what a variable leaves that is not set: ``--store "$DIR"``.
    """

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """Refuse nothing at all, and take what click takes."""
        if not os.fspath(value):
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)
