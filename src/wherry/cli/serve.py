"""The command ``wherry serve``."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from wherry.cli.main import global_options
from wherry.cli.messages import write_line
from wherry.cli.options import plain_client
from wherry.content.cancel import CancelToken
from wherry.errors import Cancelled
from wherry.model.reference import split_name

if TYPE_CHECKING:
    from wherry.image_store import Store

EXAMPLES = """\b
Examples:
  wherry serve
  wherry serve --listen 0.0.0.0:5000 --read-only
  wherry serve --proxy docker.io --proxy ghcr.io=https://mirror.example.org
"""


@click.command("serve", epilog=EXAMPLES)
@click.option(
    "--listen",
    default="127.0.0.1:5000",
    metavar="HOST:PORT",
    help="The address to listen on (default 127.0.0.1:5000); port 0 takes a free port.",
)
@click.option("--read-only", is_flag=True, help="Refuse pushes and deletions.")
@click.option(
    "--proxy",
    "proxies",
    metavar="HOST[=URL]",
    multiple=True,
    help="Fetch what the store lacks from this registry, or from URL instead; may be repeated.",
)
@click.option(
    "--proxy-ttl",
    type=click.FloatRange(min=0),
    default=60.0,
    metavar="SECONDS",
    help="How long tags of these registries are served without asking again (default 60).",
)
@click.option(
    "--name",
    metavar="NAME",
    help="The registry in the names of pushed images (default: the address).",
)
@click.pass_context
def command(
    ctx: click.Context,
    listen: str,
    read_only: bool,
    name: str | None,
    proxies: tuple[str, ...],
    proxy_ttl: float,
) -> None:
    """Serve the store as a registry, until Ctrl-C ends it."""
    store, token = global_options(ctx).store(), CancelToken()
    _cancel_on_signals(token)
    with plain_client(store=store) as client:
        try:
            client.serve(
                listen,
                name=name,
                read_only=read_only,
                proxies=proxies,
                proxy_ttl=proxy_ttl,
                on_ready=lambda url: _announce(store, url),
                cancel=token,
            )
        except ValueError as error:
            raise click.UsageError(str(error), ctx) from None
        except Cancelled:
            return


def _announce(store: Store, url: str) -> None:
    from wherry.image_store import local_store
    from wherry.ops.listing import Filters, list_lines

    lines = list_lines(local_store(store), Filters())
    number = len({split_name(name)[0] for name, *_rest in lines if name})
    repositories = "1 repository" if number == 1 else f"{number} repositories"
    write_line(f"serving {repositories} on {url}; Ctrl-C ends it")


def _cancel_on_signals(token: CancelToken) -> None:
    """End the server with Ctrl-C and SIGTERM; a signal that is ignored stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: token.cancel())
