"""The command ``wherry unpack``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.completion import image_names
from wherry.cli.main import global_options
from wherry.cli.options import make_client, registry_options, transfer_options
from wherry.cli.param_types import AddressType, NonEmptyPath, Size

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry unpack alpine rootfs
  wherry unpack docker://ghcr.io/acme/app:1.4.2 rootfs
  wherry unpack --keep-owners --replace python:3.12-slim rootfs
"""


@click.command("unpack", epilog=EXAMPLES)
@click.argument(
    "address", type=AddressType("store"), metavar="NAME|ID|ADDRESS", shell_complete=image_names
)
@click.argument("directory", type=NonEmptyPath(path_type=Path, file_okay=False), metavar="DIR")
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Platform instead of this machine's (WHERRY_PLATFORM).",
)
@click.option("--replace", is_flag=True, help="Replace a directory that is not empty.")
@click.option(
    "--keep-owners",
    is_flag=True,
    help="Record owners in the attribute user.rootlesscontainers, and set none.",
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
    directory: Path,
    quiet: bool,
    platform: str | None,
    replace: bool,
    keep_owners: bool,
    keep_dirlinks: bool,
    max_size: int | None,
    max_files: int | None,
    **registry: Any,
) -> None:
    """Unpack the files of an image into a new directory.

    The directory gets its name when every layer is unpacked and verified. An image of a registry
    (docker://NAME) is unpacked while it arrives, and is not stored. Nothing in an image can write
    outside of the directory.

    Root gives the files their owners; for other users, all files are their own.
    """
    from wherry.cli.progress import progress_display

    options = global_options(ctx)
    display = progress_display("auto", quiet=quiet)
    store = options.store()
    try:
        with make_client(options, store, registry) as client:
            client.unpack(
                address,
                directory,
                platform=platform,
                replace=replace,
                keep_owners=keep_owners,
                keep_dirlinks=keep_dirlinks,
                max_size=max_size,
                max_files=max_files,
                on_event=display,
            )
    finally:
        display.close()
    store.close()
