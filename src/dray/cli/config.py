"""``dray config``."""

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
  dray config alpine | jq .config
  dray config --platform linux/arm64 docker-archive:app.tar
"""


@click.command("config", epilog=EXAMPLES)
@click.argument("address", metavar="ADDRESS")
@click.option("--platform", metavar="OS[/ARCH[/VARIANT]]", help="Instead of this machine's.")
@registry_options
@click.pass_context
def command(ctx: click.Context, /, address: str, platform: str | None, **registry: Any) -> None:
    """Print an image's config, byte for byte; its digest is the image id.

    A schema1 image has none: it is made, without the DiffIDs, which take the layers.
    """
    chosen = settings(ctx)
    store = meant_store(chosen, address)
    with make_client(chosen, store, registry) as client:
        call = functools.partial(client.config, platform=platform, store=store, on_event=tell)
        found = wherever(client, address, call)
    render.write_document(found.raw)
