"""The option ``--locked``: names stand for the digests in a lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherry.cli.param_types import NonEmptyPath
from wherry.errors import NotFound, WherryError
from wherry.model.address import Address, Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.client import Client
    from wherry.sync.lock_file import Lock

_OPTION = "--locked"
_DEFAULT = "images.lock"

locked_option = click.option(
    _OPTION,
    type=NonEmptyPath(path_type=Path, dir_okay=False),
    metavar="[FILE.lock]",
    help=f"Take the digests from a lock (default {_DEFAULT}), whatever the tags stand for now.",
)


class LockedCommand(click.Command):
    """A command whose option ``--locked`` may have no value.

    The next argument is the value if it ends in ``.lock``; another name follows ``=``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, with the value of the option in one word."""
        return super().parse_args(ctx, list(_in_one_word(args)))


def _in_one_word(args: Sequence[str]) -> Iterator[str]:
    left = iter(args)
    for arg in left:
        if arg != _OPTION:
            yield arg
            if arg == "--":
                break
            continue
        following = next(left, None)
        if following is not None and following.endswith(".lock") and not following.startswith("-"):
            yield f"{_OPTION}={following}"
            continue
        yield f"{_OPTION}={_DEFAULT}"
        if following is not None:
            yield from _in_one_word([following, *left])
    yield from left


def read_lock(file: Path | None) -> Lock | None:
    """Read the file of the option; None without the option."""
    if file is None:
        return None
    from wherry.sync.lock_file import Lock

    return Lock.read_existing(file)


def locked_addresses(client: Client, lock: Lock, names: Sequence[Address]) -> list[Address]:
    """Return the names in registries, each with the registry that the lock has it from.

    Raises:
        NotFound: The lock does not have a name.
    """
    return [_locked(client, lock, name) if name.where is Where.REGISTRY else name for name in names]


def _locked(client: Client, lock: Lock, name: Address) -> Address:
    failure: WherryError | None = None
    for candidate in client.name_candidates(name):
        reference = candidate.address.reference
        try:
            if reference is not None:
                lock.digest_of(reference)
                return candidate.address
        except NotFound as error:
            failure = failure or error
    raise failure or NotFound(f"{name} is not locked")
