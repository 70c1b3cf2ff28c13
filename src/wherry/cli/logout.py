"""The command ``wherry logout``."""

from __future__ import annotations

from pathlib import Path

import click

from wherry.cli.messages import write_line
from wherry.cli.options import plain_client
from wherry.cli.param_types import NonEmptyPath

EXAMPLES = """\b
Examples:
  wherry logout
  wherry logout ghcr.io
  wherry logout --all
"""


@click.command("logout", epilog=EXAMPLES)
@click.argument("registry", required=False, metavar="[HOST[:PORT][/PATH]]")
@click.option("--all", "everywhere", is_flag=True, help="Remove all credentials in the file.")
@click.option(
    "--authfile",
    type=NonEmptyPath(path_type=Path, dir_okay=False),
    help="File to remove credentials from, instead of auth.json.",
)
@click.pass_context
def command(
    ctx: click.Context, registry: str | None, everywhere: bool, authfile: Path | None
) -> None:
    """Remove the stored credentials for a registry, by default docker.io.

    Credentials that docker has stored stay: use `docker logout` for them. The command says
    where such credentials are.
    """
    if everywhere and registry:
        raise click.UsageError("--all cannot be combined with a registry", ctx)
    with plain_client(authfile=authfile) as client:
        if everywhere:
            write_line(f"Logged out of {', '.join(client.logout_everywhere())}")
            return
        registry = registry or "docker.io"
        done = client.logout(registry)
    for place in done.removed:
        write_line(f"Logged out of {registry}: removed from {place}")
    if done.left:
        write_line(f"Credentials for {registry} are still in {done.left}")
        write_line("  another program stored them there: use it to remove them")
