"""Roots of layouts in OCI's formats, converted from docker's where need be.

Other tools read only OCI documents of layouts. So a layout lists the converted root of a docker
image, and keeps the unchanged documents beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.budget import Budget
from wherry.errors import IntegrityError, InvalidDocument, NotFound, Unsupported
from wherry.model.convert import to_oci
from wherry.model.descriptor import Descriptor
from wherry.model.record import Record
from wherry.model.referrer import referrer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wherry.model.digest import Digest
    from wherry.model.manifest import Document


class ListedRoot(Record):
    """A root as ``index.json`` lists it.

    Attributes:
        descriptor: The listed document.
        original: The document that it was converted from; None if it is unchanged.
        documents: The converted documents, the root last.
    """

    descriptor: Descriptor
    original: Digest | None = None
    documents: tuple[Document, ...] = ()


def list_root(root: Descriptor, fetch: Callable[[Digest], Document]) -> ListedRoot:
    """Convert a root to OCI's formats unless it has one.

    Args:
        root: The root.
        fetch: Returns the documents of the layout; raises `NotFound`.

    Raises:
        NotFound: The root is not there.
        BudgetExceeded: It leads to too many documents.
    """
    made = to_oci(fetch(root.digest), Budget().limit(fetch))
    if not made:
        return ListedRoot(root)
    listed = Descriptor.of(made[-1].raw, made[-1].media_type)
    return ListedRoot(listed, root.digest, tuple(made))


def is_original(digest: Digest, listed: Digest, fetch: Callable[[Digest], Document]) -> bool:
    """Tell whether converting a document gives the listed root: then both are one image."""
    try:
        made = to_oci(fetch(digest), Budget().limit(fetch))
    except (NotFound, InvalidDocument, IntegrityError, Unsupported):
        return False
    return bool(made) and listed.matches(made[-1].raw)


class UnnamedReferrers:
    """The referrers that a layout lists without names, so that readers find them."""

    def __init__(self) -> None:
        self._found: dict[Digest, Descriptor] = {}
        self._children: set[Digest] = set()

    def note(
        self, descriptor: Descriptor, raw: bytes, children: Iterable[tuple[Digest, bool]]
    ) -> None:
        """Note a document, and what it names: an entry of an index is not listed."""
        self._children |= {digest for digest, _ in children}
        if referrer_of(descriptor, raw) is not None:
            listed = Descriptor(descriptor.media_type, descriptor.digest, len(raw))
            self._found[descriptor.digest] = listed

    def roots(self) -> list[Descriptor]:
        """Return the documents to list."""
        return [each for digest, each in self._found.items() if digest not in self._children]
