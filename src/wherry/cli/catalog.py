"""The command ``wherry catalog``."""

from __future__ import annotations

import json
from typing import Any

import click

from wherry.cli.main import global_options
from wherry.cli.options import make_client, print_event, registry_options
from wherry.cli.printable import printable

EXAMPLES = """\b
Examples:
  wherry catalog registry.lan
  wherry catalog --json localhost:5000 | jq length
  wherry catalog registry.lan | xargs -I{} wherry tags registry.lan/{}
"""


@click.command("catalog", epilog=EXAMPLES)
@click.argument("registry_host", metavar="HOST[:PORT]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@registry_options
@click.pass_context
def command(ctx: click.Context, /, registry_host: str, as_json: bool, **registry: Any) -> None:
    """List the repositories of a registry, without its host.

    Many registries do not list their repositories, or only to administrators.
    """
    with make_client(global_options(ctx), None, registry) as client:
        found = client.catalog(registry_host, on_event=print_event)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("".join(f"{printable(name)}\n" for name in found), nl=False)
