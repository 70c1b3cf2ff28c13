"""``dray rm``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dray.cli.address import store_name
from dray.cli.main import settings

if TYPE_CHECKING:
    from dray.store.removal import Removed

EXAMPLES = """\b
Examples:
  dray rm python:3.12-slim
  dray rm 0f5c1c1b9a7e
  dray images -q --filter dangling=true | xargs dray rm
"""


@click.command("rm", epilog=EXAMPLES)
@click.argument("images", nargs=-1, required=True, metavar="NAME|ID…")
@click.option("-f", "--force", is_flag=True, help="An id: though several repositories name it.")
@click.pass_context
def command(ctx: click.Context, images: tuple[str, ...], force: bool) -> None:
    """Remove names, and images with their last name; layers that others use stay.

    An id stands for all names of its image.
    """
    store = settings(ctx).store()
    for image in images:
        _print(store.remove(store_name(image), force=force))
    store.close()


def _print(removed: Removed) -> None:
    for name in removed.names:
        click.echo(f"Untagged: {name.familiar}")
    for digest in removed.collected.images:
        click.echo(f"Deleted: {digest}")
    for digest in removed.collected.layers:
        click.echo(f"Deleted: {digest}")
