"""``dray untag``."""

from __future__ import annotations

import click

from dray.cli.address import store_name
from dray.cli.main import settings

EXAMPLES = """\b
Examples:
  dray untag mine:1
"""


@click.command("untag", epilog=EXAMPLES)
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Drop names of the store; their images stay until `dray gc`."""
    store = settings(ctx).store()
    for name in names:
        store.untag(store_name(name))
    store.close()
