"""Conditional requests on manifests (RFC 9110, section 13); the tag of an entity is its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.serve.answers import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

    from wherry.model.digest import Digest


class Conditions(NamedTuple):
    """The headers ``If-Match`` and ``If-None-Match``; None if a request has none."""

    match: str | None = None
    none_match: str | None = None

    @classmethod
    def of(cls, request: Request) -> Conditions:
        """Return the conditions of a request."""
        return cls(request.headers.get("if-match"), request.headers.get("if-none-match"))

    def check_change(self, current: Digest | None) -> None:
        """Raise `ApiError` unless a tag that stands for ``current`` may be changed."""
        self.check_match(current)
        if self.none_match is not None and _lists(self.none_match, current):
            raise _failed(current)

    def check_match(self, current: Digest | None) -> None:
        """Raise `ApiError` unless ``If-Match`` allows the request."""
        if self.match is not None and not _lists(self.match, current):
            raise _failed(current)

    def is_unchanged(self, current: Digest) -> bool:
        """Tell whether the client has what it asks for."""
        return self.none_match is not None and _lists(self.none_match, current)


def entity_tag(digest: Digest) -> str:
    """Return the value of ``ETag``."""
    return f'"{digest}"'


def _lists(header: str, current: Digest | None) -> bool:
    """Tell whether a list of entity tags has the current one; ``*`` is any."""
    if current is None:
        return False
    listed = (each.strip().removeprefix("W/").strip('"') for each in header.split(","))
    return any(each in {"*", current} for each in listed)


def _failed(current: Digest | None) -> ApiError:
    found = "it does not exist" if current is None else f"it is {current}"
    detail = {"digest": current}
    return ApiError("PRECONDITION_FAILED", f"the manifest was changed: {found}", detail=detail)
