"""``wherry untag``."""

from __future__ import annotations

import click

from wherry.cli.address import store_name
from wherry.cli.completion import image_names
from wherry.cli.main import settings
from wherry.cli.resolve_name import one_by_one
from wherry.model.reference import Reference

EXAMPLES = """\b
Examples:
  wherry untag mine:1
"""


@click.command("untag", epilog=EXAMPLES)
@click.argument("names", nargs=-1, required=True, metavar="NAME…", shell_complete=image_names)
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...]) -> int:
    """Drop names of the store; their images stay until `wherry gc`.

    Prints what was dropped. A name that is not there keeps no other from going.
    """
    given = [store_name(name, "untagged") for name in names]
    store = settings(ctx).store()

    def untag(name: str) -> None:
        store.untag(name)
        click.echo(f"Untagged: {Reference.parse(name).with_default_tag().familiar}")

    code = one_by_one(ctx, given, untag)
    store.close()
    return code
