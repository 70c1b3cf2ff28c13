"""The command ``wherry blob``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from wherry.cli.completion import addresses
from wherry.cli.main import global_options
from wherry.cli.options import make_client, print_event, registry_options, store_for_address
from wherry.cli.outcome import sync_output
from wherry.cli.param_types import AddressType, NonEmptyPath
from wherry.cli.resolve_name import call_first_found
from wherry.content.output import whole_file
from wherry.errors import StoreError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry blob alpine@sha256:4abc… | tar -tz
  wherry blob -o layer.tar.gz ghcr.io/acme/app sha256:77d0…
  wherry blob store:alpine sha256:4abc… | wc -c
"""
_CHUNK = 256 * 1024


@click.command("blob", epilog=EXAMPLES)
@click.argument("address", type=AddressType(), metavar="ADDRESS[@DIGEST]", shell_complete=addresses)
@click.argument("digest", metavar="[DIGEST]", default="")
@click.option(
    "-o",
    "--output",
    type=NonEmptyPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to FILE, which appears once the whole blob is verified.",
)
@registry_options
@click.pass_context
def command(
    ctx: click.Context, /, address: Address, digest: str, output: Path | None, **registry: Any
) -> None:
    """Print a layer, a config or any other blob, and verify its digest.

    If the content does not match the digest, the exit code is 5. Do not trust what was printed
    until then.
    """
    if output is None and sys.stdout.isatty():
        raise click.UsageError(
            "cannot write a blob to a terminal: use a pipe, or --output FILE", ctx
        )
    options = global_options(ctx)
    store = store_for_address(options, address)
    with make_client(options, store, registry) as client, contextlib.ExitStack() as stack:

        def open_blob(found: Address) -> io.BufferedReader:
            return stack.enter_context(
                client.blob(found, digest, store=store, on_event=print_event)
            )

        source = call_first_found(client, address, open_blob)
        to_file = None if output is None else stack.enter_context(_open_output(output))
        _copy(source, to_file or sys.stdout.buffer)
        if to_file is None:
            sync_output()


def _copy(source: io.BufferedReader, target: IO[bytes]) -> None:
    while data := source.read1(_CHUNK):
        target.write(data)
    target.flush()


@contextlib.contextmanager
def _open_output(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name only when it is complete."""
    try:
        if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
            with path.open("wb") as file:
                yield file
            return
        with whole_file(path) as descriptor, open(descriptor, "wb", closefd=False) as file:
            yield file
            file.flush()
    except OSError as error:
        raise StoreError(f"{error.strerror or error}").within(path) from error
