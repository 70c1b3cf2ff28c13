"""Options of all commands that talk to registries, and the client that they make."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dray.cli.main import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dray.cli.main import Settings
    from dray.client import Client
    from dray.image import Store
    from dray.registry.transport import Exchange

F = TypeVar("F", bound="Callable[..., Any]")

_OPTIONS = (
    click.option("--creds", metavar="USER[:PASSWORD]", help="For every registry here that asks."),
    click.option(
        "--authfile",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="A file of credentials, instead of those of podman, skopeo and docker.",
    ),
    click.option("--insecure", is_flag=True, help="Accept any certificate, and plain http."),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="Seconds without a byte before trying again.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(1),
        default=5,
        show_default=True,
        help="Attempts without progress, the first included.",
    ),
)


def registry_options(command: F) -> F:
    """Add the options that all commands share which talk to registries."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_client(chosen: Settings, store: Store, registry: Mapping[str, Any], **more: Any) -> Client:
    """Make the client that the shared options ask for; ``more`` goes to it as it is."""
    from dray.client import Client

    return Client(
        store=store,
        credentials=_credentials(registry["creds"]),
        authfile=registry["authfile"],
        insecure=registry["insecure"],
        timeout=registry["timeout"],
        retries=registry["retries"],
        on_request=_print_request if chosen.verbose else None,
        **more,
    )


def _credentials(text: str | None) -> tuple[str, str] | None:
    """Split ``USER:PASSWORD``; a password that is left out is asked for."""
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not colon:
        password = _ask(user)
    return user, password


def _ask(user: str) -> str:
    """Ask for a password without echo, or take a line of a pipe."""
    if sys.stdin.isatty():
        answer: str = click.prompt(f"Password for {user}", hide_input=True, err=True)
        return answer
    line = sys.stdin.readline()
    if not line:
        raise click.UsageError(f"no password for {user} was given, on stdin or in --creds")
    return line.rstrip("\n")


def _print_request(exchange: Exchange) -> None:
    limit = f"  ({exchange.rate_limit} requests left)" if exchange.rate_limit else ""
    say(
        f"> {exchange.method} {exchange.url} {exchange.status} "
        f"{exchange.seconds * 1000:.0f} ms{limit}"
    )
