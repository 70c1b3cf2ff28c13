"""Signed schema1 manifests with one fault each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wherry.testing import build_schema1, compress, make_key, tar_layer, v1_id
from wherry.testing.schema1 import sign

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = ("ES256", make_key("ES256"))
LAYERS = [compress(tar_layer({f"f{number}": b"x"}), "gzip") for number in range(3)]
GOOD = build_schema1(LAYERS, keys=[KEY])
Change = dict[str, Any]


def entry(place: int, **changes: Any) -> Callable[[Change], None]:
    """Return a change of the version 1 JSON at `place`, from the top; None removes a key."""

    def change(document: Change) -> None:
        held = document["history"][place]
        found = json.loads(held["v1Compatibility"]) | changes
        held["v1Compatibility"] = json.dumps({k: v for k, v in found.items() if v is not None})

    return change


def raw_entry(text: str) -> Callable[[Change], None]:
    return lambda document: document["history"][0].update(v1Compatibility=text)


def blob_sum(text: str) -> Callable[[Change], None]:
    return lambda document: document["fsLayers"][0].update(blobSum=text)


FAULTS: dict[str, tuple[Callable[[Change], object], str]] = {
    "wrong-parent": (entry(0, parent=v1_id(7)), "history[0].v1Compatibility.parent: is "),
    "no-parent": (entry(0, parent=None), "history[0].v1Compatibility.parent: is ''"),
    "base-with-a-parent": (entry(2, parent=v1_id(7)), "the base layer has a parent"),
    "repeated-id": (entry(0, id=v1_id(0)), f"{v1_id(0)} appears more than once"),
    "bad-id": (entry(0, id="xyz"), "'xyz' is not an image id"),
    "no-id": (entry(0, id=None), "is not an image id"),
    "tarsum": (blob_sum(f"tarsum.v1+sha256:{'0' * 64}"), "layers named by tarsum"),
    "bad-digest": (blob_sum("sha256:12"), "fsLayers[0].blobSum: "),
    "schemaVersion-2": (lambda d: d.update(schemaVersion=2), "schemaVersion: expected 1"),
    "no-schemaVersion": (lambda d: d.pop("schemaVersion"), "schemaVersion: expected 1"),
    "history-too-short": (lambda d: d["history"].pop(), "history: has 2 entries for 3 layers"),
    "too-few-layers": (lambda d: d["fsLayers"].pop(), "history: has 3 entries for 2 layers"),
    "no-layers": (lambda d: d.update(history=[], fsLayers=[]), "fsLayers: is empty"),
    "not-json": (raw_entry("{"), "history[0].v1Compatibility: "),
    "a-list": (raw_entry("[]"), "history[0].v1Compatibility: "),
    "two-kinds": (lambda d: d.update(layers=[]), "a document has one kind"),
    "a-number-for-a-name": (lambda d: d.update(name=5), "name: "),
}


def faulty(fault: str, *, signed: bool = True) -> tuple[bytes, bytes]:
    """Return a payload with a fault, and the document that contains it."""
    document = json.loads(GOOD.payload)
    FAULTS[fault][0](document)
    payload = json.dumps(document, indent=3).encode()
    return payload, sign(payload, [KEY]) if signed else payload
