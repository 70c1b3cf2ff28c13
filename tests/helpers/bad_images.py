"""Invalid images by name, which a pull refuses.

The tests of `pull`, `load` and `validate` use all of them. Add new ones here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import bad_schema1
from wherry.testing import (
    build_image,
    build_index,
    build_schema1,
    compress,
    document,
    sha256,
    tar_layer,
)
from wherry.testing.images import BuiltImage, BuiltIndex, Piece
from wherry.testing.schema1 import UNSIGNED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wherry.testing import FakeRegistry

AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
OCI = "application/vnd.oci.image."
OCI_MANIFEST, OCI_INDEX = OCI + "manifest.v1+json", OCI + "index.v1+json"
LAYER = OCI + "layer.v1.tar+gzip"
TARS = [tar_layer({f"f{number}": b"content %d" % number * 200}) for number in range(3)]
GOOD = build_image(TARS)
GZIP, ZSTD = compress(TARS[0], "gzip"), compress(TARS[0], "zstd")


@dataclass(frozen=True)
class BadImage:
    """A root document, and the documents and blobs below it by their digests."""

    root: Piece
    documents: Mapping[str, Piece] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    digest: str = ""  # digest of the root, if not the sha256 of its bytes

    def serve(self, registry: FakeRegistry) -> str:
        """Add the image to a registry; return its reference."""
        for digest, piece in self.documents.items():
            registry.add_manifest("app", piece.data, piece.media_type, digest=digest)
        registry.blobs.update(self.blobs)
        root = self.root
        registry.add_manifest("app", root.data, root.media_type, "t", digest=self.digest or None)
        return f"{registry.host}/app:t"

    def write_layout(self, directory: Path) -> str:
        """Write the image as an OCI layout; return its address."""
        digest = self.digest or self.root.digest
        files = {digest: self.root.data, **self.blobs}
        files |= {name: piece.data for name, piece in self.documents.items()}
        for name, data in files.items():
            path = directory / "blobs" / name.replace(":", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        listed = self.root.descriptor() | {"digest": digest}
        (directory / "index.json").write_bytes(
            document({"schemaVersion": 2, "manifests": [listed]})
        )
        (directory / "oci-layout").write_bytes(document({"imageLayoutVersion": "1.0.0"}))
        return f"oci:{directory}"

    def write_flat(self, directory: Path) -> str:
        """Write the image as a flat directory; return its address."""
        directory.mkdir(parents=True)
        (directory / "version").write_text("Directory Transport Version: 1.1\n")
        (directory / "manifest.json").write_bytes(self.root.data)
        for name, data in self.blobs.items():
            (directory / name.partition(":")[2]).write_bytes(data)
        for name, piece in self.documents.items():
            (directory / f"{name.partition(':')[2]}.manifest.json").write_bytes(piece.data)
        return f"dir:{directory}"

    def docker_files(self) -> dict[str, bytes] | None:
        """Return the files of a docker archive with the image's config and layers."""
        try:
            manifest = json.loads(self.root.data)
            config = self.blobs[manifest["config"]["digest"]]
            layers = [self.blobs[layer["digest"]] for layer in manifest["layers"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        paths = [f"{place}/layer.tar" for place in range(len(layers))]
        entry = {"Config": "config.json", "RepoTags": ["app:t"], "Layers": paths}
        files = {"config.json": config, **dict(zip(paths, layers, strict=True))}
        return files | {"manifest.json": document([entry])}

    def within(self, platform: Mapping[str, str] | None = AMD64, **entry: object) -> BadImage:
        """Return an index that lists the image; ``entry`` changes its descriptor."""
        digest = self.digest or self.root.digest
        listed = self.root.descriptor() | {"digest": digest, "platform": platform} | entry
        index = document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed]})
        documents = {**self.documents, digest: self.root}
        return BadImage(Piece(OCI_INDEX, index), documents, self.blobs)


def bad(
    image: BuiltImage | BuiltIndex = GOOD,
    *,
    missing: tuple[str, ...] = (),
    served: Mapping[str, bytes] | None = None,
) -> BadImage:
    """Return the good image without some blobs, or with other bytes in them."""
    images = list(image.every_image()) if isinstance(image, BuiltIndex) else [image]
    root = image.index if isinstance(image, BuiltIndex) else image.manifest
    blobs = {piece.digest: piece.data for each in images for piece in each.blobs()}
    documents = {each.digest: each.manifest for each in images if each.manifest is not root}
    if isinstance(image, BuiltIndex):
        documents |= {each.digest: each.index for each in image.indexes}
    blobs |= served or {}
    return BadImage(
        root,
        {name: piece for name, piece in documents.items() if name not in missing},
        {name: data for name, data in blobs.items() if name not in missing},
    )


def changed(image: BuiltImage = GOOD, **keys: object) -> BadImage:
    """Return an image with other values at the top of its manifest; None removes a key."""
    merged = json.loads(image.manifest.data) | keys
    raw = document({key: value for key, value in merged.items() if value is not None})
    return replace(bad(image), root=Piece(OCI_MANIFEST, raw))


def raw_root(data: bytes, media_type: str = OCI_MANIFEST) -> BadImage:
    """Return an image whose root document is these bytes."""
    return replace(bad(), root=Piece(media_type, data))


def with_config(data: bytes) -> BadImage:
    """Return an image whose config is these bytes, under their digest."""
    config = Piece(GOOD.config.media_type, data)
    made = changed(config=config.descriptor())
    return replace(made, blobs={**made.blobs, config.digest: data})


def with_layer(data: bytes, media_type: str = LAYER) -> BadImage:
    """Return an image of one layer with these bytes; its DiffID is that of ``TARS[0]``."""
    return bad(
        build_image(
            [data],
            compression="none",
            diff_ids=[sha256(TARS[0])],
            layer_media_types=[media_type],
        )
    )


def with_layers(**keys: object) -> BadImage:
    """Return an image with other values in the descriptor of its last layer."""
    first, *_, last = (layer.descriptor() for layer in GOOD.layers)
    middle = GOOD.layers[1].descriptor()
    return changed(layers=[first, middle, last | keys])


def sha512(data: bytes) -> str:
    return "sha512:" + hashlib.sha512(data).hexdigest()


def flipped(data: bytes, place: int = 40) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def nested(depth: int) -> BadImage:
    """Return nested indexes with the good image in the innermost one."""
    found = bad()
    for _ in range(depth):
        found = found.within()
    return found


def twice(**keys: object) -> BadImage:
    """Return an index that lists the good image twice, the second time with other values."""
    entry = GOOD.manifest.descriptor()
    listed = [
        entry | {"platform": AMD64 | {"variant": "v3"}},
        entry | {"platform": AMD64} | keys,
    ]
    index = document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})
    return BadImage(Piece(OCI_INDEX, index), {GOOD.digest: GOOD.manifest}, bad().blobs)


def deep_again() -> BadImage:
    """Return an index in which the image for amd64 is nested too deep, and another is not."""
    levels = [bad()]
    for _ in range(7):
        levels.append(levels[-1].within())
    short = levels[-1].root.descriptor() | {"platform": {"os": "linux", "architecture": "s390x"}}
    long = levels[-1].within().within()
    listed = [short, long.root.descriptor() | {"platform": AMD64}]
    index = document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})
    documents = {**long.documents, long.root.digest: long.root}
    return BadImage(Piece(OCI_INDEX, index), documents, bad().blobs)


def schema1(fault: str) -> BadImage:
    payload, raw = bad_schema1.faulty(fault)
    blobs = {sha256(layer): layer for layer in bad_schema1.LAYERS}
    piece = Piece(bad_schema1.GOOD.manifest.media_type, raw)
    return BadImage(piece, {}, blobs, sha256(payload))


def schema1_with(*, signatures: bool = True, **v1: object) -> BadImage:
    """Return a schema1 image with other values in its topmost version 1 JSON, signed anew."""
    built = build_schema1(bad_schema1.LAYERS, keys=[bad_schema1.KEY], top=v1)
    raw, payload = built.manifest.data, built.payload
    if not signatures:  # change the payload after it is signed
        raw = raw.replace(b'"tag": "latest"', b'"tag": "latesu"')
        payload = payload.replace(b'"latest"', b'"latesu"')
    blobs = {sha256(layer): layer for layer in built.layers}
    return BadImage(Piece(built.manifest.media_type, raw), {}, blobs, sha256(payload))


def schema1_layer(data: bytes) -> BadImage:
    built = build_schema1([data], keys=[bad_schema1.KEY])
    return BadImage(built.manifest, {}, {sha256(data): data}, built.digest)


CONFIG = json.loads(GOOD.config.data)
DIFF_IDS = list(GOOD.diff_ids)


def config_with(**keys: object) -> BadImage:
    """Return an image with other values at the top of its config; None removes a key."""
    merged = CONFIG | keys
    return with_config(document({key: val for key, val in merged.items() if val is not None}))


def diff_ids(*found: str) -> BadImage:
    return config_with(rootfs={"type": "layers", "diff_ids": list(found)})


def artifact(config: str, layer: str, **more: object) -> BadImage:
    return bad(
        build_image(
            TARS[:1], config_media_type=config, layer_media_types=[layer], manifest_extra=more
        )
    )


def documents() -> Iterator[tuple[str, BadImage]]:
    """Yield invalid root documents."""
    entry = GOOD.config.descriptor()
    yield "two kinds", changed(manifests=[])
    yield "two kinds, schema1", changed(fsLayers=[])
    yield "a manifest that is called an index", raw_root(GOOD.manifest.data, OCI_INDEX)
    yield "not JSON", raw_root(b"no JSON")
    yield "empty", raw_root(b"")
    yield "not UTF-8", raw_root(b'{"schemaVersion":2,"x":"\xff"}')
    yield "NaN", raw_root(GOOD.manifest.data[:-1] + b',"x":NaN}')
    yield "a list", raw_root(b"[]")
    yield "a duplicate key", raw_root(b'{"layers":[],' + GOOD.manifest.data[1:])
    yield (
        "a duplicate key of a descriptor",
        raw_root(GOOD.manifest.data.replace(b'"size":', b'"size":1,"size":', 1)),
    )
    yield "deep", raw_root(b'{"schemaVersion":2,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    yield "nested nine times", raw_root(GOOD.manifest.data[:-1] + b',"x":' + b"[" * 9 + b"]" * 9 + b"}")  # fmt: skip # noqa: E501
    yield "over 4 MiB", raw_root(b" " * (4 * 2**20) + GOOD.manifest.data)
    yield "no config", changed(config=None)
    yield "no layers", changed(layers=None, config=None)
    yield "a config of negative size", changed(config=entry | {"size": -1})
    yield "a config of another size", changed(config=entry | {"size": entry["size"] + 1})
    yield "a config without a digest", changed(config={"mediaType": entry["mediaType"], "size": 3})
    yield "a config of 5 MiB", changed(config=entry | {"size": 5 * 2**20})
    yield "a bad digest", with_layers(digest="sha256:AB")
    yield "an unknown algorithm", with_layers(digest="md5:" + "0" * 32)
    yield "a digest that is a path", with_layers(digest="sha256:../../../etc/passwd")
    yield "data that is not the config's", changed(config=entry | {"data": "e30="})
    yield "data that is no base64", changed(config=entry | {"data": "?"})


def contents() -> Iterator[tuple[str, BadImage]]:
    """Yield blobs that are missing, damaged, or contradict their descriptors."""
    layer, config = GOOD.layers[1], GOOD.config
    yield "no config in the place", bad(missing=(config.digest,))
    yield "no layer in the place", bad(missing=(layer.digest,))
    yield "another config", bad(served={config.digest: b"{}"})
    yield (
        "a config with a byte changed",
        bad(served={config.digest: flipped(config.data)}),
    )
    yield "a layer with a byte changed", bad(served={layer.digest: flipped(layer.data)})
    yield "a layer with more behind it", bad(served={layer.digest: layer.data + b"more"})
    yield "a layer that is cut off", bad(served={layer.digest: layer.data[:-7]})
    yield "a layer that is empty", bad(served={layer.digest: b""})
    yield "gzip with a byte changed", with_layer(flipped(GZIP))
    yield "gzip that is cut off", with_layer(GZIP[:-9])
    yield "gzip with a wrong checksum", with_layer(flipped(GZIP, len(GZIP) - 6))
    yield "gzip with noise behind it", with_layer(GZIP + b"noise")
    yield "gzip that is only a head", with_layer(GZIP[:10])
    yield "gzip of something else", with_layer(compress(b"something else", "gzip"))
    yield "zstd with a byte changed", with_layer(flipped(ZSTD), OCI + "layer.v1.tar+zstd")
    yield "zstd that is cut off", with_layer(ZSTD[:-9], OCI + "layer.v1.tar+zstd")
    yield "zstd with noise behind it", with_layer(ZSTD + b"noise", OCI + "layer.v1.tar+zstd")
    yield "xz", with_layer(compress(TARS[0], "xz")[:-9])
    yield "bzip2", with_layer(compress(TARS[0], "bzip2")[:-9])
    yield "a plain layer that is another", with_layer(TARS[1], OCI + "layer.v1.tar")
    yield "an encrypted layer", with_layers(mediaType=LAYER + "+encrypted")
    yield "an encrypted layer by another name", with_layers(mediaType="application/x+enc")
    yield "a layer that is no tar", with_layers(mediaType=OCI + "layer.v1.squashfs")
    yield "a layer packed with lzma", with_layers(mediaType=OCI + "layer.v1.tar+lzma")
    first = GOOD.layers[0].descriptor()
    yield (
        "a layer that is encrypted the second time",
        replace(
            changed(
                build_image([TARS[0], TARS[0]]),
                layers=[first, first | {"mediaType": LAYER + "+encrypted"}],
            ),
            blobs=bad(build_image([TARS[0], TARS[0]])).blobs,
        ),
    )


def configs() -> Iterator[tuple[str, BadImage]]:
    """Yield invalid configs, and configs that do not match the layers."""
    yield "no rootfs", config_with(rootfs=None)
    yield "a rootfs that is a list", config_with(rootfs=[])
    yield "a config that is not JSON", with_config(b"no JSON")
    yield "a config that is empty", with_config(b"")
    yield "a config that is a list", with_config(b"[]")
    yield "a config with a duplicate key", with_config(b'{"rootfs":{},' + GOOD.config.data[1:])
    yield "a deep config", with_config(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    yield "a number for the architecture", config_with(architecture=5)
    yield "an os that is a list", config_with(os=["linux"])
    yield "another DiffID", diff_ids(DIFF_IDS[0], sha256(b"x"), DIFF_IDS[2])
    yield "DiffIDs that are swapped", diff_ids(DIFF_IDS[1], DIFF_IDS[0], DIFF_IDS[2])
    yield "a DiffID too few", diff_ids(*DIFF_IDS[:2])
    yield "a DiffID too many", diff_ids(*DIFF_IDS, sha256(b"x"))
    yield "no DiffIDs", diff_ids()
    yield "a DiffID that is no digest", diff_ids(DIFF_IDS[0], "x", DIFF_IDS[2])
    yield "a number for a DiffID", config_with(rootfs={"diff_ids": [*DIFF_IDS[:2], 5]})
    yield "another sha512 DiffID", diff_ids(*DIFF_IDS[:2], sha512(b"x"))
    yield "sha512 DiffIDs, the last another", diff_ids(*map(sha512, TARS[:2]), sha512(b"x"))
    yield "sha512 of the packed layer", diff_ids(*DIFF_IDS[:2], sha512(GOOD.layers[2].data))


def artifacts() -> Iterator[tuple[str, BadImage]]:
    """Yield artifacts that are not images."""
    helm = "application/vnd.cncf.helm."
    config = OCI + "config.v1+json"
    yield "a helm chart", artifact(helm + "config.v1+json", helm + "chart.content.v1.tar+gzip")
    yield "a docker plugin", artifact("application/vnd.docker.plugin.v1+json", LAYER)
    yield "a signature", artifact(config, "application/vnd.dev.cosign.simplesigning.v1+json")
    yield "an attestation", artifact(config, "application/vnd.in-toto+json")
    yield (
        "an artifact type",
        artifact("application/vnd.oci.empty.v1+json", "text/plain", artifactType="text/x-poem"),
    )


def indexes() -> Iterator[tuple[str, BadImage]]:
    """Yield indexes with invalid entries."""
    good = bad()
    windows = build_image(TARS, os="windows")
    yield "an empty index", bad(build_index([]))
    yield "an index of unknown types", good.within(mediaType="application/vnd.acme.thing")
    yield "an index of attestations", good.within({"os": "unknown", "architecture": "unknown"})
    yield "an index whose image is missing", replace(good.within(), documents={})
    yield (
        "an index whose image is another",
        replace(good.within(), documents={GOOD.digest: Piece(OCI_MANIFEST, b"{}")}),
    )
    yield "an image that its index calls an index", good.within(mediaType=OCI_INDEX)
    yield "an index that its index calls an image", good.within().within(mediaType=OCI_MANIFEST)
    yield "an index that lists nothing that it can", good.within(digest="sha256:12")
    yield (
        "an image for another system",
        bad(build_index([(windows, AMD64)])),
    )
    yield (
        "an image for another architecture",
        bad(build_index([(build_image(TARS, architecture="arm64"), AMD64)])),
    )
    yield "indexes nested nine times", nested(9)
    yield "indexes nested deep by a second way", deep_again()
    yield "an image that is called an index the second time", twice(mediaType=OCI_INDEX)
    yield (
        "an index of two kinds",
        raw_root(good.within().root.data[:-1] + b',"layers":[]}', OCI_INDEX),
    )
    arm64 = bad(build_index([(build_image(TARS, architecture="arm64"), ARM64)]))
    yield "an index for another architecture", arm64.within()
    yield "an index of nothing but another index of nothing", bad(build_index([])).within(None)
    yield "an artifact for the platform", dict(artifacts())["a helm chart"].within()


def with_manifest(data: bytes) -> BadImage:
    """Return an index that lists the good image with these bytes as its manifest."""
    return raw_root(data).within()


def with_v1(data: bytes) -> BadImage:
    """Return a schema1 image whose topmost version 1 JSON is these bytes."""
    found = json.loads(bad_schema1.GOOD.payload)
    found["history"][0]["v1Compatibility"] = data.decode()
    raw = json.dumps(found, indent=3).encode()
    return with_schema1(raw)


def with_schema1(data: bytes) -> BadImage:
    """Return an unsigned schema1 image whose manifest is these bytes."""
    blobs = {sha256(layer): layer for layer in bad_schema1.LAYERS}
    return BadImage(Piece(UNSIGNED, data), {}, blobs)


def schema1s() -> Iterator[tuple[str, BadImage]]:
    """Yield invalid schema1 images."""
    for fault in bad_schema1.FAULTS:
        yield f"schema1: {fault}", schema1(fault)
    yield "schema1: a signature of another payload", schema1_with(signatures=False)
    yield "schema1: a number for the os", schema1_with(os=5)
    yield "schema1: a number for the variant", schema1_with(variant=5)
    yield "schema1: a number for a time", schema1_with(created=5)
    yield "schema1: a time that is none", schema1_with(created="yesterday")
    yield "schema1: a config that is a list", schema1_with(config=["x"])
    yield "schema1: a number for a version", schema1_with(docker_version=5)
    yield "schema1: a layer that is cut off", schema1_layer(GZIP[:-9])
    yield "schema1: a layer that is noise", schema1_layer(b"\x1f\x8b\x08" + b"noise" * 9)


def _named() -> dict[str, BadImage]:
    found: dict[str, BadImage] = {}
    for kind in (documents, contents, configs, artifacts, indexes, schema1s):
        for name, image in kind():
            assert name not in found
            found[name] = image
    return found


BAD_IMAGES = _named()
GOOD_IMAGES = {
    "an image": bad(),
    "a docker image": bad(build_image(TARS, style="docker")),
    "a zstd image": bad(build_image(TARS, compression="zstd")),
    "a plain image": bad(build_image(TARS, compression="none")),
    "sha512 DiffIDs": diff_ids(*map(sha512, TARS)),
    "DiffIDs of both kinds": diff_ids(DIFF_IDS[0], sha512(TARS[1]), DIFF_IDS[2]),
    "an index": bad().within(),
    "indexes nested eight times": nested(8),
    "an image that is listed twice": twice(),
}
