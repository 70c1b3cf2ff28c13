"""Options that the commands share, and the client that they configure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wherry.cli.messages import is_new, write_line
from wherry.cli.param_types import NonEmptyPath
from wherry.cli.printable import printable
from wherry.config import parse_rate
from wherry.model.address import Where
from wherry.model.transfer_settings import MAX_SPLIT, SCHEMA1_CHOICES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wherry.cli.main import GlobalOptions
    from wherry.client import Client
    from wherry.content.events import Event
    from wherry.image_store import Store
    from wherry.model.address import Address
    from wherry.registry.http.response import Exchange

F = TypeVar("F", bound="Callable[..., Any]")


def _rate(_ctx: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_rate(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_OPTIONS = (
    click.option(
        "--creds",
        metavar="USER[:PASSWORD]",
        help="Credentials for each registry that this command uses.",
    ),
    click.option(
        "--authfile",
        type=NonEmptyPath(path_type=Path, dir_okay=False, exists=True),
        help="Credentials file, instead of those of podman, skopeo and docker.",
    ),
    click.option(
        "--registries-conf",
        type=NonEmptyPath(path_type=Path, dir_okay=False, exists=True),
        help="registries.conf, instead of the default one (CONTAINERS_REGISTRIES_CONF).",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        default=None,
        help="Accept any certificate, and plain HTTP (WHERRY_INSECURE).",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="Retry after this time without a byte (WHERRY_TIMEOUT; default 30).",
    ),
    click.option(
        "--retries",
        type=click.IntRange(1),
        metavar="N",
        help="Attempts without progress, including the first (WHERRY_RETRIES; default 5).",
    ),
    click.option(
        "--limit-rate",
        callback=_rate,
        metavar="RATE",
        help="Limit in bytes per second, such as 500K, 10M or 1.5MiB (WHERRY_LIMIT_RATE).",
    ),
)
_TRANSFERS = (
    click.option(
        "--jobs",
        type=click.IntRange(1, 64),
        metavar="N",
        help="Blobs to transfer at a time (WHERRY_JOBS; default 6).",
    ),
    click.option(
        "--split",
        type=click.IntRange(1, MAX_SPLIT),
        metavar="N",
        help="Connections for one large blob (WHERRY_SPLIT; default: as needed).",
    ),
)


dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print what would be transferred, and transfer nothing."
)
schema1_option = click.option(
    "--schema1",
    type=click.Choice(SCHEMA1_CHOICES),
    help="Accept docker's deprecated schema1 format, or not (WHERRY_SCHEMA1; default allow).",
)
legacy_option = click.option(
    "--legacy",
    is_flag=True,
    default=None,
    help="Fall back to the unsafe v1 protocol (WHERRY_LEGACY).",
)
_SHARED = (
    "authfile",
    "registries_conf",
    "insecure",
    "timeout",
    "retries",
    "limit_rate",
    "jobs",
    "split",
    "schema1",
    "legacy",
)


def registry_options(command: F) -> F:
    """Add the options of every command that talks to registries."""
    return _with(_OPTIONS, command)


def transfer_options(command: F) -> F:
    """Add the options of commands that transfer images, above `registry_options`."""
    return _with(_TRANSFERS, command)


def _with(options: Sequence[Callable[[F], F]], command: F) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def make_client(
    options: GlobalOptions, store: Store | None, registry: Mapping[str, Any], **more: Any
) -> Client:
    """Make a client from the shared options and more arguments of `Client`.

    ``registry`` may have ``credentials`` as `Client` takes them, which replace ``--creds``.
    """
    return plain_client(
        store=store,
        credentials=registry.get("credentials") or parse_credentials(registry["creds"], "--creds"),
        on_request=print_request if options.verbose else None,
        **{name: registry[name] for name in _SHARED if name in registry},
        **more,
    )


def plain_client(**options: Any) -> Client:
    """Make a client from these options and the environment variables."""
    from wherry.client import Client

    try:
        return Client(**options)
    except ValueError as error:  # an environment variable has an invalid value
        raise click.UsageError(str(error)) from None


def print_event(event: Event) -> None:
    """Print a warning or the reason for a pause; ignore other events.

    A command may make several calls, which have the same warnings; each is printed once.
    """
    from wherry.content.events import Status

    if event.status in {Status.WARNING, Status.RETRYING}:
        from wherry.cli.event_lines import event_line

        line = event_line(event) or ""
        if event.status is Status.RETRYING or is_new(line):
            write_line(line)


def store_for_address(options: GlobalOptions, address: Address) -> Store | None:
    """Open the store if an address may mean it."""
    return options.store() if address.where in {Where.STORE, Where.ANY} else None


MAX_PASSWORD = 64 * 1024  # bytes


def parse_credentials(text: str | None, option: str) -> tuple[str, str] | None:
    """Split the ``USER:PASSWORD`` of an option; ask for a password that is missing."""
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not colon:
        password = ask_password(user, option)
    return user, password


def ask_password(user: str, option: str) -> str:
    """Ask for a password without echo, or read a line from a pipe.

    ``option`` is the option that could have given it; the error names it.
    """
    if sys.stdin.isatty():
        answer: str = click.prompt(f"Password for {printable(user)}", hide_input=True, err=True)
        return answer
    line = sys.stdin.buffer.readline(MAX_PASSWORD + 1)
    if len(line) > MAX_PASSWORD:
        raise click.UsageError(
            f"the password for {user} on stdin is longer than {MAX_PASSWORD >> 10} KiB"
        )
    if not line:
        raise click.UsageError(f"no password for {user}, neither on stdin nor in {option}")
    return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def print_request(exchange: Exchange) -> None:
    """Print a request with the status of its response."""
    limit = f"  ({exchange.rate_limit} requests left)" if exchange.rate_limit else ""
    text = f"> {exchange.method} {exchange.url} {exchange.status} "
    write_line(f"{text}{exchange.seconds * 1000:.0f} ms{limit}", "request")
