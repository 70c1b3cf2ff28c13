"""Options of the commands that write the files of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from wherry.cli.completion import image_names
from wherry.cli.options import registry_options, transfer_options
from wherry.cli.param_types import AddressType, Size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    F = TypeVar("F", bound="Callable[..., Any]")

image_argument = click.argument(
    "address", type=AddressType("store"), metavar="NAME|ID|ADDRESS", shell_complete=image_names
)
_OPTIONS = (
    click.option(
        "--platform",
        metavar="OS[/ARCH[/VARIANT]]",
        help="Platform instead of this machine's (WHERRY_PLATFORM).",
    ),
    click.option(
        "--layer",
        type=int,
        metavar="N",
        help="Only this layer: 1 is the lowest, -1 the topmost.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Only paths that match, such as etc or '*.conf', and all below them.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="No paths that match, and nothing below them.",
    ),
    click.option(
        "--strip-components",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="Drop N parts from the front of each path.",
    ),
    click.option(
        "--keep-dirlinks",
        is_flag=True,
        help="Leave a link to a directory where a layer has a directory.",
    ),
    click.option(
        "--max-size", type=Size(), metavar="SIZE", help="Most bytes of all files (default 1 TiB)."
    ),
    click.option(
        "--max-files",
        type=click.IntRange(1),
        metavar="N",
        help="Most files, directories and links (default 5,000,000).",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Show only warnings."),
)

_OF_CALLS = {
    "platform",
    "layer",
    "include",
    "exclude",
    "strip_components",
    "keep_dirlinks",
    "max_size",
    "max_files",
    "replace",
    "keep_owners",
    "uid_map",
    "gid_map",
    "bundle",
    "cache",
    "rootless",
}


def file_options(command: F) -> F:
    """Add the options that choose files, and those of transfers and registries."""
    command = transfer_options(registry_options(command))
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a command's options that a call takes; the client has the others."""
    return {name: given[name] for name in given if name in _OF_CALLS}
