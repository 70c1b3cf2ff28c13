"""The command ``wherry tag``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wherry.cli.completion import image_names
from wherry.cli.main import global_options
from wherry.cli.param_types import StoreName

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry tag alpine mine:1
  wherry tag 0f5c1c1b9a7e registry.example/team/app:1.4.2
"""


@click.command("tag", epilog=EXAMPLES)
@click.argument("image", type=StoreName("tagged"), metavar="NAME|ID", shell_complete=image_names)
@click.argument(
    "names",
    type=StoreName("given names"),
    nargs=-1,
    required=True,
    metavar="NEW-NAME…",
    shell_complete=image_names,
)
@click.pass_context
def command(ctx: click.Context, image: Address, names: tuple[Address, ...]) -> None:
    """Add names to an image in the store.

    A name that another image has is moved to this one.
    """
    store = global_options(ctx).store()
    for name in names:
        store.tag(image, name.given or name.name)
    store.close()
