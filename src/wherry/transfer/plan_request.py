"""What a copy is asked to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.record import Record
from wherry.transfer.collect import Wanted

if TYPE_CHECKING:
    from wherry.model.compression import Compression


class CopyRequest(Record):
    """What to copy where.

    Attributes:
        source: The address of the source, for people.
        destination: The address of the destination, for people.
        names: The names to set on the root.
        wanted: The documents to copy.
        referrers: Whether to copy signatures, SBOMs and other referrers too.
        format: The format to convert documents to; empty keeps it.
        repository: The repository at the destination, without its registry; may be empty.
        compression: How layers are compressed; None keeps them as they are.
        packs_plain: Whether layers that are not compressed are compressed with gzip.
        force: Send what the destination has already.
        foreign: Send foreign layers.
        jobs: Requests at a time.
    """

    source: str
    destination: str
    names: tuple[str, ...]
    wanted: Wanted = Wanted()
    referrers: bool = False
    format: str = ""
    repository: str = ""
    compression: Compression | None = None
    packs_plain: bool = False
    force: bool = False
    foreign: bool = False
    jobs: int = 6

    @property
    def keeps_documents(self) -> bool:
        """Whether every document certainly stays as it is."""
        return not (self.format or self.compression or self.packs_plain)
