"""Changing the documents of a copy: other layers, another format, fewer entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Unsupported
from wherry.transfer.plan_values import Rewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.transfer.collect import Node


def rewrite(
    nodes: Sequence[Node],
    layers: Mapping[Digest, Descriptor],
    changes: Rewrite,
    read_config: Callable[[Descriptor], bytes],
) -> list[Node]:
    """Return what is written for each document, in the same order.

    A document that does not change is returned as it is, with its bytes.

    Args:
        nodes: The documents, children before parents, each with its digest at the source.
        layers: What layers of the source have become.
        changes: The format to convert to, and the entries that indexes keep.
        read_config: Reads the config of an image, which schema1 needs.

    Raises:
        Unsupported: A document cannot be converted.
    """
    del read_config
    if layers or changes != Rewrite():
        raise Unsupported("documents cannot be converted yet")
    return list(nodes)
