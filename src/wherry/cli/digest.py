"""The command ``wherry digest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wherry.cli.completion import addresses
from wherry.cli.options import registry_options
from wherry.cli.param_types import AddressType
from wherry.cli.resolve_name import address_client

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry digest alpine
  wherry digest --platform linux/arm64 python:3.12-slim
  wherry digest oci:layout:1.4.2
"""


@click.command("digest", epilog=EXAMPLES)
@click.argument("address", type=AddressType(), metavar="ADDRESS", shell_complete=addresses)
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Print the digest of the image for this platform.",
)
@registry_options
@click.pass_context
def command(ctx: click.Context, /, address: Address, platform: str | None, **registry: Any) -> None:
    """Print the digest that a name resolves to. A tag takes one small request."""
    with address_client(ctx, address, registry) as ask:
        found = ask(ask.client.digest, platform=platform)
    click.echo(str(found))
