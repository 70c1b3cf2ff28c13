"""The paths of the distribution spec ("Endpoints"), parsed without I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

from wherry.errors import InvalidDigest
from wherry.model.digest import Digest
from wherry.model.reference import is_path, is_tag
from wherry.serve.answers import ApiError

# What follows the name of a repository. The name is greedy, since it may contain these words.
_PATHS = (
    ("upload", re.compile(r"(.+)/blobs/uploads/([^/]+)")),
    ("uploads", re.compile(r"(.+)/blobs/uploads(/?)")),
    ("blob", re.compile(r"(.+)/blobs/([^/]+)")),
    ("manifest", re.compile(r"(.+)/manifests/([^/]+)")),
    ("tags", re.compile(r"(.+)/tags/list(/?)")),
    ("referrers", re.compile(r"(.+)/referrers/([^/]+)")),
)


class Route(NamedTuple):
    """What a path asks for.

    Attributes:
        kind: ``base``, ``catalog``, ``manifest``, ``blob``, ``uploads``, ``upload``, ``tags`` or
            ``referrers``.
        repository: The path of the repository, such as ``acme/app``; empty for the first two.
        last: The tag or digest of a manifest, the digest of a blob or subject, or the id of an
            upload.
    """

    kind: str
    repository: str = ""
    last: str = ""

    @property
    def digest(self) -> Digest:
        """The digest at the end of the path; raises `ApiError`."""
        return parse_digest(self.last)

    @property
    def tag(self) -> str | None:
        """The tag of a manifest, or None if the path has a digest; raises `ApiError`."""
        return None if ":" in self.last else checked_tag(self.last)

    @property
    def reference(self) -> Digest | str:
        """The tag or the digest of a manifest; raises `ApiError`."""
        return self.tag or self.digest


def parse(path: str) -> Route | None:
    """Parse what follows ``/v2/``; return None for a path of no endpoint.

    Raises:
        ApiError: The name of the repository is invalid.
    """
    if not path:
        return Route("base")
    if path in {"_catalog", "_catalog/"}:
        return Route("catalog")
    for kind, pattern in _PATHS:
        found = pattern.fullmatch(path)
        if found is not None:
            return Route(kind, checked_name(found[1]), found[2].strip("/"))
    return None


def checked_name(name: str) -> str:
    """Return the path of a repository; raises `ApiError`."""
    if not is_path(name):
        raise ApiError("NAME_INVALID", "the name of the repository is invalid")
    return name


def checked_tag(tag: str) -> str:
    """Return a tag; raises `ApiError`."""
    if not is_tag(tag):
        raise ApiError("TAG_INVALID", "the tag is invalid")
    return tag


def parse_digest(text: str) -> Digest:
    """Parse a digest of a path or a query; raises `ApiError`."""
    try:
        return Digest.parse(text)
    except InvalidDigest:
        message = "the digest is invalid, or its algorithm is not supported"
        raise ApiError("DIGEST_INVALID", message) from None
