"""Names as the command line takes them: what one stands for, and asking for it."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, TypeVar

from wherry.cli.main import global_options
from wherry.cli.messages import say
from wherry.cli.options import make_client, print_event, store_for_address
from wherry.cli.outcome import DONE, report_error
from wherry.errors import Cancelled, Denied, NotFound, PlatformMismatch, Unauthorized, WherryError
from wherry.model.address import Where
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import click

    from wherry.client import Client
    from wherry.image import Store

T = TypeVar("T")


def call_first_found(
    client: Client, name: str, call: Callable[[str], T], kept: Store | None = None
) -> T:
    """Call with what a name stands for; where that is not there, with what else it may stand for.

    Addresses of other places than registries, and what ``kept`` has, stand for themselves.
    A registry that fails in another way than by not having the image, or not for us, ends the
    search: the image might be there, and another one of that name is not what was meant.
    """
    if kept is not None and not name.startswith("store:"):
        with contextlib.suppress(NotFound):
            kept.get(name)
            return call(name)
    *before, last = client.name_candidates(name)
    for meaning in before:
        try:
            return call(meaning.name)
        except PlatformMismatch:
            raise
        except (NotFound, Unauthorized, Denied) as error:
            say(f"wherry: {error}; trying the next registry", "warning")
    return call(last.name)


def call_for_each(
    ctx: click.Context,
    names: Sequence[str],
    call: Callable[[str], object],
    called: Callable[[str], str] = str,
) -> int:
    """Call with each name, whatever became of those before; return the first error's exit code.

    ``called`` says what events call a name.
    """
    code = DONE
    for name in names:
        try:
            call(name)
        except Cancelled:
            raise
        except WherryError as error:
            found = report_error(error, debug=global_options(ctx).debug, reference=called(name))
            code = code or found
    return code


class AddressClient(Record):
    """A client and the address that a command is about; call it with one of its methods."""

    client: Client
    address: str
    store: Store | None
    kept: Store | None

    def __call__(self, method: Callable[..., T], **options: Any) -> T:
        """Call ``method`` with what the address stands for."""
        call = functools.partial(method, store=self.store, on_event=print_event, **options)
        return call_first_found(self.client, self.address, call, self.kept)


@contextlib.contextmanager
def address_client(
    ctx: click.Context, address: str, registry: Mapping[str, Any], bare: Where = Where.REGISTRY
) -> Iterator[AddressClient]:
    """Make the client that a command's options ask for; ``bare`` is as in `store_for_address`."""
    chosen = global_options(ctx)
    store = store_for_address(chosen, address, bare)
    with make_client(chosen, store, registry) as client:
        yield AddressClient(client, address, store, store if bare is Where.ANY else None)
