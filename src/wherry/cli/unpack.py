"""The command ``wherry unpack``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.main import global_options
from wherry.cli.options import make_client
from wherry.cli.param_types import IdRanges, NonEmptyPath
from wherry.cli.unpack_options import chosen, file_options, image_argument

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry unpack alpine rootfs
  wherry unpack docker://ghcr.io/acme/app:1.4.2 rootfs
  wherry unpack --keep-owners --replace python:3.12-slim rootfs
  wherry unpack --cache python:3.12-slim rootfs
  wherry unpack --bundle alpine box && crun run -b box box
"""


_WAYS = ("copy", "link", "overlay")  # to take files from the cache


class _Command(click.Command):
    """A command with an option ``--cache`` whose value may be missing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments; click would take the next one as the value."""
        end = args.index("--") if "--" in args else len(args)
        given = list(args)
        args[:end] = ["--cache=copy" if each == "--cache" else each for each in args[:end]]
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            for option, value in itertools.pairwise(given[:end]):
                if option == "--cache" and value in _WAYS:
                    raise click.UsageError(f"write --cache={value} as one word", ctx) from error
            raise


@click.command("unpack", cls=_Command, epilog=EXAMPLES)
@image_argument
@click.argument("directory", type=NonEmptyPath(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--replace", is_flag=True, help="Replace a directory that is not empty.")
@click.option(
    "--keep-owners",
    is_flag=True,
    help="Record owners in the attribute user.rootlesscontainers, and set none.",
)
@click.option(
    "--uid-map",
    type=IdRanges(),
    multiple=True,
    metavar="INSIDE:HERE:COUNT",
    help="Users of the image as users of this machine, such as 0:100000:65536.",
)
@click.option(
    "--gid-map",
    type=IdRanges(),
    multiple=True,
    metavar="INSIDE:HERE:COUNT",
    help="Groups of the image as groups of this machine.",
)
@click.option("--bundle", is_flag=True, help="Make an OCI bundle: rootfs and config.json.")
@click.option("--rootless", is_flag=True, help="Make the bundle for a user without privileges.")
@click.option(
    "--cache",
    type=click.Choice(_WAYS),
    metavar="[=copy|link|overlay]",
    help="Unpack layers once into the store, and copy files from there (as reflinks where the"
    " file system can), or link them: linked files are read-only, and a change would change the"
    " cache. With overlay, for root, the directory is a mount (end it with umount).",
)
@file_options
@click.pass_context
def command(
    ctx: click.Context, /, address: Address, directory: Path, quiet: bool, **given: Any
) -> None:
    """Unpack the files of an image into a new directory.

    The directory gets its name when every layer is unpacked and verified. An image of a registry
    (docker://NAME) is unpacked while it arrives, and is not stored. Nothing in an image can write
    outside of the directory.

    Root gives the files their owners; for other users, all files are their own.
    """
    from wherry.cli.progress import progress_display

    _check(ctx, given)
    options = global_options(ctx)
    display = progress_display("auto", quiet=quiet)
    store = options.store()
    try:
        with make_client(options, store, given) as client:
            client.unpack(address, directory, on_event=display, **chosen(given))
    finally:
        display.close()
    store.close()


def _check(ctx: click.Context, given: dict[str, Any]) -> None:
    """Raise a usage error for options that cannot be combined."""
    if given["rootless"] and not given["bundle"]:
        raise click.UsageError("--rootless needs --bundle", ctx)
    if given["bundle"] and (given["layer"] is not None or given["strip_components"]):
        raise click.UsageError(
            "--bundle cannot be combined with --layer or --strip-components", ctx
        )
    if given["bundle"] and given["cache"] == "overlay":
        raise click.UsageError("--bundle cannot be combined with --cache=overlay", ctx)
