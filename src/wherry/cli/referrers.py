"""The command ``wherry referrers``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from wherry.cli import render
from wherry.cli.completion import addresses
from wherry.cli.options import registry_options
from wherry.cli.param_types import AddressType
from wherry.cli.printable import printable
from wherry.cli.resolve_name import address_client
from wherry.model import quantity

if TYPE_CHECKING:
    from wherry.model.address import Address
    from wherry.model.descriptor import Descriptor

EXAMPLES = """\b
Examples:
  wherry referrers ghcr.io/acme/app:1.4.2
  wherry referrers --artifact-type application/spdx+json ghcr.io/acme/app:1
  wherry referrers --json oci:layout:1.4.2 | jq -r '.[].digest'
"""


@click.command("referrers", epilog=EXAMPLES)
@click.argument("address", type=AddressType(), metavar="ADDRESS", shell_complete=addresses)
@click.option(
    "--artifact-type", default="", metavar="TYPE", help="List only referrers of this type."
)
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="List the referrers of the image for this platform.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with whole descriptors.")
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    address: Address,
    artifact_type: str,
    platform: str | None,
    as_json: bool,
    **registry: Any,
) -> None:
    """List the referrers of an image: signatures, SBOMs, attestations."""
    with address_client(ctx, address, registry) as ask:
        found = ask(ask.client.referrers, artifact_type=artifact_type, platform=platform)
    if as_json:
        click.echo(json.dumps([_object(entry) for entry in found], indent=2))
    else:
        header = ["ARTIFACT TYPE", "DIGEST", "SIZE"]
        click.echo(render.table(header, [_row(entry) for entry in found]))


def _row(entry: Descriptor) -> list[str]:
    kind = printable(entry.artifact_type or entry.media_type)
    return [kind, str(entry.digest), quantity.size(entry.size or 0)]


def _object(entry: Descriptor) -> dict[str, Any]:
    return {
        "mediaType": entry.media_type,
        "artifactType": entry.artifact_type or None,
        "digest": str(entry.digest),
        "size": entry.size,
        "annotations": dict(entry.annotations),
    }
