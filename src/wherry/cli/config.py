"""The command ``wherry config``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wherry.cli import render
from wherry.cli.completion import addresses
from wherry.cli.options import registry_options
from wherry.cli.param_types import AddressType
from wherry.cli.resolve_name import address_client

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry config alpine | jq .config
  wherry config --platform linux/arm64 docker-archive:app.tar
"""


@click.command("config", epilog=EXAMPLES)
@click.argument("address", type=AddressType(), metavar="ADDRESS", shell_complete=addresses)
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Platform instead of this machine's (WHERRY_PLATFORM).",
)
@registry_options
@click.pass_context
def command(ctx: click.Context, /, address: Address, platform: str | None, **registry: Any) -> None:
    """Print the config of an image, byte for byte. Its digest is the image id.

    A schema1 image has no config, so one is made from its history. It has no DiffIDs, because
    those need the layers.
    """
    with address_client(ctx, address, registry) as ask:
        found = ask(ask.client.config, platform=platform)
    render.write_document(found.raw)
