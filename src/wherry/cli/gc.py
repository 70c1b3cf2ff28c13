"""The command ``wherry gc``."""

from __future__ import annotations

import json

import click

from wherry.cli.main import global_options
from wherry.model import quantity

EXAMPLES = """\b
Examples:
  wherry gc
  wherry gc --dry-run
"""


@click.command("gc", epilog=EXAMPLES)
@click.option(
    "-n", "--dry-run", is_flag=True, help="Show what would be removed, and remove nothing."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with all digests and sizes in bytes."
)
@click.pass_context
def command(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Remove images without a name, unused layers and unfinished transfers.

    Layers that `unpack --cache` has unpacked go with their layers.

    Anything that another process is pulling stays.
    """
    store = global_options(ctx).store()
    found = store.gc(dry_run=dry_run)
    if as_json:
        answer = {
            "dry_run": dry_run,
            "images": found.images,
            "blobs": found.digests,
            "size": found.size,
            "parts": found.parts,
            "parts_size": found.part_size,
            "unpacked": found.unpacked,
            "unpacked_size": found.unpacked_size,
        }
        click.echo(json.dumps(answer, indent=2))
    else:
        for image in found.images:
            click.echo(f"{'Would delete' if dry_run else 'Deleted'}: {image}")
        parts = f", {quantity.count(found.parts, 'unfinished transfer')}" if found.parts else ""
        blobs = quantity.count(len(found.digests), "blob")
        if found.unpacked:
            parts += f", {quantity.count(found.unpacked, 'unpacked layer')}"
        size = quantity.size(found.size + found.part_size + found.unpacked_size)
        click.echo(f"{'Would reclaim' if dry_run else 'Reclaimed'}: {size} ({blobs}{parts})")
    store.close()
