"""The command ``wherry load``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from wherry.cli.exit_codes import DONE
from wherry.cli.main import global_options, open_input
from wherry.cli.options import plain_client, schema1_option
from wherry.cli.outcome import report_error
from wherry.cli.param_types import NonEmptyPath

if TYPE_CHECKING:
    from typing import Literal

    from wherry.errors import WherryError

EXAMPLES = """\b
Examples:
  wherry load -i air-gap.tar
  wherry load -i layout --name acme/app:1.4
  docker save alpine | wherry load
  curl -s https://example.com/image.tar.zst | wherry load
"""


@click.command("load", epilog=EXAMPLES, context_settings={"allow_extra_args": True})
@click.option(
    "-i",
    "--input",
    "source",
    type=NonEmptyPath(readable=False),
    default="-",
    metavar="PATH",
    help="Archive, layout or directory to load; - is stdin.",
)
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Load only the image for this platform from each index.",
)
@click.option(
    "--name",
    metavar="NAME[:TAG]",
    help="Name of the image, instead of the names in the archive.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only image ids and warnings.")
@schema1_option
@click.pass_context
def command(
    ctx: click.Context,
    source: str,
    platform: str | None,
    name: str | None,
    quiet: bool,
    schema1: Literal["allow", "deny"] | None,
) -> int:
    """Load images from an archive into the store, and verify every byte.

    Reads the archives, layouts and directories that docker, podman, skopeo and `wherry save`
    write, compressed or not. Prints the image ids. If an image cannot be loaded, the others
    still are; the exit code is that of the first error.
    """
    from wherry.cli.progress import progress_display

    if ctx.args:
        raise click.UsageError(f"name the archive with an option: -i {ctx.args[0]}", ctx)
    if source == "-" and os.isatty(sys.stdin.fileno()):
        raise click.UsageError(
            "cannot read an archive from a terminal: use -i FILE, or a pipe", ctx
        )
    display = progress_display("auto", quiet=quiet)
    options = global_options(ctx)
    store = options.store()
    failures: list[WherryError] = []
    try:
        with plain_client(store=store, schema1=schema1) as client, open_input(source) as archive:
            found = client.load(
                archive,
                platform=platform,
                name=name,
                on_failure=failures.append,
                on_event=display,
            )
    finally:
        display.close()
    for image_id in dict.fromkeys(image.id for image in found):
        click.echo(str(image_id))
    store.close()
    codes = [report_error(error, debug=options.debug) for error in failures]
    return codes[0] if codes else DONE
