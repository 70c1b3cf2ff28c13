"""Resolve names of the command line, and call the client with each meaning."""

from __future__ import annotations

import contextlib
import functools
import operator
from typing import TYPE_CHECKING, Any, TypeVar

from wherry.cli.exit_codes import DONE
from wherry.cli.main import global_options
from wherry.cli.messages import write_line
from wherry.cli.options import make_client, print_event, store_for_address
from wherry.cli.outcome import report_error
from wherry.errors import Cancelled, Denied, NotFound, PlatformMismatch, Unauthorized, WherryError
from wherry.model.address import Where
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import click

    from wherry.client import Client
    from wherry.image_store import Store
    from wherry.model.address import Address

T = TypeVar("T")


def call_first_found(
    client: Client, address: Address, call: Callable[[Address], T], kept: Store | None = None
) -> T:
    """Call with each meaning of a name until a registry has the image.

    An address of another place than a registry has one meaning, and so has a name that the
    store ``kept`` has. The search goes on only after `NotFound`, `Unauthorized` and `Denied`.
    After any other error the image might be there, and an image of the same name in the next
    registry would be the wrong one.
    """
    if kept is not None and address.where is Where.ANY:
        with contextlib.suppress(NotFound):
            kept.get(address)
            return call(address)
    *before, last = client.name_candidates(address)
    for candidate in before:
        try:
            return call(candidate.address)
        except PlatformMismatch:
            raise
        except (NotFound, Unauthorized, Denied) as error:
            write_line(f"wherry: {error}; trying the next registry", "warning")
    return call(last.address)


def call_for_each(
    ctx: click.Context,
    names: Sequence[Address],
    call: Callable[[Address], object],
    label: Callable[[Address], str] = operator.attrgetter("name"),
) -> int:
    """Call with each name, even after an error.

    Returns the exit code of the first error, or 0. ``label`` returns the reference that JSON
    messages show for a name.
    """
    code = DONE
    for name in names:
        try:
            call(name)
        except Cancelled:
            raise
        except WherryError as error:
            found = report_error(error, debug=global_options(ctx).debug, reference=label(name))
            code = code or found
    return code


class AddressClient(Record):
    """A client with the address that a command reads."""

    client: Client
    address: Address
    store: Store | None
    kept: Store | None

    def __call__(self, method: Callable[..., T], **options: Any) -> T:
        """Call a method of the client with each meaning of the address."""
        call = functools.partial(method, store=self.store, on_event=print_event, **options)
        return call_first_found(self.client, self.address, call, self.kept)


@contextlib.contextmanager
def address_client(
    ctx: click.Context, address: Address, registry: Mapping[str, Any]
) -> Iterator[AddressClient]:
    """Make a client from a command's options."""
    options = global_options(ctx)
    store = store_for_address(options, address)
    with make_client(options, store, registry) as client:
        yield AddressClient(client, address, store, store if address.where is Where.ANY else None)
