"""The command ``wherry inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wherry.cli import render
from wherry.cli.completion import addresses
from wherry.cli.options import legacy_option, registry_options
from wherry.cli.param_types import AddressType
from wherry.cli.resolve_name import address_client
from wherry.model import gojson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.cli.inspect_template import FormatTemplate
    from wherry.model.address import Address
    from wherry.model.digest import Digest
    from wherry.ops.platforms import PlatformImage

EXAMPLES = """\b
Examples:
  wherry inspect alpine
  wherry inspect --no-tags ghcr.io/acme/app:1.4.2 | jq .Labels
  wherry inspect --format '{{.Digest}} {{index .Labels "org.team"}}' alpine
  wherry inspect --config oci:layout:1.4.2
  wherry inspect --all-platforms python:3.12-slim
"""


@click.command("inspect", epilog=EXAMPLES)
@click.argument("address", type=AddressType(), metavar="ADDRESS", shell_complete=addresses)
@click.option("--raw", is_flag=True, help="Print the manifest, index or config, byte for byte.")
@click.option("--config", is_flag=True, help="Show the config of the image.")
@click.option("-f", "--format", "template", metavar="TEMPLATE", help="Print with a Go template.")
@click.option("-n", "--no-tags", is_flag=True, help="Do not list the tags of the repository.")
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Platform instead of this machine's (WHERRY_PLATFORM).",
)
@click.option("--all-platforms", is_flag=True, help="Show all images of an index, with sizes.")
@legacy_option
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    address: Address,
    raw: bool,
    config: bool,
    template: str | None,
    no_tags: bool,
    platform: str | None,
    all_platforms: bool,
    **registry: Any,
) -> None:
    """Show an image from its manifest and config, without its layers, as skopeo does.

    ADDRESS is a name in a registry, or begins with store:, oci:, oci-archive:,
    docker-archive: or dir:.
    """
    if raw and template is not None:
        raise click.UsageError("--raw cannot be combined with --format", ctx)
    if all_platforms and (raw or config or platform):
        raise click.UsageError(
            "--all-platforms cannot be combined with --raw, --config or --platform", ctx
        )
    form = _form(template)
    with address_client(ctx, address, registry) as ask:
        client = ask.client
        if raw and config:
            render.write_bytes(ask(client.raw_config, platform=platform))
        elif raw:
            render.write_bytes(ask(client.manifest, platform=platform).raw)
        elif all_platforms:
            found = _all(*ask(client.platforms))
            _print(found, form.plain(found) if form else None)
        else:
            listed = not (no_tags or config)
            image = ask(client.inspect, platform=platform, tags=listed)
            if config:
                _print(image.oci_config(), form.config(image) if form else None)
            else:
                _print(image.fields(), form.image(image) if form else None)


def _form(template: str | None) -> FormatTemplate | None:
    if template in {None, "json"}:
        return None
    from wherry.cli.inspect_template import FormatTemplate

    return FormatTemplate(template or "")


def _print(document: dict[str, Any], text: str | None) -> None:
    """Print the rendered template, or without one the document as Go formats JSON."""
    if text is None:
        render.write_bytes((gojson.indented(document) + "\n").encode())
    else:
        render.write_text(text)


def _all(root: Digest, images: Sequence[PlatformImage]) -> dict[str, Any]:
    return {
        "Digest": str(root),
        "Platforms": [
            {
                "Platform": str(image.platform),
                "Digest": str(image.digest),
                "MediaType": image.media_type,
                "Size": image.size,
                "Layers": [str(layer.digest) for layer in image.layers],
            }
            for image in images
        ],
    }
