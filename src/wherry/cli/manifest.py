"""The command ``wherry manifest``."""

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
  wherry manifest alpine | jq .
  wherry manifest --platform linux/arm64 alpine | sha256sum
"""


@click.command("manifest", epilog=EXAMPLES)
@click.argument("address", type=AddressType(), metavar="ADDRESS", shell_complete=addresses)
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Print the manifest of the image for this platform.",
)
@registry_options
@click.pass_context
def command(ctx: click.Context, /, address: Address, platform: str | None, **registry: Any) -> None:
    """Print a manifest or index, byte for byte as the registry serves it."""
    with address_client(ctx, address, registry) as ask:
        found = ask(ask.client.manifest, platform=platform)
    render.write_document(found.raw)
