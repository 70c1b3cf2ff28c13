"""Decompression bombs, and documents that claim wrong sizes."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

import wherry as library
from wherry.content.verify import RawLimit
from wherry.errors import IntegrityError, WherryError
from wherry.testing import FakeRegistry, build_schema1
from wherry.testing.images import document, sha256
from wherry.types import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MIB = 2**20
RAW = 64 * MIB  # bytes of the bomb's content; a real one has gigabytes
LIMITS = Limits(RawLimit(least=8 * MIB, ratio=10))
OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."


def bomb(form: str) -> bytes:
    """Return a layer that decompresses to `RAW` bytes."""
    pack = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[form]
    return pack(bytes(RAW))


def manifest(style: str, layers: Sequence[tuple[str, object]], config: bytes) -> bytes:
    """Return a manifest that claims these sizes for its layers."""
    kinds = {
        "oci": (f"{OCI}manifest.v1+json", f"{OCI}config.v1+json", f"{OCI}layer.v1.tar"),
        "docker": (
            f"{DOCKER}distribution.manifest.v2+json",
            f"{DOCKER}container.image.v1+json",
            f"{DOCKER}image.rootfs.diff.tar",
        ),
    }[style]
    found = [
        {"mediaType": kinds[2], "digest": digest} | ({} if size is None else {"size": size})
        for digest, size in layers
    ]
    return document(
        {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": {"mediaType": kinds[1], "digest": sha256(config), "size": len(config)},
            "layers": found,
        }
    )


def config_of(*contents: bytes) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [sha256(each) for each in contents]}
    return document({"os": "linux", "architecture": "amd64", "rootfs": rootfs})


def put(fake: FakeRegistry, style: str, layers: list[bytes], sizes: Sequence[object]) -> str:
    """Put an image of `layers` into a registry; return its name."""
    config = config_of(*(bytes(RAW) for _ in layers))
    fake.add_blob(config)
    entries = [(fake.add_blob(layer), size) for layer, size in zip(layers, sizes, strict=True)]
    raw = manifest(style, entries, config)
    kind = f"{OCI}manifest.v1+json"
    fake.add_manifest(
        "app", raw, kind if style == "oci" else f"{DOCKER}distribution.manifest.v2+json", "t"
    )
    return f"{fake.host}/app:t"


def stored(store: library.Store) -> int:
    """Return the bytes of all files in a store's blobs and parts."""
    kinds = ("blobs", "ingest")
    return sum(
        path.stat().st_size
        for kind in kinds
        for path in (store.path / kind).rglob("*")
        if path.is_file()
    )


CLAIMS: dict[str, Callable[[int], int | None]] = {
    "true": lambda size: size,
    "a petabyte": lambda _: 2**50,
    "the most": lambda _: 2**63 - 1,
    "zero": lambda _: 0,
    "negative": lambda _: -1,
    "missing": lambda _: None,
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("style", ["oci", "docker"])
@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_bomb_is_refused_whatever_size_is_claimed(
    tmp_path: Path, fake: FakeRegistry, form: str, style: str, claim: str
) -> None:
    layer = bomb(form)
    name = put(fake, style, [layer], [CLAIMS[claim](len(layer))])
    store = library.Store(tmp_path / "small", limits=LIMITS)
    with library.Client(store=store) as client:
        with pytest.raises(IntegrityError, match="decompresses to more than"):
            client.pull(name)
        assert stored(store) < len(layer)
    store.close()


@pytest.mark.parametrize("form", ["gzip", "zstd"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_bomb_in_schema1_is_refused(
    tmp_path: Path, fake: FakeRegistry, form: str, verify: bool
) -> None:
    """Schema1 has no sizes; wherry decompresses the layers to make the config."""
    layer = bomb(form)
    built = build_schema1([layer], name="app", tag="t")
    fake.add_blob(layer)
    fake.add_manifest("app", built.manifest.data, built.manifest.media_type, "t")
    store = library.Store(tmp_path / "small", limits=LIMITS)
    with library.Client(store=store) as client:
        with pytest.raises(IntegrityError, match="decompresses to more than"):
            client.pull(f"{fake.host}/app:t", verify_layers=verify)
        assert stored(store) < len(layer)
    store.close()


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_blob_over_the_limit_is_refused_whatever_size_is_claimed(
    tmp_path: Path, fake: FakeRegistry, claim: str
) -> None:
    layer = bytes(3 * MIB)
    name = put(fake, "oci", [layer], [CLAIMS[claim](len(layer))])
    store = library.Store(tmp_path / "small", limits=Limits(blob=2 * MIB))
    with library.Client(store=store) as client:
        with pytest.raises(IntegrityError, match="2,097,152 bytes, which is the limit"):
            client.pull(name)
        assert stored(store) < len(layer)
    store.close()


@pytest.mark.parametrize("claim", CLAIMS)
def test_layers_are_bounded_together_as_they_arrive(
    tmp_path: Path, fake: FakeRegistry, claim: str
) -> None:
    layers = [bytes([number]) * MIB for number in range(6)]
    name = put(fake, "oci", layers, [CLAIMS[claim](MIB)] * 6)
    store = library.Store(tmp_path / "small", limits=Limits(image=4 * MIB))
    with (
        library.Client(store=store) as client,
        pytest.raises(IntegrityError, match="have more than 4,194,304 bytes together"),
    ):
        client.pull(name)
    store.close()


def test_layers_are_bounded_together_as_they_are_decompressed(
    tmp_path: Path, fake: FakeRegistry
) -> None:
    layers = [gzip.compress(bytes([number]) * 2 * MIB) for number in range(6)]
    name = put(fake, "oci", layers, [len(layer) for layer in layers])
    store = library.Store(tmp_path / "small", limits=Limits(image=5 * MIB))
    with (
        library.Client(store=store) as client,
        pytest.raises(IntegrityError, match="decompress to more than 5,242,880 bytes"),
    ):
        client.pull(name)
    store.close()


def test_layers_within_the_limit_are_pulled(tmp_path: Path, fake: FakeRegistry) -> None:
    layer = gzip.compress(bytes(RAW))
    name = put(fake, "oci", [layer, layer], [len(layer)] * 2)
    store = library.Store(tmp_path / "enough", limits=Limits(image=RAW))  # one blob, listed twice
    with library.Client(store=store) as client:
        client.pull(name)
    store.close()


@pytest.mark.parametrize("claim", [2**50, 5])
def test_validate_is_not_misled_by_a_size(tmp_path: Path, fake: FakeRegistry, claim: int) -> None:
    """131 KB of zstd decompress to more than 1 GiB, and the manifest claims a petabyte."""
    compressor = zstandard.ZstdCompressor().compressobj()
    layer = b"".join(compressor.compress(bytes(64 * MIB)) for _ in range(17)) + compressor.flush()
    name = put(fake, "oci", [layer], [claim])
    with library.Client(store=library.Store(tmp_path / "store")) as client:
        report = client.validate(name)
    assert any(
        "decompresses to more than 1,073,741,824" in each.message or each.where.endswith("size")
        for each in report.findings
    )


@pytest.mark.parametrize("command", ["save", "load"])
def test_a_layer_of_an_archive_is_bounded_by_what_is_read(tmp_path: Path, command: str) -> None:
    """A file may be sparse, so its size is only a claim."""
    compressor = zstandard.ZstdCompressor().compressobj()
    layer = b"".join(compressor.compress(bytes(64 * MIB)) for _ in range(17)) + compressor.flush()
    path = tmp_path / "archive.tar"
    config = config_of(b"")
    with tarfile.open(path, "w") as archive:
        entry = [{"Config": "c.json", "RepoTags": ["app:t"], "Layers": ["l.tar"]}]
        for name, data in (
            ("manifest.json", document(entry)),
            ("c.json", config),
            ("l.tar", layer),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with library.Client(store=library.Store(tmp_path / "store")) as client:
        call: Callable[[], object] = {
            "load": lambda: client.load(path),
            "save": lambda: client.save(f"docker-archive:{path}", tmp_path / "out.tar"),
        }[command]
        with pytest.raises(WherryError, match="decompresses to more than 1,073,741,824 bytes"):
            call()
