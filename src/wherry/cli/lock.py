"""The command ``wherry lock``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.exit_codes import DONE, FAILED
from wherry.cli.main import global_options
from wherry.cli.messages import write_line
from wherry.cli.options import legacy_option, make_client, print_event, registry_options
from wherry.cli.param_types import NonEmptyPath
from wherry.cli.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.sync.lock import LockChange, LockResult

EXAMPLES = """\b
Examples:
  wherry lock
  wherry lock --check
  wherry lock --upgrade python ghcr.io/acme/app:1.4
"""
_DEFAULT = "images.toml"


@click.command("lock", epilog=EXAMPLES)
@click.argument("words", nargs=-1, metavar="[FILE] [NAME…]")
@click.option(
    "-o",
    "--output",
    type=NonEmptyPath(path_type=Path, dir_okay=False),
    metavar="LOCK",
    help="The lock file (default: FILE with the suffix .lock).",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the lock is outdated.")
@click.option("--upgrade", is_flag=True, help="Resolve tags again: those of NAME…, else all.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes and the lock as JSON.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Requests to make at a time (WHERRY_JOBS; default 6).",
)
@legacy_option
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    output: Path | None,
    check: bool,
    upgrade: bool,
    as_json: bool,
    **registry: Any,
) -> int:
    """Lock the images that FILE (default images.toml) names to their digests.

    Prints a line for each change. A name of the lock keeps its digest while the registry has
    it; --upgrade resolves it again.
    """
    if check and upgrade:
        raise click.UsageError("--check cannot be combined with --upgrade", ctx)
    file, names = _split(ctx, words, upgrade=upgrade)
    with make_client(global_options(ctx), None, registry) as client:
        found = client.lock(
            file, output, upgrade=names or upgrade, check=check, on_event=print_event
        )
    if as_json:
        sys.stdout.write(f"{json.dumps(_object(found), indent=2)}\n")
    else:
        sys.stdout.writelines(f"{printable(str(change))}\n" for change in found.changes)
    sys.stdout.flush()
    if check:
        return FAILED if found.changes else DONE
    count = len(found.lock.images)
    write_line(f"locked {count} {'image' if count == 1 else 'images'}")
    return DONE


def _split(ctx: click.Context, words: Sequence[str], *, upgrade: bool) -> tuple[Path, list[str]]:
    """Split the arguments into the file and the names to upgrade."""
    has_file = bool(words) and (not upgrade or words[0].endswith(".toml"))
    file = Path(words[0] if has_file else _DEFAULT)
    names = list(words[1:] if has_file else words)
    if names and not upgrade:
        raise click.UsageError("names can only be given with --upgrade", ctx)
    return file, names


def _object(found: LockResult) -> dict[str, Any]:
    return {
        "changes": [_change(each) for each in found.changes],
        "images": found.lock.to_json(),
    }


def _change(change: LockChange) -> dict[str, str | None]:
    return {
        "kind": change.kind,
        "name": str(change.name),
        "old": None if change.old is None else str(change.old),
        "new": None if change.new is None else str(change.new),
    }
