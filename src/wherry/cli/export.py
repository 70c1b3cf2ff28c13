"""The command ``wherry export``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.main import global_options
from wherry.cli.options import make_client
from wherry.cli.outcome import sync_output
from wherry.cli.param_types import NonEmptyPath
from wherry.cli.save import open_output
from wherry.cli.unpack_options import chosen, file_options, image_argument

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry export alpine -o rootfs.tar
  wherry export docker://ghcr.io/acme/app:1.4.2 | tar -t
"""


@click.command("export", epilog=EXAMPLES, context_settings={"allow_extra_args": True})
@image_argument
@click.option(
    "-o",
    "--output",
    type=NonEmptyPath(readable=False, dir_okay=False),
    default="-",
    metavar="PATH",
    help="File to write; - is stdout, the default.",
)
@file_options
@click.pass_context
def command(
    ctx: click.Context, /, address: Address, output: str, quiet: bool, **given: Any
) -> None:
    """Write the files of an image as one tar, sorted by path.

    The same image always gives the same bytes. Every layer is verified before the first byte is
    written. An image of a registry (docker://NAME) is not stored.
    """
    from wherry.cli.progress import progress_display

    if ctx.args:
        raise click.UsageError(f"name the file with an option: -o {ctx.args[0]}", ctx)
    if output == "-" and os.isatty(sys.stdout.fileno()):
        raise click.UsageError("cannot write a tar to a terminal: use -o FILE, or a pipe", ctx)
    options = global_options(ctx)
    display = progress_display("auto", quiet=quiet)
    store = options.store()
    try:
        with make_client(options, store, given) as client, open_output(output) as target:
            client.export(address, target, on_event=display, **chosen(given))
            if output == "-":
                sync_output()
    finally:
        display.close()
    store.close()
