"""Names without a registry, as the command line takes them: aliases, hosts to search."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

from dray.cli.main import say
from dray.errors import Denied, NotFound, PlatformMismatch, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from dray.client import Client
    from dray.image import Store

T = TypeVar("T")


def wherever(client: Client, name: str, call: Callable[[str], T], kept: Store | None = None) -> T:
    """Call with what a name stands for; where that is not there, with what else it may stand for.

    Addresses of other places than registries, and what ``kept`` has, stand for themselves.
    A registry that fails in another way than by not having the image, or not for us, ends the
    search: the image might be there, and another one of that name is not what was meant.
    """
    if kept is not None and not name.startswith("store:"):
        with contextlib.suppress(NotFound):
            kept.get(name)
            return call(name)
    *before, last = client.meanings(name)
    for meaning in before:
        try:
            return call(meaning.name)
        except PlatformMismatch:
            raise
        except (NotFound, Unauthorized, Denied) as error:
            say(f"dray: {error}; trying the next registry")
    return call(last.name)
