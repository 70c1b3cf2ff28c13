"""Documents, lists, layers and archives that need much memory."""

from __future__ import annotations

import base64
import bz2
import functools
import io
import json
import lzma
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric import ec

from peak_memory import MOST, run
from wherry.content.decoder_memory import DecoderMemory, Reservation
from wherry.errors import IntegrityError, Unsupported
from wherry.model import gojson
from wherry.model.strict_json import check_values
from wherry.testing import FakeRegistry, build_schema1
from wherry.testing._messages import IncomingRequest, Reply, json_reply
from wherry.testing.images import document, sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 2**20
FULL = 4 * MIB - 600  # bytes of a document just below the limit
OCI = "application/vnd.oci.image."
MANIFEST, INDEX = f"{OCI}manifest.v1+json", f"{OCI}index.v1+json"


# Layers


@functools.cache
def zstd(size: int, window_log: int, number: int = 0) -> bytes:
    """Return a small frame that needs a window of ``2**window_log`` bytes and fills it."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, window_log=window_log, write_content_size=0
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    parts = [compressor.compress(b"%d" % number)]
    parts += [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, compressor.flush()])


@functools.cache
def growing(size: int) -> bytes:
    """Return frames with growing windows."""
    return b"".join(zstd(min(size, 2**log + MIB), log) for log in (20, 23, 25, 27))


@functools.cache
def xz(size: int, dictionary: int, number: int = 0) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": dictionary}]
    compressor = lzma.LZMACompressor(filters=filters)
    parts = [compressor.compress(b"%d" % number)]
    parts += [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, compressor.flush()])


# A small frame or stream of its own makes each layer different.
LAYERS: dict[str, Callable[[int], bytes]] = {
    "zstd, windows of 128 MiB": lambda number: zstd(0, 27, number) + zstd(140 * MIB, 27),
    "zstd, windows of 32 MiB": lambda number: zstd(0, 25, number) + zstd(40 * MIB, 25),
    "zstd, windows that grow": lambda number: zstd(0, 20, number) + growing(140 * MIB),
    "xz, dictionaries of 96 MiB": lambda number: xz(0, 96 * MIB, number) + xz(110 * MIB, 96 * MIB),
    "bzip2": lambda number: bz2.compress(b"%d" % number + bytes(20 * MIB)),
}


def add_image(
    fake: FakeRegistry, layers: list[bytes], config: bytes | None = None, tag: str = "t"
) -> str:
    """Add an image with any config to a registry; return its name."""
    if config is None:
        rootfs = {"type": "layers", "diff_ids": [sha256(each) for each in layers]}
        config = document({"os": "linux", "architecture": "amd64", "rootfs": rootfs})
    found = [
        {"mediaType": f"{OCI}layer.v1.tar", "digest": fake.add_blob(each), "size": len(each)}
        for each in layers
    ]
    kind = f"{OCI}config.v1+json"
    at = {"mediaType": kind, "digest": fake.add_blob(config), "size": len(config)}
    raw = document({"schemaVersion": 2, "mediaType": MANIFEST, "config": at, "layers": found})
    fake.add_manifest("app", raw, MANIFEST, tag)
    return f"{fake.host}/app:{tag}"


@pytest.mark.parametrize("form", LAYERS)
def test_layers_that_ask_for_memory(
    environment: dict[str, str], fake: FakeRegistry, form: str
) -> None:
    """Six layers at a time are decompressed before the wrong DiffIDs are found."""
    name = add_image(fake, [LAYERS[form](number) for number in range(6)])
    outcome = run(environment, "pull", name)
    assert outcome.code == 5
    assert "layers from manifest don't match image configuration" in outcome.stderr
    assert outcome.peak < MOST


@pytest.mark.parametrize("log", [28, 31])
def test_a_window_over_the_limit_is_refused(
    environment: dict[str, str], fake: FakeRegistry, log: int
) -> None:
    frame = b"\x28\xb5\x2f\xfd\0" + bytes([(log - 10) << 3]) + b"\x01\0\0"
    outcome = run(environment, "pull", add_image(fake, [frame]))
    assert outcome.code == 5
    assert f"decompressing it takes {2 ** (log - 20):,} MiB of memory" in outcome.stderr
    assert outcome.peak < 100


def test_a_budget_waits_and_then_refuses() -> None:
    """The error names the memory needed and the memory in use."""
    memory = DecoderMemory(limit_bytes=10 * MIB, patience_seconds=0.2)
    checks: list[None] = []
    holder = Reservation(memory, lambda: None)
    holder.grow(8 * MIB)
    with pytest.raises(Unsupported, match=r"takes 4 MiB of memory; of the 10 MiB .* 8 MiB are"):
        Reservation(memory, lambda: checks.append(None)).grow(4 * MIB)
    assert checks
    del holder
    assert memory.used_bytes == 0
    with pytest.raises(IntegrityError, match="129 MiB"):
        Reservation(memory, lambda: None).grow(129 * MIB)


# Configs


def config(members: bytes) -> bytes:
    rootfs = b'{"type":"layers","diff_ids":["%s"]}' % sha256(b"").encode()
    return b'{"os":"linux","architecture":"amd64","rootfs":%s,%s}' % (rootfs, members)


def repeated(name: bytes, item: bytes, count: int, around: bytes = b"[]") -> bytes:
    items = b",".join([item] * count)
    return b'"%s":%s%s%s' % (name, around[:1], items, around[1:])


def numbered(value: bytes, count: int) -> bytes:
    return b"{%s}" % b",".join(b'"%d":%s' % (number, value) for number in range(count))


# Built on demand: together they take 200 MB.
CONFIGS: dict[str, Callable[[], bytes]] = {
    "a million steps of history": lambda: repeated(b"history", b"{}", FULL // 3),
    "190,000 steps of history": lambda: repeated(b"history", b"{}", 190_000),
    "10,000 steps of history": lambda: repeated(
        b"history", b'{"created_by":"%s"}' % (b"<" * 380), 10_000
    ),
    "390,000 variables that are none": lambda: b'"config":{%s}' % repeated(b"Env", b"1", 390_000),
    "190,000 labels": lambda: b'"config":{"Labels":%s}' % numbered(b'""', 190_000),
    "a label of 4 MiB": lambda: b'"config":{"Labels":{"a":"%s"}}' % (b"<" * FULL),
    "a label of 4 MiB in wide characters": lambda: (
        b'"config":{"Labels":{"a":"%s\xf0\x9f\x98\x80"}}' % (b"<" * FULL)
    ),
    "escapes": lambda: b'"config":{"Env":["a=%s"]}' % (b"\\u0001" * (FULL // 6)),
    "a long key": lambda: b'"config":{"%s":"a"}' % (b"K" * FULL),
    "a long number": lambda: b'"x":%s' % (b"9" * FULL),
    "arrays": lambda: repeated(b"x", b"[]", FULL // 3),
    "objects": lambda: repeated(b"x", b'{"a":1}', 99_000),
    "nesting": lambda: b'"x":%s%s' % (b"[" * 1_000_000, b"]" * 1_000_000),
    "objects with distinct keys": lambda: b'"x":%s' % numbered(b"[]", 130_000),
}
COMMANDS = [["pull"], ["inspect"], ["inspect", "--config"], ["history"]]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "command",
    [COMMANDS[0], *(pytest.param(each, marks=pytest.mark.long) for each in COMMANDS[1:])],
    ids=" ".join,
)
def test_configs(
    environment: dict[str, str], fake: FakeRegistry, name: str, command: list[str]
) -> None:
    outcome = run(environment, *command, add_image(fake, [b""], config(CONFIGS[name]())))
    assert outcome.code in {0, 1}
    assert "internal error" not in outcome.stderr
    assert outcome.peak < MOST


# Schema1

KEY = ("ES256", ec.generate_private_key(ec.SECP256R1()))
LAYER = bz2.compress(bytes(1024))


def protected(tail: int) -> str:
    header = {"formatLength": 10, "formatTail": base64.b64encode(bytes(tail)).decode().rstrip("=")}
    return base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")


def with_signatures(*signatures: object) -> bytes:
    found = json.loads(build_schema1([LAYER]).payload)
    return json.dumps(found | {"signatures": signatures}).encode()


SIGNATURE = {"header": {"alg": "ES256", "jwk": {}}, "signature": "AA", "protected": protected(9)}
SCHEMA1: dict[str, Callable[[], bytes]] = {
    "a string of 4 MiB": lambda: (
        build_schema1([LAYER], top={"x": "a" * 3_600_000}, keys=[KEY]).manifest.data
    ),
    "characters that are escaped": lambda: (
        build_schema1([LAYER], top={"comment": "<" * 3_600_000}, keys=[KEY]).manifest.data
    ),
    "of an old engine": lambda: (
        build_schema1(
            [LAYER], top={"docker_version": "1.6", "comment": "<" * 3_600_000}, keys=[KEY]
        ).manifest.data
    ),
    "values": lambda: build_schema1([LAYER], top={"x": [[]] * 800_000}).manifest.data,
    "8,000 layers": lambda: build_schema1([LAYER] * 8000).manifest.data,
    "16 signatures": lambda: (
        build_schema1([LAYER], top={"x": "a" * 3_500_000}, keys=[KEY] * 16).manifest.data
    ),
    "long tails": lambda: with_signatures(*[SIGNATURE | {"protected": protected(100_000)}] * 16),
    "a million certificates": lambda: with_signatures(
        SIGNATURE | {"header": {"alg": "RS256", "x5c": [""] * 1_000_000}}
    ),
}


@pytest.mark.parametrize("name", SCHEMA1)
def test_schema1(environment: dict[str, str], fake: FakeRegistry, name: str) -> None:
    fake.add_blob(LAYER)
    raw = SCHEMA1[name]()
    kind = "prettyjws" if b'"signatures"' in raw else "json"
    fake.add_manifest("app", raw, f"application/vnd.docker.distribution.manifest.v1+{kind}", "t")
    outcome = run(environment, "pull", f"{fake.host}/app:t")
    assert "internal error" not in outcome.stderr
    assert outcome.peak < MOST


# Manifests and indexes


def manifest(**members: object) -> bytes:
    at = {"mediaType": f"{OCI}config.v1+json", "digest": sha256(b"{}"), "size": 2}
    return document({"schemaVersion": 2, "mediaType": MANIFEST, "config": at} | members)


ENTRY = {"digest": sha256(b""), "size": 1}
DOCUMENTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "layers": (lambda: manifest(layers=[ENTRY] * 40_000), MANIFEST),
    "10,000 layers": (
        lambda: manifest(layers=[ENTRY | {"annotations": {"a": ""}}] * 10_000),
        MANIFEST,
    ),
    "annotations": (
        lambda: manifest(layers=[], annotations={str(number): "" for number in range(190_000)}),
        MANIFEST,
    ),
    "addresses": (lambda: manifest(layers=[ENTRY | {"urls": ["a"] * 10_000}] * 30), MANIFEST),
    "data": (lambda: manifest(layers=[ENTRY | {"data": "A" * 3_900_000}]), MANIFEST),
    "10,000 entries": (
        lambda: document(
            {
                "schemaVersion": 2,
                "mediaType": INDEX,
                "manifests": [
                    ENTRY | {"mediaType": MANIFEST, "platform": {"os": "linux", "variant": str(n)}}
                    for n in range(10_000)
                ],
            }
        ),
        INDEX,
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_manifests(environment: dict[str, str], fake: FakeRegistry, name: str) -> None:
    make, kind = DOCUMENTS[name]
    fake.add_manifest("app", make(), kind, "t")
    outcome = run(environment, "inspect", "--raw", f"{fake.host}/app:t")
    assert "internal error" not in outcome.stderr
    assert outcome.peak < MOST


@pytest.mark.parametrize("command", [["pull", "--all-platforms"], ["validate"]], ids=" ".join)
def test_an_index_of_large_manifests(
    environment: dict[str, str], fake: FakeRegistry, command: list[str]
) -> None:
    """Parsed manifests once took 700 MB for 60 of them."""
    entries = []
    for number in range(30):
        raw = manifest(layers=[ENTRY | {"annotations": {str(number): ""}}] * 10_000)
        digest = fake.add_manifest("app", raw, MANIFEST)
        platform = {"os": "linux", "architecture": f"a{number}"}
        entries.append(
            {"mediaType": MANIFEST, "digest": digest, "size": len(raw), "platform": platform}
        )
    raw = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    fake.add_manifest("app", raw, INDEX, "t")
    outcome = run(environment, *command, f"{fake.host}/app:t")
    assert outcome.code == 1
    assert "its documents have over 32 MiB together" in outcome.stderr
    assert outcome.peak < MOST


# Lists


class ListRegistry(FakeRegistry):
    """A registry with a paged tag list; ``entry`` makes the tag of a number."""

    def __init__(self, entry: Callable[[int], str], each: int) -> None:
        super().__init__()
        self._entry = entry
        self._each = each

    def answer(self, request: IncomingRequest) -> Reply:
        if "/tags/" not in request.path:
            return super().answer(request)
        start = int(request.value("n") or 0)
        tags = [self._entry(number) for number in range(start, start + self._each)]
        link = f'<{request.path}?n={start + self._each}>; rel="next"'
        return json_reply(200, {"name": "app", "tags": tags}, {"Link": link})


LISTS: dict[str, tuple[Callable[[int], str], int]] = {
    "long tags": (lambda number: f"{number:0128}", 100_000),
    "short tags": (str, 400_000),
    "what is too long for a tag": (lambda number: f"{number}" + "x" * 15_000, 1000),
    "wide characters": (lambda number: f"{number}" + "\U0001f600" * 100, 30_000),
    "empty texts": (lambda _: "", 1_000_000),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("order", ["registry", pytest.param("version", marks=pytest.mark.long)])
def test_tag_lists(environment: dict[str, str], name: str, order: str) -> None:
    with ListRegistry(*LISTS[name]) as fake:
        outcome = run(environment, "tags", "--sort", order, f"{fake.host}/app")
    assert outcome.code == 1
    assert "internal error" not in outcome.stderr
    assert outcome.peak < MOST


# Archives

ARCHIVES: dict[str, Callable[[], list[tuple[str, bytes]]]] = {
    "images": lambda: [("manifest.json", document([{"Config": "c", "Layers": ["l"] * 9000}] * 40))],
    "values": lambda: [("manifest.json", b"[%s]" % b",".join([b"{}"] * 1_000_000))],
    "10,000 images": lambda: [
        ("manifest.json", document([{"Config": f"c{n}", "Layers": ["l"]} for n in range(10_000)]))
    ],
    "documents": lambda: [(f"{n}.json", b'{"x":"%s"}' % (b"y" * 4_000_000)) for n in range(15)],
    "members": lambda: [(f"{'n' * 90}{number}", b"") for number in range(120_000)],
}


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("packed", ["", pytest.param("xz", marks=pytest.mark.long)])
def test_archives(environment: dict[str, str], tmp_path: Path, name: str, packed: str) -> None:
    path = tmp_path / "archive"
    with tarfile.open(path, f"w:{packed}" if packed else "w") as archive:  # type: ignore[call-overload]
        for member, data in ARCHIVES[name]():
            found = tarfile.TarInfo(member)
            found.size = len(data)
            archive.addfile(found, io.BytesIO(data))
    outcome = run(environment, "load", "-i", str(path))
    assert outcome.code != 0
    assert "internal error" not in outcome.stderr
    assert outcome.peak < MOST


# Settings


SETTINGS: dict[str, Callable[[], str]] = {
    "long dotted keys": lambda: "".join(f"a{n}{'.b' * 8000}=1\n" for n in range(60)),
    "many dotted keys": lambda: "".join(f"a{n}{'.b' * 500}=1\n" for n in range(900)),
    "dotted tables": lambda: "".join(f"[a{n}{'.b' * 8000}]\n" for n in range(60)),
    "registries": lambda: "".join(f'[[registry]]\nprefix="a{n}"\n' for n in range(35_000)),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("place", ["containers/registries.conf", "wherry/hosts.toml"])
def test_settings(
    environment: dict[str, str], fake: FakeRegistry, tmp_path: Path, name: str, place: str
) -> None:
    path = tmp_path / "home" / "config" / place
    path.parent.mkdir()
    path.write_text(SETTINGS[name]())
    outcome = run(environment, "why", f"{fake.host}/app")
    assert outcome.code == 1
    assert "internal error" not in outcome.stderr
    assert outcome.peak < MOST


# Time and memory of regular expressions are proportional to the text


@pytest.mark.parametrize(
    "text",
    ["x" * 4_000_000, "\\n" * 2_000_000, '\\"' * 2_000_000, "<" * 4_000_000],
    ids=["plain", "escapes", "quotes", "angles"],
)
@pytest.mark.timeout(30)
def test_strings_of_4_mib_are_compacted_in_one_pass(text: str) -> None:
    assert gojson.compact(f'"{text}"').startswith('"')
    check_values(b'"%s"' % text.encode(), "a text")
    check_values(b'"%s' % text.encode(), "a text that does not end")
