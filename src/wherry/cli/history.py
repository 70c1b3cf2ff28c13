"""The command ``wherry history``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from wherry.cli import render
from wherry.cli.completion import image_names
from wherry.cli.options import legacy_option, registry_options
from wherry.cli.param_types import AddressType
from wherry.cli.printable import printable
from wherry.cli.resolve_name import address_client
from wherry.model import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.address import Address
    from wherry.ops.history import HistoryStep

EXAMPLES = """\b
Examples:
  wherry history alpine
  wherry history --no-trunc 0f5c1c1b9a7e
  wherry history --v1 alpine
  wherry history docker://ghcr.io/acme/app:1.4.2
  wherry history --json alpine | jq -r '.[].created_by'
"""
_ID_SHOWN = 12  # digits of an id
_COMMAND_SHOWN = 45  # characters of a build step, as in docker


@click.command("history", epilog=EXAMPLES)
@click.argument(
    "address", type=AddressType(""), metavar="NAME|ID|ADDRESS", shell_complete=image_names
)
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]]",
    help="Platform instead of this machine's (WHERRY_PLATFORM).",
)
@click.option("--no-trunc", is_flag=True, help="Do not shorten steps, times and digests.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with full digests and sizes in bytes."
)
@click.option("--v1", is_flag=True, help="Show the ids of version 1 too.")
@legacy_option
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    address: Address,
    platform: str | None,
    no_trunc: bool,
    as_json: bool,
    v1: bool,
    **registry: Any,
) -> None:
    """Show the build steps of an image with their layers, the latest step first.

    A bare name is looked up in the store first, then in the registry.
    """
    with address_client(ctx, address, registry) as ask:
        steps = ask(ask.client.history, platform=platform, v1=v1)
    click.echo(as_objects(steps, v1=v1) if as_json else as_text(steps, full=no_trunc, v1=v1))


def as_objects(steps: Sequence[HistoryStep], *, v1: bool = False) -> str:
    """Return the steps as JSON; with ``v1``, each has its ids of version 1."""
    return json.dumps([_object(step, v1=v1) for step in steps], indent=2)


def _object(step: HistoryStep, *, v1: bool) -> dict[str, Any]:
    found = {
        "created": step.created or None,
        "created_by": step.created_by,
        "author": step.author,
        "comment": step.comment,
        "empty_layer": step.empty_layer,
        "digest": None if step.digest is None else str(step.digest),
        "diff_id": None if step.diff_id is None else str(step.diff_id),
        "size": step.size,
    }
    if v1 or step.v1_id:
        found["v1_id"] = step.v1_id or None
    if v1:
        found["strong_id"] = None if step.strong_id is None else str(step.strong_id)
        found["saved_id"] = step.saved_id or None
    return found


def as_text(steps: Sequence[HistoryStep], *, full: bool, v1: bool = False) -> str:
    """Return the steps as a table; with ``full``, shorten nothing."""
    header = ["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"]
    rows = [_row(step, full=full) for step in steps]
    for title, ids in _v1_columns(steps).items() if v1 else ():
        header.insert(1, title)
        for row, each in zip(rows, ids, strict=True):
            row.insert(1, (each if full else each[:_ID_SHOWN]) or "-")
    return render.table(header, rows)


def _v1_columns(steps: Sequence[HistoryStep]) -> dict[str, list[str]]:
    """Return the columns of ids of version 1 that have any, from right to left."""
    columns = {
        "SAVED ID": [step.saved_id for step in steps],
        "STRONG ID": ["" if step.strong_id is None else step.strong_id.hex for step in steps],
        "V1 ID": [step.v1_id for step in steps],
    }
    return {title: ids for title, ids in columns.items() if any(ids)}


def _row(step: HistoryStep, *, full: bool) -> list[str]:
    layer = "-" if step.digest is None else str(step.digest) if full else step.digest.short
    if step.digest is None and not step.empty_layer:  # in a version 1 registry
        layer = step.v1_id if full else step.v1_id[:_ID_SHOWN]
    by = " ".join(step.created_by.split())
    if not full and len(by) > _COMMAND_SHOWN:
        by = f"{by[: _COMMAND_SHOWN - 1]}…"
    return [
        layer,
        step.created or "-" if full else render.age(step.created),
        printable(by),
        "-" if step.size is None and not step.empty_layer else quantity.size(step.size or 0),
        printable(" ".join(step.comment.split())),
    ]
