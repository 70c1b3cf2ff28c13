"""How the blobs of a copy are moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.retry import RetryPolicy
from wherry.model.record import Record

if TYPE_CHECKING:
    from wherry.model.transfer_settings import TransferSettings

CONFIG_FAILED = "error pulling image configuration"  # the words of engines


class CopyOptions(Record):
    """How to copy an image.

    Attributes:
        jobs: Blobs that are copied at a time.
        policy: When to retry.
        verify_layers: Whether to compute the DiffIDs.
        foreign: Whether to fetch layers from their own URLs if the registry lacks them.
        split: Connections for a large blob; None to decide by the rate.
    """

    jobs: int = 6
    policy: RetryPolicy = RetryPolicy()
    verify_layers: bool = True
    foreign: bool = False
    split: int | None = None

    @classmethod
    def build(cls, settings: TransferSettings, *, verify_layers: bool = True) -> CopyOptions:
        """Make the options from the settings of a client."""
        return cls(
            jobs=settings.jobs,
            policy=RetryPolicy(attempts=settings.retries),
            verify_layers=verify_layers,
            foreign=settings.foreign,
            # More connections do not help if they share a rate limit.
            split=settings.split or (1 if settings.limit_rate else None),
        )
