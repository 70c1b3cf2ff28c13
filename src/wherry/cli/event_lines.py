"""Progress events as lines of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.cli import messages
from wherry.cli.printable import printable
from wherry.content.events import Status
from wherry.model.quantity import size

if TYPE_CHECKING:
    from wherry.content.events import Event


def event_line(event: Event) -> str | None:
    """Return the log line for an event, or None if it needs none."""
    text = _event_text(event)
    return None if text is None else printable(text)


def _event_text(event: Event) -> str | None:
    name = event.digest.short if event.digest is not None else ""
    match event.status:
        case Status.RESOLVED | Status.PLANNED | Status.DONE:
            prefix = "Status: " if event.status is Status.DONE else ""
            return prefix + event.message
        case Status.DIGEST:
            if not event.message:
                return f"Digest: {event.digest}"
            size_text = "" if event.total is None else f" size: {event.total}"
            return f"{event.message}: digest: {event.digest}{size_text}"  # as docker prints it
        case Status.WARNING:
            return f"Warning: {event.reference}: {event.message}"
        case Status.NOTE:
            return f"Note: {event.reference}: {event.message}" if messages.is_verbose() else None
        case Status.RETRYING:
            where = f"{name}  " if name else ""
            return f"{where}Retrying in {event.seconds:.1f} seconds ({event.message})"
        case _:
            found = _layer_text(event)
            return None if found is None else f"{name}  {found}"


def _layer_text(event: Event) -> str | None:
    """Return what happened to a layer, once it is done."""
    match event.status:
        case Status.COMPLETE | Status.LOADED | Status.SAVED:
            return f"{event.status:<14}  {size(event.total or event.current)}"
        case Status.PUSHED | Status.COPIED:
            return f"{event.status}  {size(event.total or event.current)}"
        case Status.MOUNTED:
            return f"Mounted from {event.message}" if event.message else "Mounted"
        case Status.EXISTS:
            return "Already exists"
        case _:
            return None
