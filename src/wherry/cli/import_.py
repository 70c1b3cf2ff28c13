"""The command ``wherry import``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from wherry.cli.completion import image_names
from wherry.cli.main import global_options, open_input
from wherry.cli.options import make_client, registry_options, schema1_option
from wherry.cli.param_types import NonEmptyPath

EXAMPLES = """\b
Examples:
  wherry import rootfs.tar.gz mine:1
  tar -C rootfs -c . | wherry import - mine:1
  wherry import -c 'CMD ["/bin/app"]' -c 'ENV MODE=production' ./tree mine:3
  wherry import --parent alpine --config config.json ./tree mine:2
"""


@click.command("import", epilog=EXAMPLES)
@click.argument("source", type=NonEmptyPath(readable=False), metavar="FILE|DIR|-")
@click.argument("reference", metavar="[NAME[:TAG]]", required=False)
@click.option(
    "--config",
    type=NonEmptyPath(path_type=Path, exists=True, dir_okay=False),
    help="Config of the image: a whole config, or a version 1 JSON.",
)
@click.option(
    "--parent",
    metavar="NAME|ADDRESS",
    shell_complete=image_names,
    help="Image to add the layer to.",
)
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Platform instead of this machine's (WHERRY_PLATFORM).",
)
@click.option(
    "-c",
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="Apply a Dockerfile instruction, such as 'CMD [\"sh\"]'. Repeatable.",
)
@click.option("-m", "--message", metavar="TEXT", help="Comment for the history.")
@schema1_option
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: str,
    reference: str | None,
    config: Path | None,
    parent: str | None,
    platform: str | None,
    changes: tuple[str, ...],
    message: str | None,
    **registry: Any,
) -> None:
    """Make an image from a tar, compressed or not, or from the content of a directory.

    Prints the image id. An empty input (zero bytes) makes an image without a layer.
    """
    from wherry.cli.progress import WarningDisplay

    if source == "-" and os.isatty(sys.stdin.fileno()):
        raise click.UsageError("cannot read a tar from a terminal: name a file, or use a pipe", ctx)
    if platform is not None and config is not None and parent is None:
        raise click.UsageError("--config states the platform: leave out --platform", ctx)
    if config is not None and (changes or message):
        raise click.UsageError(
            "--config is stored unchanged: leave out --change and --message", ctx
        )
    created = _created()
    options = global_options(ctx)
    store = options.store()
    with make_client(options, store, registry) as client, open_input(source) as content:
        image = client.import_(
            content,
            reference,
            config=None if config is None else _config(config),
            parent=parent,
            platform=platform,
            changes=changes,
            message=message or "",
            created=created,
            on_event=WarningDisplay(),
        )
    click.echo(str(image.id))
    store.close()


def _created() -> int | None:
    from wherry.config import source_date_epoch

    try:
        return source_date_epoch()
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _config(path: Path) -> bytes:
    """Read a config file.

    Raises:
        WherryError: The file cannot be read, or is not a JSON object. The message names it.
    """
    from wherry.content.small_file import read_small
    from wherry.errors import StoreError
    from wherry.model._fields import load_object
    from wherry.model.config import MAX_DEPTH

    try:
        raw = read_small(path)
    except OSError as error:
        raise StoreError(str(error.strerror)).within(path) from error
    load_object(raw, str(path), max_depth=MAX_DEPTH)
    return raw
