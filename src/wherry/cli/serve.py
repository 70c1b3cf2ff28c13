"""The command ``wherry serve``."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.main import global_options
from wherry.cli.messages import write_line
from wherry.cli.options import plain_client, print_request
from wherry.cli.param_types import NonEmptyPath
from wherry.content.cancel import CancelToken
from wherry.model.reference import split_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.image_store import Store

EXAMPLES = """\b
Examples:
  wherry serve
  wherry serve --listen 0.0.0.0:5000 --htpasswd users --tls server.crt server.key
  wherry serve --proxy docker.io --proxy ghcr.io=https://mirror.example.org
"""
_FILE = NonEmptyPath(path_type=Path, dir_okay=False, exists=True)


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
@click.option(
    "--htpasswd",
    type=_FILE,
    metavar="FILE",
    help="Ask for the passwords in FILE, which `htpasswd -B` makes.",
)
@click.option(
    "--tls",
    type=(_FILE, _FILE),
    metavar="CERT KEY",
    help="Speak https, with this certificate and its key.",
)
@click.option("--no-ui", "ui", flag_value=False, default=True, help="Show no page at /.")
@click.option(
    "--access-log",
    type=NonEmptyPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append a line for each request to FILE; -v prints it on stderr.",
)
@click.pass_context
def command(ctx: click.Context, /, access_log: Path | None, **options: Any) -> None:
    """Serve the store as a registry, until Ctrl-C ends it."""
    found, token = global_options(ctx), CancelToken()
    store = found.store()
    protection = options["htpasswd"], options["tls"]
    if options["proxies"] or not options["read_only"]:
        warn_if_read_only(store)
    _cancel_on_signals(token)
    _allow_many_connections()
    with (
        _access_lines(access_log, verbose=found.verbose) as write,
        plain_client(store=store, on_request=print_request if found.verbose else None) as client,
    ):
        try:
            client.serve(
                **options,
                on_ready=lambda url: announce(store, url, *protection),
                on_access=write,
                cancel=token,
            )
        except ValueError as error:
            raise click.UsageError(str(error), ctx) from None


@contextlib.contextmanager
def _access_lines(path: Path | None, *, verbose: bool) -> Iterator[Callable[[str], None] | None]:
    """Yield the function that writes lines of the access log, or None."""
    if path is None:
        yield (lambda line: write_line(line, "request")) if verbose else None
        return
    with path.open("ab", buffering=0) as file:
        reason: str | None = None  # why the last line was not written

        def write(line: str) -> None:
            nonlocal reason
            previous, reason = reason, None
            try:
                file.write(f"{line}\n".encode())
            except OSError as error:
                reason = error.strerror or str(error)
            if reason not in {None, previous}:
                write_line(f"Warning: {path}: the access log cannot be written ({reason})")
            if verbose:
                write_line(line, "request")

        yield write


def warn_if_read_only(store: Store) -> None:
    """Warn if the store cannot take what clients push, or what the server fetches."""
    from wherry.errors import StoreError
    from wherry.image_store import local_store

    try:
        local_store(store).check_writable()
    except StoreError as error:
        write_line(f"Warning: {error}: it is served, but nothing can be added to it")


def announce(store: Store, url: str, users: Path | None, tls: tuple[Path, Path] | None) -> None:
    """Write that the server runs, and what is not protected."""
    from wherry.image_store import local_store
    from wherry.ops.listing import Filters, list_lines

    lines = list_lines(local_store(store), Filters())
    number = len({split_name(name)[0] for name, *_rest in lines if name})
    repositories = "1 repository" if number == 1 else f"{number} repositories"
    if not _is_loopback(url):
        if users is None:
            write_line(
                "Warning: everybody who can connect has access; --htpasswd asks for passwords"
            )
        elif tls is None:
            write_line("Warning: passwords are sent unencrypted; --tls encrypts them")
    write_line(f"serving {repositories} on {url}; Ctrl-C ends it")


def _is_loopback(url: str) -> bool:
    import ipaddress
    from urllib.parse import urlsplit

    return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback


def _allow_many_connections() -> None:
    """Raise the limit of open files as far as this process may."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _cancel_on_signals(token: CancelToken) -> None:
    """End the server with Ctrl-C and SIGTERM; a signal that is ignored stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: token.cancel())
