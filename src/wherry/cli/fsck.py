"""The command ``wherry fsck``."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from wherry.cli import render
from wherry.cli.exit_codes import DONE, FAILED, INTEGRITY
from wherry.cli.main import global_options
from wherry.cli.options import make_client, registry_options
from wherry.cli.printable import drawing_stream, printable
from wherry.model import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.cli.main import GlobalOptions
    from wherry.image_store import Store
    from wherry.ops.repair import RepairReport
    from wherry.store.check import CheckReport, StoreProblem

EXAMPLES = """\b
Examples:
  wherry fsck
  wherry fsck --repair
  wherry fsck --rebuild && wherry fsck --repair
"""
_ENTRY_SHOWN = 400  # characters of a damaged entry; enough for a name and two digests
_DELAY = 0.5  # seconds before the first drawing
_INTERVAL = 0.2  # seconds between two drawings
_HEARTBEAT = 10.0  # seconds between two lines of a log


@click.command("fsck", epilog=EXAMPLES)
@click.option("--repair", is_flag=True, help="Fetch damaged content from its registry again.")
@click.option("--rebuild", is_flag=True, help="Rebuild a lost or damaged database.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@registry_options
@click.pass_context
def command(
    ctx: click.Context, /, repair: bool, rebuild: bool, as_json: bool, **registry: Any
) -> int:
    """Check that all blobs match their digests, and that all images are complete.

    Prints each problem. The exit code is 5 if there is a problem, or if one is left after
    --repair.
    """
    if rebuild and (repair or as_json):
        raise click.UsageError("--rebuild cannot be combined with --repair or --json", ctx)
    options = global_options(ctx)
    store = options.store()
    if rebuild:
        return _rebuild(store)
    progress = _CheckProgress()
    try:
        checked = store.check(on_progress=progress)
    finally:
        progress.close()
    repaired: RepairReport | None = None
    if repair and checked.problems:
        repaired = _repair(options, store, checked.problems, registry)
    store.close()
    click.echo(_as_json(checked, repaired) if as_json else "\n".join(_lines(checked, repaired)))
    left = checked.problems if repaired is None else repaired.left
    return INTEGRITY if left else DONE


class _CheckProgress:
    """Show progress in a line that is redrawn on a terminal, else in lines of a log."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (_DELAY if self._terminal else _HEARTBEAT)
        self._drawn = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        text = f"{render.sizes(done, total)} checked"
        self._next = now + (_INTERVAL if self._terminal else _HEARTBEAT)
        stream = drawing_stream(sys.stderr)
        stream.write(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")
        stream.flush()
        self._drawn = self._terminal

    def close(self) -> None:
        """Erase the line."""
        if self._drawn:
            stream = drawing_stream(sys.stderr)
            stream.write("\r\x1b[K")
            stream.flush()


def _rebuild(store: Store) -> int:
    """Rebuild the database and report the result; fail if names are lost."""
    found = store.rebuild()
    store.close()
    for name in found.lost:
        click.echo(f"lost: {printable(name)}: its image is incomplete; pull it again", err=True)
    if found.more_lost:
        more = quantity.count(found.more_lost, "more name")
        click.echo(f"lost: {more}: names.json lists them until a name changes", err=True)
    for row in found.unreadable:
        said = "lost: a damaged entry of names.json; pull or tag its image again"
        click.echo(f"{said}: {printable(row[:_ENTRY_SHOWN])}", err=True)
    images, names = quantity.count(found.images, "image"), quantity.count(found.names, "name")
    click.echo(f"Rebuilt: {images}, {names}")
    if found.images and not found.names:
        click.echo(
            "no names were restored: tag the images to keep before `wherry gc` runs", err=True
        )
    return FAILED if found.lost or found.unreadable else DONE


def _repair(
    options: GlobalOptions,
    store: Store,
    problems: Sequence[StoreProblem],
    registry: dict[str, Any],
) -> RepairReport:
    from wherry.cli.progress import progress_display

    form = "plain" if options.verbose or not sys.stderr.isatty() else "auto"
    display = progress_display(form, quiet=False)
    try:
        with make_client(options, store, registry) as client:
            return client.repair(problems, on_event=display)
    finally:
        display.close()


def _lines(checked: CheckReport, repaired: RepairReport | None) -> list[str]:
    reasons = {} if repaired is None else dict(repaired.left)
    lines = []
    for problem in checked.problems:
        names = f" ({', '.join(problem.names)})" if problem.names else " (in no named image)"
        lines.append(f"{problem.kind}: {problem.digest}: {problem.message}{names}")
        if repaired is not None:
            lines.append(f"  {reasons.get(problem, 'repaired')}")
    total = f"{quantity.count(checked.blobs, 'blob')}, {quantity.size(checked.size)}"
    left = len(checked.problems) if repaired is None else len(repaired.left)
    lines.append(f"{total}: {quantity.count(left, 'problem') if left else 'good'}")
    if repaired is None:
        lines += _advice(checked.problems)
    return [printable(line) for line in lines]


def _advice(problems: Sequence[StoreProblem]) -> Iterator[str]:
    """Yield advice. Content without a name is not fetched again: it only takes space."""
    if any(problem.names for problem in problems):
        yield "  `wherry fsck --repair` fetches damaged content from its registry again"
    if not all(problem.names for problem in problems):
        yield "  `wherry gc` removes content that is in no named image"


def _as_json(checked: CheckReport, repaired: RepairReport | None) -> str:
    reasons = {} if repaired is None else dict(repaired.left)
    problems = [
        {
            "kind": problem.kind,
            "digest": problem.digest,
            "message": problem.message,
            "names": list(problem.names),
            "mended": repaired is not None and problem not in reasons,
            "reason": reasons.get(problem),
        }
        for problem in checked.problems
    ]
    return json.dumps(
        {"blobs": checked.blobs, "size": checked.size, "problems": problems}, indent=2
    )
