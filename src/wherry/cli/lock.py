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
from wherry.cli.options import make_client, print_event, registry_options
from wherry.cli.param_types import NonEmptyPath
from wherry.cli.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.sync.lock import LockChange, LockResult
    from wherry.sync.pin import PinnedImage

EXAMPLES = """\b
Examples:
  wherry lock
  wherry lock --check
  wherry lock --upgrade python ghcr.io/acme/app:1.4
  wherry lock --from compose.yaml -o images.lock
  wherry lock --pin deployment.yaml
"""
_DEFAULT = "images.toml"
_FILE = NonEmptyPath(path_type=Path, dir_okay=False)


@click.command("lock", epilog=EXAMPLES)
@click.argument("words", nargs=-1, metavar="[FILE] [NAME…]")
@click.option(
    "--from",
    "sources",
    type=_FILE,
    metavar="FILE",
    multiple=True,
    help="Lock what a compose file, Kubernetes YAML or Dockerfile names; may be repeated.",
)
@click.option(
    "--pin",
    "pinned",
    type=_FILE,
    metavar="FILE",
    help="Write digests into a compose file, Kubernetes YAML or Dockerfile, and no lock.",
)
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
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    sources: tuple[Path, ...],
    pinned: Path | None,
    output: Path | None,
    check: bool,
    upgrade: bool,
    as_json: bool,
    **registry: Any,
) -> int:
    """Lock the images that FILE (default images.toml) names to their digests.

    Prints a line for each change. A name of the lock keeps its digest while the registry has
    it; --upgrade resolves it again. With --from and without -o, the lock is printed instead.
    """
    if check and upgrade:
        raise click.UsageError("--check cannot be combined with --upgrade", ctx)
    if pinned is not None and (sources or output or check):
        raise click.UsageError("--pin cannot be combined with --from, -o or --check", ctx)
    if sources and check and output is None:
        raise click.UsageError("--from with --check needs -o LOCK", ctx)
    other = bool(sources) or pinned is not None
    file, names = _split(ctx, words, upgrade=upgrade, has_file=other)
    with make_client(global_options(ctx), None, registry) as client:
        if pinned is not None:
            changed = client.pin(pinned, upgrade=names or upgrade, on_event=print_event)
            _print_pinned(changed, as_json=as_json)
            return DONE
        found = client.lock(
            sources or file,
            output,
            upgrade=names or upgrade,
            check=check,
            on_event=print_event,
        )
    _print(found, as_json=as_json, whole=bool(sources) and output is None)
    if check:
        return FAILED if found.changes else DONE
    count = len(found.lock.images)
    write_line(f"locked {count} {'image' if count == 1 else 'images'}")
    return DONE


def _split(
    ctx: click.Context, words: Sequence[str], *, upgrade: bool, has_file: bool
) -> tuple[Path, list[str]]:
    """Split the arguments into the file, unless an option names it, and names to upgrade."""
    is_first = not has_file and bool(words) and (not upgrade or words[0].endswith(".toml"))
    file = Path(words[0] if is_first else _DEFAULT)
    names = list(words[1:] if is_first else words)
    if names and not upgrade:
        raise click.UsageError("names can only be given with --upgrade", ctx)
    return file, names


def _print(found: LockResult, *, as_json: bool, whole: bool) -> None:
    """Print what changed, or the ``whole`` lock."""
    if as_json:
        value = {
            "changes": [_change(each) for each in found.changes],
            "images": found.lock.to_json(),
        }
        sys.stdout.write(f"{json.dumps(value, indent=2)}\n")
    elif whole:
        sys.stdout.write(found.lock.to_toml())
    else:
        sys.stdout.writelines(f"{printable(str(change))}\n" for change in found.changes)
    sys.stdout.flush()


def _change(change: LockChange) -> dict[str, str | None]:
    return {
        "kind": change.kind,
        "name": str(change.name),
        "old": None if change.old is None else str(change.old),
        "new": None if change.new is None else str(change.new),
    }


def _print_pinned(changed: Sequence[PinnedImage], *, as_json: bool) -> None:
    if as_json:
        value = [
            {"place": each.place, "line": each.line, "old": each.old, "new": each.new}
            for each in changed
        ]
        sys.stdout.write(f"{json.dumps(value, indent=2)}\n")
    else:
        sys.stdout.writelines(f"{each.line}: {printable(each.new)}\n" for each in changed)
    sys.stdout.flush()
