"""The plan of a copy as output: a line, a table of every step, or JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from wherry.cli import render
from wherry.cli.printable import printable
from wherry.model import quantity
from wherry.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from wherry.plan import Plan

HEADER = ("ACTION", "DIGEST", "SIZE", "TYPE")


def print_plan(plan: Plan, *, as_json: bool, verbose: bool) -> None:
    """Print a plan on stdout; with ``verbose``, a table of its steps before the summary."""
    if as_json:
        click.echo(json.dumps(plan.to_json(), indent=2))
        return
    if verbose:
        click.echo(plan_table(plan.to_json()))
    click.echo(printable(str(plan)))
    for note in plan.notes:
        click.echo(f"  {printable(note)}")


def plan_table(found: Mapping[str, Any]) -> str:
    """Return a table with a row for each blob, document and name of a plan."""
    rows = [_row(each) for each in (*found["blobs"], *found["documents"])]
    names = [
        [f"name {printable(each['name'])}", _short(each["root"]), "", ""] for each in found["names"]
    ]
    return render.table(HEADER, [*rows, *names])


def _row(step: Mapping[str, Any]) -> list[str]:
    """Return the row of a blob or document."""
    known = "?" if step["size"] is None else quantity.size(step["size"])
    return [printable(_action(step)), _short(step["digest"]), known, printable(step["mediaType"])]


def _action(step: Mapping[str, Any]) -> str:
    if origins := step.get("from"):
        return f"mount from {' or '.join(origins)}"
    if compression := step.get("compression"):
        return f"convert to {compression}"
    return "leave" if step.get("foreign") else str(step["action"])


def _short(digest: str) -> str:
    return Digest(digest).short
