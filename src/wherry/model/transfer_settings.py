"""Settings of the calls that talk to registries or move blobs."""

from __future__ import annotations

import math
from typing import Any

from wherry.model.record import Record

MAX_SPLIT = 16  # connections for one blob; more would be unfair to the registry
SCHEMA1_CHOICES = ("allow", "deny")


class TransferSettings(Record):
    """How a client transfers blobs; `override` checks the values.

    Attributes:
        jobs: Blobs that are transferred at a time.
        timeout: Seconds without a byte after which a request fails.
        retries: Attempts without progress, the first one included.
        limit_rate: Bytes a second over all connections; None for no limit.
        split: Connections for one large blob; None to choose by size.
        insecure: Accept certificates that cannot be verified, and plain http.
        schema1: ``allow`` or ``deny`` docker's deprecated format; None to ask hosts.toml.
        legacy: Use the legacy version 1 protocol where a registry has no other.
        foreign: Fetch foreign layers from the addresses that manifests name.
    """

    jobs: int = 6
    timeout: float = 30.0
    retries: int = 5
    limit_rate: float | None = None
    split: int | None = None
    insecure: bool = False
    schema1: str | None = None
    legacy: bool = False
    foreign: bool = False

    def override(self, **given: Any) -> TransferSettings:
        """Return a copy with the given values that are not None.

        Raises:
            ValueError: A value is out of its range; the message names it.
        """
        chosen = self.replace(**{name: v for name, v in given.items() if v is not None})
        for name in ("jobs", "retries"):
            if getattr(chosen, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not 0 < chosen.timeout < math.inf:
            raise ValueError("timeout must be more than 0 seconds")
        if chosen.limit_rate is not None and not 1 <= chosen.limit_rate < math.inf:
            raise ValueError("limit_rate must be at least 1 byte a second")
        if chosen.split is not None and not 1 <= chosen.split <= MAX_SPLIT:
            raise ValueError(f"split must be from 1 to {MAX_SPLIT} connections")
        if chosen.schema1 is not None and chosen.schema1 not in SCHEMA1_CHOICES:
            raise ValueError(f"schema1 is one of {' and '.join(SCHEMA1_CHOICES)}")
        return chosen
