"""``wherry tag``."""

from __future__ import annotations

import click

from wherry.cli.address import store_name
from wherry.cli.completion import image_names
from wherry.cli.main import settings

EXAMPLES = """\b
Examples:
  wherry tag alpine mine:1
  wherry tag 0f5c1c1b9a7e registry.example/team/app:1.4.2
"""


@click.command("tag", epilog=EXAMPLES)
@click.argument("image", metavar="NAME|ID", shell_complete=image_names)
@click.argument("names", nargs=-1, required=True, metavar="NEW-NAME…", shell_complete=image_names)
@click.pass_context
def command(ctx: click.Context, image: str, names: tuple[str, ...]) -> None:
    """Give an image of the store further names; a name that stands elsewhere moves."""
    found, given = store_name(image, "tagged"), [store_name(name, "given names") for name in names]
    store = settings(ctx).store()
    for name in given:
        store.tag(found, name)
    store.close()
