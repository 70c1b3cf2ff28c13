"""``dray digest``."""

from __future__ import annotations

import functools
from typing import Any

import click

from dray.cli.main import settings
from dray.cli.names import wherever
from dray.cli.options import make_client, meant_store, registry_options, tell

EXAMPLES = """\b
Examples:
  dray digest alpine
  dray digest --platform linux/arm64 python:3.12-slim
  dray digest oci:layout:1.4.2
"""


@click.command("digest", epilog=EXAMPLES)
@click.argument("address", metavar="ADDRESS")
@click.option("--platform", metavar="OS[/ARCH[/VARIANT]]", help="That of the image for it.")
@registry_options
@click.pass_context
def command(ctx: click.Context, /, address: str, platform: str | None, **registry: Any) -> None:
    """Print the digest that a name stands for; of a tag, by one small request."""
    chosen = settings(ctx)
    store = meant_store(chosen, address)
    with make_client(chosen, store, registry) as client:
        call = functools.partial(client.digest, platform=platform, store=store, on_event=tell)
        found = wherever(client, address, call)
    click.echo(str(found))
