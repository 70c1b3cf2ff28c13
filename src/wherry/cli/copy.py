"""The command ``wherry copy``."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.completion import addresses
from wherry.cli.locked import LockedCommand, locked_addresses, locked_option, read_lock
from wherry.cli.main import global_options
from wherry.cli.options import (
    legacy_option,
    parse_credentials,
    print_event,
    registry_options,
    transfer_options,
)
from wherry.cli.param_types import AddressType
from wherry.cli.resolve_name import call_first_found
from wherry.cli.sink_options import Sending, sink_options
from wherry.model.address import Where

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.client import Client
    from wherry.model.address import Address

EXAMPLES = """\b
Examples:
  wherry copy python:3.12 registry.lan/mirror/python:3.12
  wherry copy --all-platforms --referrers ghcr.io/acme/app:1 registry.lan/acme/app:1
  wherry copy --dry-run --platform linux/amd64,linux/arm64 alpine registry.lan/alpine
  wherry copy alpine oci:layout:3.20
  wherry copy alpine oci:s3://images/mirror:3.20
"""


@click.command("copy", epilog=EXAMPLES, cls=LockedCommand)
@click.argument("source", type=AddressType(), metavar="SOURCE", shell_complete=addresses)
@click.argument("destination", type=AddressType(), metavar="DESTINATION", shell_complete=addresses)
@click.option("--sparse", is_flag=True, help="Keep the index although images are left out.")
@click.option("--without-attestations", is_flag=True, help="Leave out attestations of the index.")
@locked_option
@sink_options
@click.option(
    "--src-creds", metavar="USER[:PASSWORD]", help="Credentials for the registry of SOURCE."
)
@click.option(
    "--dest-creds", metavar="USER[:PASSWORD]", help="Credentials for the registry of DESTINATION."
)
@legacy_option
@transfer_options
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: Address,
    destination: Address,
    sparse: bool,
    without_attestations: bool,
    locked: Path | None,
    src_creds: str | None,
    dest_creds: str | None,
    **given: Any,
) -> None:
    """Copy an image from one place to another, without the store.

    Each place is a registry, the store, an archive or a layout. Blobs that the destination has
    are not copied again. Without a platform, an index of a registry is copied as the image for
    this machine. Prints the digest at the destination.
    """
    if destination.path == "-":
        raise click.UsageError("write an archive to a pipe as /dev/stdout instead of -", ctx)
    if sparse and given["all_platforms"]:
        raise click.UsageError("--sparse cannot be combined with --all-platforms", ctx)
    if sparse and (given["convert_to"] or given["compression"] not in {None, "keep"}):
        raise click.UsageError("--sparse keeps the index, so nothing can be converted", ctx)
    flags = {"sparse": sparse, "attestations": not without_attestations}
    sides = {"--src-creds": (source, src_creds), "--dest-creds": (destination, dest_creds)}
    credentials = _credentials(ctx, sides, given["creds"])
    sending = Sending.parse(ctx, {**given, **flags, "credentials": credentials})
    places = {source.where, destination.where}
    store = global_options(ctx).store() if Where.STORE in places else None
    with sending.client(store) as client:
        lock = read_lock(locked)
        if lock is None:
            found = _find(client, source)
        elif source.where is Where.REGISTRY:
            (found,) = locked_addresses(client, lock, [source])
        else:
            raise click.UsageError("--locked needs a SOURCE in a registry", ctx)
        if sending.dry_run:
            sending.print_plan(client, found, destination, locked=lock)
        else:
            # Its digest must not follow an archive on standard output.
            streamed = _is_standard_output(destination.path)
            call = functools.partial(client.copy, locked=lock)
            sending.print_results(call, found, destination, silent=streamed)
    if store is not None:
        store.close()


def _is_standard_output(path: str) -> bool:
    try:
        return bool(path) and os.path.samestat(Path(path).stat(), os.fstat(sys.stdout.fileno()))
    except OSError:
        return False


def _credentials(
    ctx: click.Context, sides: Mapping[str, tuple[Address, str | None]], creds: str | None
) -> dict[str, tuple[str, str]]:
    """Return the credentials of each side, by its repository."""
    found: dict[str, tuple[str, str]] = {}
    for option, (address, text) in sides.items():
        pair = parse_credentials(text, option)
        if pair is None:
            continue
        if creds is not None:
            raise click.UsageError(f"{option} cannot be combined with --creds", ctx)
        if address.reference is None or address.where is not Where.REGISTRY:
            raise click.UsageError(f"{option}: {address} is not in a registry", ctx)
        found[address.reference.name] = pair
    return found


def _find(client: Client, source: Address) -> Address:
    """Return the address that a short name stands for.

    If several registries are searched for it, they are asked before the copy. An error of the
    destination would look like an error of the source.
    """
    candidates = client.name_candidates(source)
    if len(candidates) == 1:
        return candidates[0].address

    def find(candidate: Address) -> Address:
        client.digest(candidate, on_event=print_event)
        return candidate

    return call_first_found(client, source, find)
