"""``wherry logout``."""

from __future__ import annotations

from pathlib import Path

import click

from wherry.cli.messages import say
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
@click.option("--all", "everywhere", is_flag=True, help="Forget all that the file holds.")
@click.option(
    "--authfile",
    type=NonEmptyPath(path_type=Path, dir_okay=False),
    help="The file to take them from, instead of podman's and skopeo's.",
)
@click.pass_context
def command(
    ctx: click.Context, registry: str | None, everywhere: bool, authfile: Path | None
) -> None:
    """Forget the credentials for a registry (docker.io without a name) where login keeps them.

    Says where there still are some: what docker keeps, docker takes away.
    """
    if everywhere and registry:
        raise click.UsageError("--all goes without a registry", ctx)
    with plain_client(authfile=authfile) as client:
        if everywhere:
            say(f"Logged out of {', '.join(client.logout_everywhere())}")
            return
        registry = registry or "docker.io"
        done = client.logout(registry)
    for place in done.gone:
        say(f"Logged out of {registry}: taken from {place}")
    if done.left:
        say(f"Credentials for {registry} are still in {done.left}")
        say("  where they were put by another program, which can take them away")
