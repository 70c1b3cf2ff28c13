"""The command ``wherry rm``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wherry.cli.completion import image_names
from wherry.cli.main import global_options
from wherry.cli.param_types import StoreName
from wherry.cli.resolve_name import call_for_each

if TYPE_CHECKING:
    from wherry.model.address import Address
    from wherry.store.removal import RemovalReport

EXAMPLES = """\b
Examples:
  wherry rm python:3.12-slim
  wherry rm 0f5c1c1b9a7e
  wherry rm sha256:4abc…
"""


@click.command("rm", epilog=EXAMPLES)
@click.argument(
    "images",
    type=StoreName("removed"),
    nargs=-1,
    required=True,
    metavar="NAME|ID|DIGEST…",
    shell_complete=image_names,
)
@click.option(
    "-f", "--force", is_flag=True, help="Remove an id even if several repositories name it."
)
@click.pass_context
def command(ctx: click.Context, images: tuple[Address, ...], force: bool) -> int:
    """Remove names, and images with their last name.

    Layers that other images use stay. An id removes all names of its image. The digest of a
    manifest removes the names of that manifest. If an image is not there, the others are still
    removed.

    `wherry gc` removes images without a name.
    """
    store = global_options(ctx).store()
    code = call_for_each(ctx, images, lambda image: _print(store.remove(image, force=force)))
    store.close()
    return code


def _print(removed: RemovalReport) -> None:
    for name in removed.names:
        click.echo(f"Untagged: {name.familiar}")
    for digest in removed.collected.images:
        click.echo(f"Deleted: {digest}")
    for digest in removed.collected.layers:
        click.echo(f"Deleted: {digest}")
