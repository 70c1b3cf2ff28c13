"""The destination of a copy: its text and its names."""

from __future__ import annotations

from wherry.errors import Unsupported
from wherry.model.address import Address, Where


def destination_text(destination: Address) -> str:
    """Return a destination for people."""
    if destination.where is Where.REGISTRY and destination.reference is not None:
        text = destination.reference.familiar
        if Address.parse(text, Where.REGISTRY).where is Where.REGISTRY:  # ``oci:latest`` is not
            return text
    return str(destination)


def names_of(destination: Address, more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names to set at a destination; raises `Unsupported` for more than it takes."""
    if destination.where is Where.REGISTRY:
        reference = destination.reference
        own = (reference.tag,) if reference is not None and reference.tag else ()
        return tuple(dict.fromkeys((*own, *more)))
    if more:
        raise Unsupported("only a registry takes additional tags").within(str(destination))
    return (destination.name,)


def repository_of(destination: Address) -> str:
    """Return the path of a destination's repository."""
    return destination.reference.path if destination.reference is not None else ""
