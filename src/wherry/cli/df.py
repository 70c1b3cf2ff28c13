"""The command ``wherry df``."""

from __future__ import annotations

import json

import click

from wherry.cli import render
from wherry.cli.main import global_options
from wherry.model import quantity

EXAMPLES = """\b
Examples:
  wherry df
  wherry df --json | jq .reclaimable
"""


@click.command("df", epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with sizes in bytes.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show how much disk space the store uses, and how much `wherry gc` would free."""
    store = global_options(ctx).store()
    found = store.usage()
    store.close()
    if as_json:
        click.echo(json.dumps({**found._asdict(), "total": found.total}, indent=2))
        return
    others = found.blobs - found.layers
    rows = [
        ["images", str(found.images), "", "", f"{found.named} named"],
        ["layers", str(found.layers), quantity.size(found.layers_size), "", ""],
        ["documents", str(others), quantity.size(found.size - found.layers_size), "", ""],
        ["parts", str(found.parts), quantity.size(found.parts_size), "", "unfinished transfers"],
        [
            "unpacked",
            str(found.unpacked),
            quantity.size(found.unpacked_size),
            "",
            "unpacked layers",
        ],
        ["database", "", quantity.size(found.database), "", ""],
        ["total", "", quantity.size(found.total), quantity.size(found.reclaimable), ""],
    ]
    click.echo(render.table(["WHAT", "COUNT", "SIZE", "RECLAIMABLE", ""], rows))
