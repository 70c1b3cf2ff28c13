"""The memory that bodies of requests take together."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from wherry.serve.answers import ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MAX_MANIFESTS = 16 * 2**20  # bytes of manifests that are pushed at the same time
MAX_SECONDS = 60.0  # until all of a manifest has arrived; it takes memory meanwhile
_AGAIN = {"retry-after": "1"}  # seconds


class ByteBudget:
    """Counts the bytes of bodies in memory. Use it in one event loop.

    Args:
        most: The bytes of all bodies together.
        seconds: How long one body may take to arrive.
    """

    def __init__(self, most: int = MAX_MANIFESTS, seconds: float = MAX_SECONDS) -> None:
        self.seconds = seconds
        self._left = most

    @contextlib.contextmanager
    def share(self) -> Iterator[BudgetShare]:
        """Yield the share of one request, which is given back after the block."""
        share = BudgetShare(self)
        try:
            yield share
        finally:
            self._left += share.taken

    def take(self, size: int) -> None:
        """Count bytes; raises `ApiError` if there are too many."""
        if size > self._left:
            message = "the server is taking too many manifests at the moment"
            raise ApiError("TOOMANYREQUESTS", message, headers=_AGAIN)
        self._left -= size


class BudgetShare:
    """What one request has taken of a budget.

    Attributes:
        taken: Its bytes.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.taken = 0

    async def read(self, stream: AsyncIterator[bytes], limit: int) -> bytes:
        """Read a manifest of at most ``limit`` bytes; raises `ApiError`."""
        parts = []
        try:
            async with asyncio.timeout(self._budget.seconds):
                async for part in stream:
                    self._budget.take(len(part))
                    self.taken += len(part)
                    if self.taken > limit:
                        message = f"the manifest is larger than {limit:,} bytes"
                        raise ApiError("MANIFEST_INVALID", message, status=413)
                    parts.append(part)
        except TimeoutError:
            raise ApiError("SIZE_INVALID", "the manifest arrives too slowly", status=408) from None
        return b"".join(parts)
