"""What the calls of a client have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from wherry.content.events import Event

if TYPE_CHECKING:
    from wherry._context import Context

Listener: TypeAlias = Callable[[Event], None] | None


class ClientCalls:
    """Calls of one subject. `wherry.Client` inherits those of all subjects."""

    def __init__(self, context: Context) -> None:
        self._context = context
