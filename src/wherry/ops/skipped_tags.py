"""Why tags of a repository were skipped when all were pulled."""

from __future__ import annotations

from wherry.errors import NotFound, PlatformMismatch, WherryError
from wherry.ops.image_puller import Schema1Refused


class SkippedTags:
    """Why tags of a repository were skipped."""

    def __init__(self) -> None:
        self._refused: Schema1Refused | None = None
        self._wanted = ""
        self._available: dict[str, None] = {}

    def add(self, error: WherryError) -> None:
        """Note the error of one tag."""
        if isinstance(error, Schema1Refused):
            self._refused = error
        elif isinstance(error, PlatformMismatch):
            self._wanted = error.wanted
            self._available.update(dict.fromkeys(error.available))

    def error(self, repository: str) -> WherryError:
        """Return the error for a repository without an image that can be pulled."""
        if self._refused is not None:
            return self._refused
        if not self._wanted:
            return NotFound("the repository has no tagged images").within(repository)
        return PlatformMismatch(
            f"no tag has an image for {self._wanted}",
            wanted=self._wanted,
            available=list(self._available),
            hint=f"they have: {' '.join(self._available)}",
        ).within(repository)
