"""Settings of connections to object storage."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping


class CloudSettings(Record):
    """How to connect to object storage.

    Attributes:
        timeout: Seconds without a byte after which a request fails.
        retries: Attempts for each request, the first one included.
        client: For each service (``s3``, ``gs``, ``az``) the options of its HTTP client, by
            obstore's names, that the environment or the caller sets.
    """

    timeout: float = 30.0
    retries: int = 5
    client: Mapping[str, Mapping[str, str]] = MappingProxyType({})
