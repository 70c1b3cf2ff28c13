"""Options of all commands that talk to registries, and the client that they make."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wherry.cli.messages import say
from wherry.cli.param_types import NonEmptyPath
from wherry.cli.printable import printable
from wherry.config import parse_rate
from wherry.model.address import Address, Where
from wherry.model.transfer_settings import MAX_SPLIT, SCHEMA1_CHOICES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wherry.cli.main import GlobalOptions
    from wherry.client import Client
    from wherry.content.events import Event
    from wherry.image import Store
    from wherry.registry.http.transport import Exchange

F = TypeVar("F", bound="Callable[..., Any]")


def _rate(_ctx: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_rate(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_OPTIONS = (
    click.option("--creds", metavar="USER[:PASSWORD]", help="For every registry here that asks."),
    click.option(
        "--authfile",
        type=NonEmptyPath(path_type=Path, dir_okay=False, exists=True),
        help="A file of credentials, instead of those of podman, skopeo and docker.",
    ),
    click.option(
        "--registries-conf",
        type=NonEmptyPath(path_type=Path, dir_okay=False, exists=True),
        help="Instead of the user's and the system's (CONTAINERS_REGISTRIES_CONF).",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        default=None,
        help="Accept any certificate, and plain http (WHERRY_INSECURE).",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="Time without a byte before trying again (WHERRY_TIMEOUT; 30).",
    ),
    click.option(
        "--retries",
        type=click.IntRange(1),
        metavar="N",
        help="Attempts without progress, the first included (WHERRY_RETRIES; 5).",
    ),
    click.option(
        "--limit-rate",
        callback=_rate,
        metavar="RATE",
        help="Bytes a second over all connections: 500K, 10M, 1.5MiB (WHERRY_LIMIT_RATE).",
    ),
)
_TRANSFERS = (
    click.option(
        "--jobs",
        type=click.IntRange(1, 64),
        metavar="N",
        help="Blobs at a time (WHERRY_JOBS; 6).",
    ),
    click.option(
        "--split",
        type=click.IntRange(1, MAX_SPLIT),
        metavar="N",
        help="Connections for one large blob (WHERRY_SPLIT; several where that helps).",
    ),
)


schema1_option = click.option(
    "--schema1",
    type=click.Choice(SCHEMA1_CHOICES),
    help="Whether to accept docker's deprecated format (WHERRY_SCHEMA1; allow).",
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
)


def registry_options(command: F) -> F:
    """Add the options that all commands share which talk to registries."""
    return _with(_OPTIONS, command)


def transfer_options(command: F) -> F:
    """Add the options of commands that transfer whole images; above `registry_options`."""
    return _with(_TRANSFERS, command)


def _with(options: Sequence[Callable[[F], F]], command: F) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def make_client(
    chosen: GlobalOptions, store: Store | None, registry: Mapping[str, Any], **more: Any
) -> Client:
    """Make the client that the shared options ask for; ``more`` goes to it as it is."""
    return plain_client(
        store=store,
        credentials=_credentials(registry["creds"]),
        on_request=print_request if chosen.verbose else None,
        **{name: registry[name] for name in _SHARED if name in registry},
        **more,
    )


def plain_client(**options: Any) -> Client:
    """Make a client with these options alone, and what the environment says."""
    from wherry.client import Client

    try:
        return Client(**options)
    except ValueError as error:  # a variable of the environment that makes no sense
        raise click.UsageError(str(error)) from None


def print_event(event: Event) -> None:
    """Print what people should know while documents are fetched: warnings, and any pause."""
    from wherry.content.events import Status

    if event.status in {Status.WARNING, Status.RETRYING}:
        from wherry.cli.event_lines import event_line

        say(event_line(event) or "")


def store_for_address(
    chosen: GlobalOptions, address: str, bare: Where = Where.REGISTRY
) -> Store | None:
    """Open the store if an address may mean it; ``bare`` is where a bare name is looked for."""
    meant = Address.parse(address, bare).where in {Where.STORE, Where.ANY}
    return chosen.store() if meant else None


MAX_PASSWORD = 64 * 1024  # bytes


def _credentials(text: str | None) -> tuple[str, str] | None:
    """Split ``USER:PASSWORD``; a password that is left out is asked for."""
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not colon:
        password = ask_password(user, "--creds")
    return user, password


def ask_password(user: str, option: str) -> str:
    """Ask for a password without echo, or take a line of a pipe; ``option`` may name it too."""
    if sys.stdin.isatty():
        answer: str = click.prompt(f"Password for {printable(user)}", hide_input=True, err=True)
        return answer
    line = sys.stdin.buffer.readline(MAX_PASSWORD + 1)
    if len(line) > MAX_PASSWORD:
        raise click.UsageError(
            f"the password for {user} on stdin has over {MAX_PASSWORD >> 10} KiB"
        )
    if not line:
        raise click.UsageError(f"no password for {user} was given, on stdin or in {option}")
    return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def print_request(exchange: Exchange) -> None:
    """Show a request that was answered."""
    limit = f"  ({exchange.rate_limit} requests left)" if exchange.rate_limit else ""
    text = f"> {exchange.method} {exchange.url} {exchange.status} "
    say(f"{text}{exchange.seconds * 1000:.0f} ms{limit}", "request")
