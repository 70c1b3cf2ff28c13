"""The command ``wherry export``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.completion import image_names
from wherry.cli.main import global_options
from wherry.cli.options import make_client, registry_options, transfer_options
from wherry.cli.outcome import sync_output
from wherry.cli.param_types import AddressType, NonEmptyPath, Size
from wherry.cli.save import open_output

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry export alpine -o rootfs.tar
  wherry export docker://ghcr.io/acme/app:1.4.2 | tar -t
"""


@click.command("export", epilog=EXAMPLES)
@click.argument(
    "address", type=AddressType("store"), metavar="NAME|ID|ADDRESS", shell_complete=image_names
)
@click.option(
    "-o",
    "--output",
    type=NonEmptyPath(readable=False, dir_okay=False),
    default="-",
    metavar="PATH",
    help="File to write; - is stdout.",
)
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Platform instead of this machine's (WHERRY_PLATFORM).",
)
@click.option(
    "--keep-dirlinks",
    is_flag=True,
    help="Leave a link to a directory where a layer has a directory.",
)
@click.option(
    "--max-size", type=Size(), metavar="SIZE", help="Most bytes of all files (default 1 TiB)."
)
@click.option(
    "--max-files",
    type=click.IntRange(1),
    metavar="N",
    help="Most files, directories and links (default 5,000,000).",
)
@click.option("-q", "--quiet", is_flag=True, help="Show only warnings.")
@transfer_options
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    address: Address,
    output: str,
    quiet: bool,
    platform: str | None,
    keep_dirlinks: bool,
    max_size: int | None,
    max_files: int | None,
    **registry: Any,
) -> None:
    """Write the files of an image as one tar, sorted by path.

    The same image always gives the same bytes. Every layer is verified before the first byte is
    written. An image of a registry (docker://NAME) is not stored.
    """
    from wherry.cli.progress import progress_display

    if output == "-" and os.isatty(sys.stdout.fileno()):
        raise click.UsageError("cannot write a tar to a terminal: use -o FILE, or a pipe", ctx)
    options = global_options(ctx)
    display = progress_display("auto", quiet=quiet)
    store = options.store()
    try:
        with make_client(options, store, registry) as client, open_output(output) as target:
            client.export(
                address,
                target,
                platform=platform,
                keep_dirlinks=keep_dirlinks,
                max_size=max_size,
                max_files=max_files,
                on_event=display,
            )
            if output == "-":
                sync_output()
    finally:
        display.close()
    store.close()
