"""The command ``wherry login``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from wherry.cli.main import global_options
from wherry.cli.messages import write_line
from wherry.cli.options import MAX_PASSWORD, ask_password, plain_client, print_request
from wherry.cli.param_types import NonEmptyPath
from wherry.cli.printable import printable

EXAMPLES = """\b
Examples:
  wherry login
  wherry login ghcr.io -u me
  wherry login --authfile ci-auth.json registry.example:5000/team
  pass show registry | wherry login -u me --password-stdin registry.example
"""


@click.command("login", epilog=EXAMPLES)
@click.argument("registry", default="docker.io", metavar="[HOST[:PORT][/PATH]]")
@click.option(
    "-u", "--username", metavar="NAME", help="Username; the command asks for it if it is missing."
)
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option(
    "--authfile",
    type=NonEmptyPath(path_type=Path, dir_okay=False),
    help="File to store credentials in, instead of auth.json.",
)
@click.option(
    "--insecure", is_flag=True, default=None, help="Accept any certificate, and plain HTTP."
)
@click.pass_context
def command(
    ctx: click.Context,
    registry: str,
    username: str | None,
    password_stdin: bool,
    authfile: Path | None,
    insecure: bool | None,
) -> None:
    """Check credentials against a registry, by default docker.io, and store them.

    They go to the configured credential helper, if there is one, else into auth.json, which
    only you can read. podman and skopeo use that file too.
    """
    if password_stdin and not username:
        raise click.UsageError("--password-stdin needs --username", ctx)
    if not password_stdin and not sys.stdin.isatty():
        raise click.UsageError("cannot ask for a password without a terminal; see --password-stdin")
    if username is None:
        username = click.prompt(f"Username for {printable(registry)}", err=True)
    password = _read() if password_stdin else ask_password(username, "--password-stdin")
    if not username or not password:
        raise click.UsageError("the username and the password must not be empty", ctx)
    if ":" in username:
        raise click.UsageError("a username must not contain a colon", ctx)
    watching = print_request if global_options(ctx).verbose else None
    with plain_client(authfile=authfile, insecure=insecure, on_request=watching) as client:
        warnings: list[str] = []
        where = client.login(registry, username, password, on_warning=warnings.append)
    for warning in warnings:
        write_line(f"Warning: {warning}")
    done = "Stored credentials for" if warnings else "Logged in to"
    write_line(f"{done} {registry} as {username}; kept in {where}")


def _read() -> str:
    """Read a password from stdin, without the line break at its end.

    Bytes that are not UTF-8 are kept (PEP 383).
    """
    raw = sys.stdin.buffer.read(MAX_PASSWORD + 1)
    if len(raw) > MAX_PASSWORD:
        raise click.UsageError(f"the password on stdin is longer than {MAX_PASSWORD >> 10} KiB")
    return raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
