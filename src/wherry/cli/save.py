"""The command ``wherry save``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, cast

import click

from wherry.cli.completion import image_names
from wherry.cli.main import global_options
from wherry.cli.options import make_client, registry_options
from wherry.cli.outcome import sync_output
from wherry.cli.param_types import NonEmptyPath
from wherry.cli.printable import StandardOutput

if TYPE_CHECKING:
    from typing import BinaryIO

    from wherry.ops.save_options import Format

EXAMPLES = """\b
Examples:
  wherry save -o air-gap.tar python:3.12-slim ghcr.io/acme/app:1.4.2
  wherry save alpine | ssh host docker load
  wherry save --format oci -o layout --name 3.20 alpine
"""


@click.command("save", epilog=EXAMPLES)
@click.argument(
    "addresses", nargs=-1, required=True, metavar="NAME|ID|ADDRESS…", shell_complete=image_names
)
@click.option(
    "-o",
    "--output",
    type=NonEmptyPath(readable=False),
    default="-",
    metavar="PATH",
    help="File or directory to write; - is stdout.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["docker", "oci-archive", "oci", "dir"]),
    default="docker",
    show_default=True,
    help="Archive that `docker load` reads, OCI archive, OCI layout, or flat directory.",
)
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Save only this platform of each index; OCI formats take several, with commas.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Name of the one image: NAME[:TAG], or any reference in OCI formats.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show only warnings.")
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    addresses: tuple[str, ...],
    output: str,
    form: Format,
    platform: str | None,
    name: str | None,
    quiet: bool,
    **registry: Any,
) -> None:
    """Write images to an archive or layout that docker, podman and other tools read.

    The same images always give the same bytes. A file gets its name only when it is complete.
    """
    from wherry.cli.progress import progress_display

    if form == "dir" and len(addresses) > 1:
        raise click.UsageError("a flat directory holds only one image: use --format oci", ctx)
    if name is not None and (form == "dir" or len(addresses) > 1):
        raise click.UsageError("--name needs exactly one image, and a format other than dir", ctx)
    if platform is not None and "," in platform and form not in {"oci", "oci-archive"}:
        raise click.UsageError("several platforms need --format oci or oci-archive", ctx)
    if output == "-" and form in {"oci", "dir"}:
        raise click.UsageError(f"--format {form} writes a directory, not a stream: use -o DIR", ctx)
    if output == "-" and os.isatty(sys.stdout.fileno()):
        raise click.UsageError("cannot write an archive to a terminal: use -o FILE, or a pipe", ctx)
    options = global_options(ctx)
    display = progress_display("auto", quiet=quiet)
    store = options.store()
    try:
        with make_client(options, store, registry) as client, open_output(output) as target:
            client.save(
                addresses,
                target,
                format=form,
                platform=platform,
                name=name,
                on_event=display,
            )
            if output == "-":
                sync_output()
    finally:
        display.close()
    store.close()


def open_output(output: str) -> contextlib.AbstractContextManager[str | BinaryIO]:
    """Return the path, or for ``-`` an unbuffered stream to standard output."""
    if output != "-":
        return contextlib.nullcontext(output)
    return cast("BinaryIO", StandardOutput(sys.stdout.fileno(), "wb", closefd=False))
