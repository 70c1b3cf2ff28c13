"""The base class of the local store, archives and layouts as sources."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.content.protocols import RangeRefused
from wherry.content.read_blob import DAMAGED, read_verified, verify_blob
from wherry.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.content.protocols import Opened
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document


class LocalSource(abc.ABC):
    """A `Source` whose blobs are files; ``label`` is its path."""

    remote = False
    ranges = False
    verified = False
    schema1 = ""
    keeps_referrers = False

    def __init__(self, label: str) -> None:
        self.label = label

    @abc.abstractmethod
    def document(self, digest: Digest) -> Document:
        """Return a verified document; raises `NotFound` and `IntegrityError`."""

    @abc.abstractmethod
    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``; raises `NotFound`."""

    def open_range(
        self, _descriptor: Descriptor, _start: int, _stop: int, _cancel: CancelToken
    ) -> Opened:
        """Raise `RangeRefused`: reading a file in parallel gains nothing."""
        raise RangeRefused

    def read(self, descriptor: Descriptor) -> bytes:
        """Return a small blob, verified; raises `InvalidDocument` over 4 MiB."""
        try:
            return read_verified(self.open(descriptor, 0, CancelToken()), descriptor)
        except IntegrityError as error:
            raise error.within(self.label) from None

    def verify(self, descriptor: Descriptor, cancel: CancelToken) -> None:
        """Hash a blob; raises `IntegrityError` where the file is damaged."""
        try:
            verify_blob(self, descriptor, cancel)
        except IntegrityError as error:
            error.hint = DAMAGED
            raise error.within(str(descriptor.digest)).within(self.label) from None

    def referrers(self, _digest: Digest, _artifact_type: str = "") -> list[Descriptor]:
        """Return nothing: only registries and OCI layouts keep referrers."""
        return []

    def find_tag(self, tag: str) -> Digest | None:
        """Return None: only registries and OCI layouts have tags."""
        del tag
        return None

    def tags(self) -> Iterator[str]:
        """Yield nothing; see `find_tag`."""
        yield from ()
