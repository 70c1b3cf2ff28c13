"""The command ``wherry push``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wherry.cli.completion import image_names
from wherry.cli.main import global_options
from wherry.cli.options import legacy_option, registry_options, transfer_options
from wherry.cli.param_types import AddressType, RegistryName
from wherry.cli.sink_options import Sending, sink_options
from wherry.errors import InvalidReference, NotFound
from wherry.model.address import Address, Where
from wherry.model.reference import split_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.image_store import Store
    from wherry.model.reference import Reference

EXAMPLES = """\b
Examples:
  wherry push ghcr.io/acme/app:1.4.2
  wherry push app:1.4.2 ghcr.io/acme/app:1.4.2
  wherry push --all-tags ghcr.io/acme/app
  wherry push --dry-run docker-archive:saved.tar ghcr.io/acme/app:1.4.2
"""


@click.command("push", epilog=EXAMPLES)
@click.argument(
    "name", type=AddressType("store"), metavar="NAME|ID|ADDRESS", shell_complete=image_names
)
@click.argument(
    "destination",
    type=RegistryName(),
    required=False,
    metavar="[DESTINATION]",
    shell_complete=image_names,
)
@click.option("-a", "--all-tags", is_flag=True, help="Push every tag that the store has.")
@sink_options
@legacy_option
@transfer_options
@registry_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: Address,
    destination: Address | None,
    all_tags: bool,
    **given: Any,
) -> None:
    """Push an image from the store, or from any address, to a registry.

    Without DESTINATION, the image keeps its name. Layers that the registry has are not sent
    again, and an interrupted upload resumes. Prints the digest in the registry.
    """
    sending = Sending.parse(ctx, given)
    if all_tags:
        _check_repositories(ctx, name, destination)
    target = None if destination is None else destination.given
    with global_options(ctx).store() as store, sending.client(store) as client:
        if sending.dry_run:
            for origin, place in _moves(store, name, target, all_tags=all_tags):
                sending.print_plan(client, origin, place)
        elif all_tags:
            sending.print_results(client.push_all_tags, name.given, target)
        else:
            sending.print_results(client.push, str(name), target)


def _check_repositories(ctx: click.Context, name: Address, destination: Address | None) -> None:
    """Refuse names that do not fit ``--all-tags``."""
    if name.where is not Where.STORE:
        raise click.UsageError("--all-tags pushes only from the store", ctx)
    for each in (name, destination):
        if each is not None and not (each.given and each.given.is_name_only):
            raise click.UsageError("--all-tags needs names without a tag or digest", ctx)


def _moves(
    store: Store, name: Address, target: Reference | None, *, all_tags: bool
) -> Iterator[tuple[Address, Address]]:
    """Yield the images to push, each with its destination."""
    if not all_tags:
        yield name, Address.of(target or _own_name(store, name))
        return
    assert name.given is not None  # noqa: S101 - `_check_repositories` sees to it
    repository = name.given.name
    names = sorted(each for image in store.images(f"{repository}:*") for each in image.names)
    if not names:
        raise NotFound("the store has no tags of this repository").within(name.given.familiar_name)
    for each in names:
        found, tag = split_name(each)
        if found == repository and tag is not None:
            yield Address.parse(f"store:{each}"), Address.of((target or name.given).with_tag(tag))


def _own_name(store: Store, name: Address) -> Reference:
    """Return the name of an image as its destination."""
    reference = name.given
    if reference is not None and name.where is not Where.REGISTRY:
        reference = reference.with_default_tag()
        if name.where is not Where.STORE or str(reference) in store.get(name).names:
            return reference
    raise InvalidReference(
        "an image without a name needs a destination", text=str(name), position=0
    )
