"""A plain HTTP client of one registry, with each header as a test gives it."""

from __future__ import annotations

import hashlib
import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

OCTETS = ("Content-Type", "application/octet-stream")
Header = tuple[str, str]


@dataclass(frozen=True)
class HttpAnswer:
    """A response, with the target of its request."""

    target: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def codes(self) -> list[str]:
        """The codes of an error answer."""
        return [error["code"] for error in json.loads(self.body)["errors"]]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def location(self) -> str:
        """The target that `Location` leads to."""
        parts = urlsplit(urljoin(f"http://registry{self.target}", self.headers["Location"]))
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


class RegistryHttp:
    """Requests over one connection at a time. `url` is `http://HOST:PORT`."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self.host, timeout=10)

    def __call__(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *headers: Header,
        chunked: bool = False,
    ) -> HttpAnswer:
        """Send a request; a header may be given twice."""
        connection = self._connection
        connection.putrequest(method, target)
        for name, value in headers:
            connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif body is not None or method in {"POST", "PUT", "PATCH"}:
            connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders([body or b""] if chunked else body or None, encode_chunked=chunked)
        response = connection.getresponse()
        return HttpAnswer(target, response.status, response.headers, response.read())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def started(self, repository: str) -> HttpAnswer:
        """Start an upload."""
        answer = self("POST", f"/v2/{repository}/blobs/uploads/")
        assert answer.status == 202, answer
        return answer

    def push_blob(self, repository: str, digest: str, data: bytes) -> HttpAnswer:
        """Push a blob by POST and PUT."""
        location = self.started(repository).location
        answer = self("PUT", with_digest(location, digest), data, OCTETS)
        assert answer.status == 201, answer
        return answer

    def put_manifest(
        self, repository: str, reference: str, body: bytes, media_type: str, *tags: str
    ) -> HttpAnswer:
        """Push a manifest."""
        query = "&".join(f"tag={tag}" for tag in tags)
        target = f"/v2/{repository}/manifests/{reference}" + (f"?{query}" if query else "")
        return self("PUT", target, body, ("Content-Type", media_type))

    def tags(self, repository: str, query: str = "") -> list[str]:
        """Return the tags of a repository."""
        answer = self("GET", f"/v2/{repository}/tags/list{query}")
        assert answer.status == 200, answer
        found: list[str] = answer.json["tags"]
        return found


def with_digest(target: str, digest: str) -> str:
    """Return an upload's target with the parameter `digest`."""
    return f"{target}{'&' if '?' in target else '?'}digest={quote(digest)}"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def pieces(data: bytes, count: int) -> Iterable[tuple[int, bytes]]:
    """Cut bytes into `count` pieces or fewer; yield the start of each, too."""
    size = len(data) // count + 1
    return [(start, data[start : start + size]) for start in range(0, len(data), size)]
