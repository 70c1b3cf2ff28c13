"""The command ``wherry delete``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.main import global_options
from wherry.cli.messages import write_line
from wherry.cli.options import make_client, print_event, registry_options
from wherry.cli.param_types import RegistryName
from wherry.cli.resolve_name import call_for_each

if TYPE_CHECKING:
    from wherry.client import Client
    from wherry.model.address import Address
    from wherry.ops.delete import DeletePlan

EXAMPLES = """\b
Examples:
  wherry delete registry.lan/app:1.4.2
  wherry delete --untag registry.lan/app:latest
  wherry delete --dry-run --json registry.lan/app:1.4.2
  wherry delete registry.lan/app@sha256:4abc…
"""


@click.command("delete", epilog=EXAMPLES)
@click.argument("names", type=RegistryName(), nargs=-1, required=True, metavar="NAME…")
@click.option(
    "-f",
    "--force",
    is_flag=True,
    help="Delete other tags of the image too, without a look at them.",
)
@click.option("--untag", is_flag=True, help="Remove only the tag; the image stays.")
@click.option(
    "-n", "--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Tags to look up at a time (WHERRY_JOBS; default 6).",
)
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    names: tuple[Address, ...],
    force: bool,
    untag: bool,
    dry_run: bool,
    as_json: bool,
    **registry: Any,
) -> int:
    """Delete images from registries, with all their tags.

    If an image has other tags than the one that you name, nothing is deleted without --force.
    Of an index, the images stay. If a name cannot be deleted, the others still are.

    `wherry rm` removes images from the store.
    """
    found: list[DeletePlan] = []
    with make_client(global_options(ctx), None, registry) as client:
        call = client.plan_delete if dry_run else client.delete

        def delete(name: Address) -> None:
            reference = name.given or name.name
            done = call(reference, force=force, untag=untag, on_event=print_event)
            found.append(done)
            if not as_json:
                _print(done, dry_run=dry_run, force=force)

        # All names are settled before anything is deleted.
        code = call_for_each(ctx, [_one_meaning(client, name) for name in names], delete)
    if as_json:
        click.echo(json.dumps([_object(each, dry_run=dry_run) for each in found], indent=2))
    return code


def _one_meaning(client: Client, name: Address) -> Address:
    """Return the address that a name stands for; several registries must not have it."""
    found = [candidate.address for candidate in client.name_candidates(name)]
    if len(found) > 1:
        meanings = ", ".join(each.name for each in found)
        raise click.UsageError(f"{name.name}: write the name in full: {meanings}")
    return found[0]


def _print(found: DeletePlan, *, dry_run: bool, force: bool) -> None:
    name = found.reference.familiar_name
    untagged, deleted = ("Would untag", "Would delete") if dry_run else ("Untagged", "Deleted")
    for tag in found.tags:
        click.echo(f"{untagged}: {name}:{tag}")
    if found.untag:
        return
    click.echo(f"{deleted}: {name}@{found.digest}")
    if found.is_index:
        write_line(f"{name}@{found.digest} is an index; the images that it lists stay")
    if dry_run and found.others and found.reference.digest is None and not force:
        write_line("it has other tags than the one named, so this needs --force, or --untag")


def _object(found: DeletePlan, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "name": str(found.reference),
        "digest": found.digest,
        "media_type": found.media_type or None,
        "tags": found.tags,
        "untag_only": found.untag,
    }
