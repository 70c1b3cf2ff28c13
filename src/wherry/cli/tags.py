"""The command ``wherry tags``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.main import global_options
from wherry.cli.options import legacy_option, make_client, print_event, registry_options
from wherry.cli.param_types import RegistryName
from wherry.cli.printable import printable
from wherry.cli.resolve_name import call_first_found

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry tags python
  wherry tags --filter '>=3.12 <4' --sort version python
  wherry tags --filter '^1\\.4\\.' ghcr.io/acme/app
  wherry tags --filter semver:^1.4 --sort version ghcr.io/acme/app | tail -1
"""


@click.command("tags", epilog=EXAMPLES)
@click.argument("name", type=RegistryName(), metavar="NAME")
@click.option("--filter", "matching", metavar="REGEX|RANGE", help="List only tags that match.")
@click.option(
    "--sort",
    "order",
    type=click.Choice(["registry", "name", "version"]),
    default="registry",
    show_default=True,
    help="Order of the tags; `version` puts the newest last.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@legacy_option
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: Address,
    matching: str | None,
    order: Any,
    as_json: bool,
    **registry: Any,
) -> None:
    """List the tags of a repository.

    A filter is a regular expression or a range of versions: >=1.2 <2, ~1.4, semver:^1.4,
    semver:1.x, semver:1.2 - 1.4.
    """
    with make_client(global_options(ctx), None, registry) as client:

        def list_tags(found: Address) -> list[str]:
            repository = found.given or found.name
            return client.tags(repository, matching=matching, order=order, on_event=print_event)

        if name.given is None or not name.given.is_name_only:
            raise click.UsageError(f"{name.name}: expected a name without a tag or digest", ctx)
        found = call_first_found(client, name, list_tags)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("".join(f"{printable(tag)}\n" for tag in found), nl=False)
