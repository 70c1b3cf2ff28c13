"""The command ``wherry pull``."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.locked import LockedCommand, locked_addresses, locked_option, read_lock
from wherry.cli.main import global_options
from wherry.cli.options import (
    dry_run_option,
    legacy_option,
    make_client,
    print_event,
    registry_options,
    schema1_option,
    transfer_options,
)
from wherry.cli.param_types import RegistryName
from wherry.cli.resolve_name import call_first_found, call_for_each
from wherry.model.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry.client import Client
    from wherry.image import Image
    from wherry.plan import Plan
    from wherry.sync.lock_file import Lock

EXAMPLES = """\b
Examples:
  wherry pull python:3.12-slim
  wherry pull --platform linux/arm64 alpine ghcr.io/acme/app:1.4.2
  wherry pull --all-tags localhost:5000/acme/app
  wherry pull -q alpine | xargs wherry show
  wherry pull --locked
"""


@click.command("pull", epilog=EXAMPLES, cls=LockedCommand)
@click.argument("names", type=RegistryName(), nargs=-1, metavar="NAME[:TAG|@DIGEST]…")
@click.option("-a", "--all-tags", is_flag=True, help="Pull every tag of each repository.")
@click.option(
    "--platform",
    metavar="OS[/ARCH[/VARIANT]],…",
    help="Platforms instead of this machine's (WHERRY_PLATFORM).",
)
@click.option("--all-platforms", is_flag=True, help="Pull every image of an index.")
@locked_option
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan of --dry-run as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print only image ids and warnings.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "tty", "plain", "json"]),
    default="auto",
    show_default=True,
    help="Form of the progress on stderr.",
)
@click.option("--foreign", is_flag=True, help="Fetch foreign layers from the URLs in the manifest.")
@click.option("--no-verify-layers", is_flag=True, help="Verify digests only, not DiffIDs.")
@click.option("--no-verify-signatures", is_flag=True, help="Do not verify schema1 signatures.")
@schema1_option
@legacy_option
@transfer_options
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    names: tuple[Address, ...],
    all_tags: bool,
    platform: str | None,
    all_platforms: bool,
    locked: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    progress: str,
    foreign: bool,
    no_verify_layers: bool,
    no_verify_signatures: bool,
    **registry: Any,
) -> int:
    """Pull images from registries into the store, and verify every byte.

    Blobs that the store has are not fetched again, and an interrupted pull resumes. Prints the
    image ids. If a name fails, the others are still pulled. With --locked and no names, all
    images of the lock are pulled.
    """
    options = global_options(ctx)
    _check(ctx, names, all_tags=all_tags, locked=locked, platform=platform, every=all_platforms)
    if as_json and not dry_run:
        raise click.UsageError("--json prints a plan, so it needs --dry-run", ctx)
    form = "plain" if options.verbose and progress == "auto" else progress
    store = options.store()
    client = make_client(options, store, registry, foreign=foreign)
    lock = read_lock(locked)
    if lock is not None:  # look all names up before one is pulled
        whole = [Address.of(image.name) for image in lock.images]
        names = tuple(locked_addresses(client, lock, names) if names else whole)

    def plan(name: Address) -> None:
        from wherry.cli.plan_lines import print_plan

        call = functools.partial(
            _plan(client, all_tags=all_tags),
            platform=platform,
            all_platforms=all_platforms,
            locked=lock,
        )
        for found in call_first_found(client, name, call):
            print_plan(found, as_json=as_json, verbose=options.verbose)

    def pull(name: Address) -> None:
        from wherry.cli.progress import progress_display

        with contextlib.closing(progress_display(form, quiet=quiet)) as display:
            call = functools.partial(
                _pull(client, lock, all_tags=all_tags),
                platform=platform,
                all_platforms=all_platforms,
                verify_layers=not no_verify_layers,
                verify_signatures=not no_verify_signatures,
                on_event=display,
            )
            for image in call_first_found(client, name, call):
                sys.stdout.write(f"{image.id}\n")
                sys.stdout.flush()

    def label(name: Address) -> str:
        reference = name.given if all_tags else name.reference
        return name.name if reference is None else reference.familiar

    code = call_for_each(ctx, names, plan if dry_run else pull, label)
    client.close()
    store.close()
    return code


def _check(
    ctx: click.Context,
    names: tuple[Address, ...],
    *,
    all_tags: bool,
    locked: Path | None,
    platform: str | None,
    every: bool,
) -> None:
    """Raise `click.UsageError` for options that contradict each other."""
    if not names and locked is None:
        raise click.MissingParameter(ctx=ctx, param=ctx.command.params[0])
    if all_tags and locked is not None:
        raise click.UsageError("--all-tags cannot be combined with --locked", ctx)
    if all_tags and not all(name.given and name.given.is_name_only for name in names):
        raise click.UsageError("--all-tags needs names without a tag or digest", ctx)
    if every and platform:
        raise click.UsageError("--all-platforms cannot be combined with --platform", ctx)


def _pull(client: Client, lock: Lock | None, *, all_tags: bool) -> Callable[..., list[Image]]:
    if all_tags:
        return lambda found, **options: client.pull_all_tags(found.given, **options)
    return lambda found, **options: [client.pull(found.given, locked=lock, **options)]


def _plan(client: Client, *, all_tags: bool) -> Callable[..., list[Plan]]:
    """Return a function that plans to pull a name into the store."""

    def plan(found: Address, **options: Any) -> list[Plan]:
        # A pull keeps the index of the image, without the attestations that it lists.
        only = not options["all_platforms"]
        options |= {"sparse": only, "attestations": not only}
        assert found.given is not None  # noqa: S101 - it is the name of a repository
        wanted = [found.given.with_default_tag()]
        if all_tags:
            tags = client.tags(found.given, on_event=print_event)
            wanted = [found.given.with_tag(tag) for tag in tags]
        return [
            client.plan_copy(Address.of(each), f"store:{each}", on_event=print_event, **options)
            for each in wanted
        ]

    return plan
