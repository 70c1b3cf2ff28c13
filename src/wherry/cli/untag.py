"""The command ``wherry untag``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wherry.cli.completion import image_names
from wherry.cli.main import global_options
from wherry.cli.param_types import StoreName
from wherry.cli.resolve_name import call_for_each

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry untag mine:1
"""


@click.command("untag", epilog=EXAMPLES)
@click.argument(
    "names",
    type=StoreName("untagged"),
    nargs=-1,
    required=True,
    metavar="NAME…",
    shell_complete=image_names,
)
@click.pass_context
def command(ctx: click.Context, names: tuple[Address, ...]) -> int:
    """Remove names from the store. Their images stay until `wherry gc`.

    Prints the removed names. If a name is not there, the others are still removed.
    """
    store = global_options(ctx).store()

    def untag(name: Address) -> None:
        store.untag(name.given or name.name)
        if name.given is not None:
            click.echo(f"Untagged: {name.given.with_default_tag().familiar}")

    code = call_for_each(ctx, names, untag)
    store.close()
    return code
