"""``dray manifest``."""

from __future__ import annotations

import functools
from typing import Any

import click

from dray.cli import render
from dray.cli.main import settings
from dray.cli.names import wherever
from dray.cli.options import make_client, meant_store, registry_options, tell

EXAMPLES = """\b
Examples:
  dray manifest alpine | jq .
  dray manifest --platform linux/arm64 alpine | sha256sum
"""


@click.command("manifest", epilog=EXAMPLES)
@click.argument("address", metavar="ADDRESS")
@click.option("--platform", metavar="OS[/ARCH[/VARIANT]]", help="That of the image for it.")
@registry_options
@click.pass_context
def command(ctx: click.Context, /, address: str, platform: str | None, **registry: Any) -> None:
    """Print a manifest or index, byte for byte as it was served."""
    chosen = settings(ctx)
    store = meant_store(chosen, address)
    with make_client(chosen, store, registry) as client:
        call = functools.partial(client.manifest, platform=platform, store=store, on_event=tell)
        found = wherever(client, address, call)
    render.write_document(found.raw)
