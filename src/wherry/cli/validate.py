"""The command ``wherry validate``."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.completion import addresses
from wherry.cli.exit_codes import DONE, INTEGRITY
from wherry.cli.main import global_options
from wherry.cli.options import make_client, registry_options
from wherry.cli.param_types import AddressType
from wherry.cli.printable import printable
from wherry.cli.resolve_name import call_first_found
from wherry.model import quantity

if TYPE_CHECKING:
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry validate alpine
  wherry validate store:alpine
  wherry validate docker-archive:saved.tar
  wherry validate --json ghcr.io/acme/app:1.4.2 | jq .findings
"""


@click.command("validate", epilog=EXAMPLES)
@click.argument("address", type=AddressType(), metavar="ADDRESS", shell_complete=addresses)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@registry_options
@click.pass_context
def command(ctx: click.Context, /, address: Address, as_json: bool, **registry: Any) -> int:
    """Check a whole image: documents, digests, sizes, DiffIDs, and history.

    Reads all platforms of an index and stores nothing. Prints every finding. The exit code is 5
    if a finding is an error.
    """
    from wherry.cli.progress import NoticeDisplay

    options = global_options(ctx)
    store = options.store()
    with make_client(options, store, registry) as client:
        report = call_first_found(
            client, address, functools.partial(client.validate, on_event=NoticeDisplay())
        )
    store.close()
    errors = sum(finding.error for finding in report.findings)
    if as_json:
        found = [
            {
                "severity": "error" if finding.error else "warning",
                "where": finding.where,
                "message": finding.message,
            }
            for finding in report.findings
        ]
        click.echo(json.dumps({"digest": str(report.root), "findings": found}, indent=2))
        return INTEGRITY if errors else DONE
    for finding in report.findings:
        severity = "error" if finding.error else "warning"
        where = f"{finding.where}: " if finding.where else ""
        click.echo(printable(f"{severity}: {where}{finding.message}"))
    click.echo(
        f"{report.root}: {quantity.count(report.documents, 'document')}, "
        f"{quantity.count(report.blobs, 'layer')}, {quantity.size(report.size)}: "
        f"{quantity.count(errors, 'error') if errors else 'good'}"
    )
    return INTEGRITY if errors else DONE
