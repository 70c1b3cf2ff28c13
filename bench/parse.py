"""Compare parsing of documents with `json.loads` on the same bytes."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from typing import TYPE_CHECKING

from wherry.content.protocols import Receipt
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, parse
from wherry.model.platform import Platform
from wherry.model.schema1 import Schema1
from wherry.testing import build_schema1
from wherry.transfer.derive import from_schema1
from wherry.transfer.graph import candidates

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRIES = 1000
LAYERS = 127
RUNS = 21
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def main() -> None:
    print("in process, median of", RUNS)
    raw = index()
    report("parse an index of 1,000 entries and match a platform", raw, lambda: match(raw), 10)
    signed = build_schema1([b"%d" % number for number in range(LAYERS)])
    report(
        "convert a schema1 manifest of 127 layers",
        signed.manifest.data,
        lambda: convert(signed.manifest.data, signed.manifest.media_type),
        20,
    )


def index() -> bytes:
    """Make an index with an entry for each variant, the wanted one last."""
    entries = [
        {
            "mediaType": _MANIFEST,
            "digest": f"sha256:{hashlib.sha256(b'%d' % number).hexdigest()}",
            "size": 1000 + number,
            "platform": {"os": "linux", "architecture": "arm64", "variant": f"v{number}"},
        }
        for number in range(ENTRIES - 1)
    ]
    last = {"platform": {"os": "linux", "architecture": "amd64"}}
    document = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*entries, entries[0] | last]}
    return json.dumps(document).encode()


def match(raw: bytes) -> None:
    found = parse(raw, _INDEX)
    assert isinstance(found, Index)  # noqa: S101 - it was made as one
    if len(candidates(found, Platform("linux", "amd64", "v3"))) != 1:
        raise SystemExit("the platform was not found")


def convert(raw: bytes, media_type: str) -> Manifest:
    found = parse(raw, media_type)
    assert isinstance(found, Schema1)  # noqa: S101 - it was made as one
    receipts = [
        Receipt(Descriptor("", layer.blob_sum, 1), Digest.of(layer.v1_json), 1)
        for layer in reversed(found.layers)
    ]
    return from_schema1(found, receipts).manifest


def report(what: str, raw: bytes, call: Callable[[], object], target: float) -> None:
    mine, plain = timed(call), timed(lambda: json.loads(raw))
    verdict = "ok" if mine <= target else "MISSED"
    print(
        f"  {what}: {mine:.2f} ms  <= {target} ms  {verdict}"
        f"   (json.loads of its {len(raw):,} bytes: {plain:.2f} ms, {mine / plain:.1f} x)"
    )


def timed(call: Callable[[], object]) -> float:
    """Return the median milliseconds of a call."""
    found = []
    for _ in range(RUNS):
        started = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - started))
    return statistics.median(found)


if __name__ == "__main__":
    main()
