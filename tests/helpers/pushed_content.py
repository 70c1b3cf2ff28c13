"""Sets of blobs, manifests and tags that tests push to a registry."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any

from registry_http import digest_of

Descriptor = dict[str, Any]
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
ARTIFACT = "application/vnd.example.thing.v1"
OTHER_ARTIFACT = "application/vnd.example.thing.v2"


class PushedContent:
    """Content of one repository; each one is different.

    Attributes:
        blobs: By digest.
        manifests: By digest, children before the index above them.
        tags: The digest that each tag points to.
        referrers: By digest of the subject: descriptors as the registry has to list them.
    """

    def __init__(self, algorithm: str = "sha256") -> None:
        self.algorithm = algorithm
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.referrers: dict[str, list[Descriptor]] = {}

    def blob(
        self, data: bytes | None = None, media_type: str = LAYER, *, embedded: bool = False
    ) -> Descriptor:
        """Add a blob, random if not given; return its descriptor."""
        data = secrets.token_bytes(600) if data is None else data
        digest = digest_of(data, self.algorithm)
        self.blobs[digest] = data
        found = {"mediaType": media_type, "digest": digest, "size": len(data)}
        return found | ({"data": base64.b64encode(data).decode()} if embedded else {})

    def config(self, layers: int, architecture: str = "amd64", **more: Any) -> Descriptor:
        """Add a config. Its DiffIDs are wrong, which is not for a registry to tell."""
        document = {
            "author": secrets.token_hex(8),
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(b"")] * layers},
        }
        return self.blob(json.dumps(document | more).encode(), CONFIG)

    def image(
        self,
        tag: str | None = None,
        *,
        layers: list[Descriptor] | None = None,
        config: Descriptor | None = None,
        architecture: str = "amd64",
        **more: Any,
    ) -> Descriptor:
        """Add an image with two layers, or what is given; return its descriptor."""
        layers = [self.blob(), self.blob()] if layers is None else layers
        config = self.config(len(layers), architecture) if config is None else config
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": config,
            "layers": layers,
            **more,
        }
        return self._add(document, tag, more.get("artifactType") or config["mediaType"])

    def artifact(self, tag: str | None = None, kind: str = ARTIFACT, **more: Any) -> Descriptor:
        """Add an artifact of one blob."""
        config = self.blob(b"{}", EMPTY)
        layers = [self.blob(media_type=kind)]
        return self.image(tag, layers=layers, config=config, artifactType=kind, **more)

    def index(
        self, tag: str | None = None, children: list[Descriptor] | None = None, **more: Any
    ) -> Descriptor:
        """Add an index of two images, or what is given; return its descriptor."""
        if children is None:
            children = [self.platform("amd64"), self.platform("arm64")]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children, **more}
        return self._add(document, tag, more.get("artifactType"))

    def platform(self, architecture: str) -> Descriptor:
        """Add an image; return its descriptor with a platform."""
        platform = {"os": "linux", "architecture": architecture}
        return self.image(architecture=architecture) | {"platform": platform}

    def _add(self, document: dict[str, Any], tag: str | None, kind: str | None) -> Descriptor:
        body = json.dumps(document).encode()
        digest = digest_of(body, self.algorithm)
        self.manifests[digest] = body
        found = {"mediaType": document["mediaType"], "digest": digest, "size": len(body)}
        if tag is not None:
            self.tags[tag] = digest
        if "subject" in document:
            listed: Descriptor = found | ({"artifactType": kind} if kind else {})
            if "annotations" in document:
                listed["annotations"] = document["annotations"]
            self.referrers.setdefault(document["subject"]["digest"], []).append(listed)
        return found


def media_type(body: bytes) -> str:
    """Return the media type that a manifest says."""
    found: str = json.loads(body).get("mediaType", IMAGE)
    return found
