"""Prefixes of a test in object storage."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from s3_server import BUCKET, bucket

if TYPE_CHECKING:
    from collections.abc import Mapping

_numbers = itertools.count(1)


class Prefix:
    """A prefix that no other test uses, on the server at a port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.key = f"{os.getpid()}/{next(_numbers)}"
        self._bucket = bucket(port)

    @property
    def url(self) -> str:
        """The URL of the prefix."""
        return f"s3://{BUCKET}/{self.key}"

    def address(self, name: str = "") -> str:
        """Return the address of an image, or of the layout."""
        return f"oci:{self.url}" + (name and f":{name}")

    def put(self, files: Mapping[str, bytes]) -> None:
        """Put objects below the prefix."""
        import obstore

        for name, data in files.items():
            obstore.put(self._bucket, f"{self.key}/{name}", data)

    def files(self) -> dict[str, bytes]:
        """Return all objects below the prefix."""
        import obstore

        found = obstore.list(self._bucket, f"{self.key}/").collect()
        keys = [each["path"] for each in found]
        return {
            key.removeprefix(f"{self.key}/"): bytes(obstore.get(self._bucket, key).bytes())
            for key in keys
        }
