"""An empty image that no registry has yet: the stand-in for a manifest that stays."""

from __future__ import annotations

import json
import secrets

from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.record import Record

# A tar without members (two blocks of zeros), compressed with gzip. Some registries refuse
# images without layers.
_TAR = bytes(1024)
_LAYER = bytes.fromhex("1f8b080000000000020363601805a360148c5400002eafb5ef00040000")
_CREATED = "1970-01-01T00:00:00Z"


class StandIn(Record):
    """An image with a unique digest: its manifest, and the blobs that it names."""

    manifest: tuple[Descriptor, bytes]
    blobs: tuple[tuple[Descriptor, bytes], ...]

    @property
    def digest(self) -> Digest:
        """The digest of the manifest."""
        return self.manifest[0].digest


def make_stand_in(media_type: str) -> StandIn:
    """Make an image of docker's types if ``media_type`` is docker's, else of OCI's.

    A random label of its config makes the digest unique.
    """
    is_docker = media_type in {mediatype.DOCKER_MANIFEST, mediatype.DOCKER_LIST}
    config = _blob(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _CREATED,
            "config": {"Labels": {"wherry.stand-in": secrets.token_hex(16)}},
            "history": [{"created": _CREATED, "comment": "stands for a tag to be deleted"}],
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(_TAR))]},
        },
        mediatype.DOCKER_CONFIG if is_docker else mediatype.OCI_CONFIG,
    )
    kind = mediatype.layer_type("gzip", docker=is_docker)
    layer = Descriptor.of(_LAYER, kind), _LAYER
    manifest = _blob(
        {
            "schemaVersion": 2,
            "mediaType": mediatype.DOCKER_MANIFEST if is_docker else mediatype.OCI_MANIFEST,
            "config": _entry(config[0]),
            "layers": [_entry(layer[0])],
        },
        mediatype.DOCKER_MANIFEST if is_docker else mediatype.OCI_MANIFEST,
    )
    return StandIn(manifest, (config, layer))


def _blob(content: dict[str, object], media_type: str) -> tuple[Descriptor, bytes]:
    raw = json.dumps(content).encode()
    return Descriptor.of(raw, media_type), raw


def _entry(descriptor: Descriptor) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
