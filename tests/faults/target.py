"""The registry that images are pushed to, and the checks of what it has.

The checks use only hashlib, json and http.client, as those of the store do.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.testing import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.testing import BuiltImage
    from wherry.testing._messages import IncomingRequest, Reply, RequestRecord

REPOSITORY, TAG = "app", "t"
_OK, _NOT_FOUND = 200, 404
_TIMEOUT = 30


class TargetRegistry(FakeRegistry):
    """A registry that checks after each request whether what it names is complete.

    Attributes:
        incomplete: What was named while something of it was missing.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.incomplete: list[str] = []

    def respond(self, request: IncomingRequest, record: RequestRecord) -> Reply:
        """Answer, then check."""
        reply = super().respond(request, record)
        if request.method != "HEAD":
            self.incomplete += _missing(self)
        return reply

    @property
    def sent(self) -> int:
        """The bytes of blobs that clients have sent."""
        return sum(each.bytes_received for each in self.requests if "/blobs/" in each.path)


def _missing(registry: FakeRegistry) -> Iterator[str]:
    """Report what the named documents of a registry lack."""
    for name, tags in list(registry.tags.items()):
        for tag, digest in list(tags.items()):
            if digest not in registry.manifests[name]:
                yield f"{name}:{tag} has no manifest"
                continue
            document = json.loads(registry.manifests[name][digest][0])
            for child in (document["config"], *document["layers"]):
                if not registry.has_blob(name, child["digest"]):
                    yield f"{name}:{tag} lacks {child['digest'][:19]}"


def target_problems(registry: TargetRegistry, image: BuiltImage | None) -> list[str]:
    """List the problems of a registry.

    Args:
        registry: The registry.
        image: The image that its tag has to stand for, or None if there must be no tag.
    """
    wanted = {} if image is None else {TAG: image.digest}
    named = registry.tags.get(REPOSITORY, {})
    return [
        *registry.incomplete,
        *([] if named == wanted else [f"the tags are {named}, not {wanted}"]),
        *_wrong_blobs(registry),
        *(["it has another manifest"] if image and not _has_manifest(registry, image) else []),
    ]


def _wrong_blobs(registry: FakeRegistry) -> Iterator[str]:
    for digest, data in list(registry.blobs.items()):
        content = data.read_bytes() if isinstance(data, Path) else data
        found = hashlib.sha256(content).hexdigest()
        if digest != f"sha256:{found}":
            yield f"blob {digest[:19]} has the content of {found[:12]}"


def _has_manifest(registry: FakeRegistry, image: BuiltImage) -> bool:
    found = registry.manifests.get(REPOSITORY, {}).get(image.digest)
    return found == (image.manifest.data, image.manifest.media_type)


def served_problems(
    host: str, name: str, image: BuiltImage, *, tls: bool = False, may_lack: bool = False
) -> list[str]:
    """Fetch an image by its tag from a real registry, and list what is wrong with it.

    With ``may_lack`` the tag may be missing; if it is there, the image has to be complete.
    """
    pieces = [(f"blobs/{piece.digest}", piece.data) for piece in image.blobs()]
    problems = []
    for path, data in [(f"manifests/{TAG}", image.manifest.data), *pieces]:
        status, body = _get(host, f"/v2/{name}/{path}", image.manifest.media_type, tls=tls)
        if status == _NOT_FOUND and may_lack and not path.startswith("blobs/"):
            return []
        if status != _OK or body != data:
            problems.append(f"{path}: {status}, {len(body):,} bytes")
    return problems


def _get(host: str, path: str, accept: str, *, tls: bool) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT)
    if tls:
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - only content matters
        connection = http.client.HTTPSConnection(host, timeout=_TIMEOUT, context=context)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
