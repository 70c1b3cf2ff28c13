"""Docker's schema1 manifests: signed payloads, and the chain of layers in them.

Source: distribution, ``docs/spec/manifest-v2-1.md``. The signatures are JWS in the format of
libtrust. The payload is the document without its signatures: its first bytes and a tail.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from wherry.errors import InvalidDigest, InvalidDocument, Unsupported
from wherry.model import mediatype, v1
from wherry.model._fields import Fields, load_object
from wherry.model.digest import Digest
from wherry.model.schema1_signatures import Signature, decode_base64, parse_signature
from wherry.model.strict_json import check_values

MAX_DEPTH = 8
MAX_SIGNATURES = 16


@dataclass(frozen=True, slots=True)
class Schema1Layer:
    """An entry of the chain. ``throwaway`` tells that it has no layer of its own."""

    blob_sum: Digest
    v1_json: bytes = field(repr=False)
    id: str
    parent: str
    throwaway: bool


@dataclass(frozen=True, slots=True)
class Schema1:
    """A schema1 manifest. Its digest is the digest of ``payload``, not of ``raw``.

    ``layers`` are in the order of the document, top first, without repeated ids.
    """

    raw: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    media_type: str
    name: str
    tag: str
    architecture: str
    layers: tuple[Schema1Layer, ...]
    signatures: tuple[Signature, ...]

    def __hash__(self) -> int:
        return hash(self.raw)

    @property
    def digest(self) -> Digest:
        """The digest of the manifest in registries."""
        return Digest.of(self.payload)


def payload_of(raw: bytes) -> bytes:
    """Return the payload of a signed document; another document is returned unchanged.

    The content is not checked.

    Raises:
        InvalidDocument: The signatures do not define a payload.
    """
    try:
        check_values(raw, "the manifest")
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    if not isinstance(found, dict) or not {"fsLayers", "signatures"} <= found.keys():
        return raw
    return _payload(Fields(found), raw)


def parse_schema1(fields: Fields, raw: bytes, media_type: str) -> Schema1:
    """Parse a schema1 manifest and check its chain; signatures are not verified.

    Raises:
        InvalidDocument: The document breaks a rule of the format.
        Unsupported: Its layers have tarsums instead of digests.
    """
    payload = _payload(fields, raw)
    if media_type == mediatype.DOCKER_SCHEMA1_SIGNED and payload == raw:
        fields.fail("signatures", f"are missing, expected in {media_type}")
    signed = fields
    if payload != raw:
        # Only the payload is signed and has the digest; fields outside of it are ignored.
        fields = load_object(payload, "the signed payload", max_depth=MAX_DEPTH)
        for key in ("layers", "manifests", "config", "signatures"):
            if key in fields.value:
                fields.fail(key, "does not belong into a schema1 payload")
    if fields.integer("schemaVersion") != 1:
        fields.fail("schemaVersion", "expected 1")
    return Schema1(
        raw=raw,
        payload=payload,
        media_type=media_type,
        name=fields.text("name"),
        tag=fields.text("tag"),
        architecture=fields.text("architecture"),
        layers=_chain(_layers(fields)),
        signatures=tuple(map(parse_signature, _signature_fields(signed))),
    )


# The chain


def _layers(fields: Fields) -> list[Schema1Layer]:
    blobs, history = fields.objects("fsLayers"), fields.objects("history")
    if not blobs:
        fields.fail("fsLayers", "is empty, expected at least one layer")
    if len(blobs) != len(history):
        fields.fail("history", f"has {len(history)} entries for {len(blobs)} layers")
    return [_layer(blob, entry) for blob, entry in zip(blobs, history, strict=True)]


def _layer(blob: Fields, entry: Fields) -> Schema1Layer:
    text = blob.text("blobSum")
    if text.startswith("tarsum"):
        raise Unsupported("layers named by tarsum are not supported").within(blob.at("blobSum"))
    try:
        digest = Digest.parse(text)
    except InvalidDigest as error:
        blob.fail("blobSum", error.message)
    raw = entry.text("v1Compatibility").encode("utf-8")
    path = entry.at("v1Compatibility")
    try:
        found = v1.image(raw)
        throwaway = v1.parse_throwaway(raw)
        v1.validate_id(found.get("id", ""))
    except InvalidDocument as error:
        where = f"{path}.{error.path}" if error.path else path
        raise InvalidDocument(error.message, path=where) from None
    return Schema1Layer(digest, raw, found["id"], found.get("parent", ""), throwaway)


def _chain(layers: list[Schema1Layer]) -> tuple[Schema1Layer, ...]:
    """Check that the parent of each layer is the next one; drop adjacent duplicates."""
    if layers[-1].parent:
        raise InvalidDocument(
            "the base layer has a parent", path=f"history[{len(layers) - 1}].v1Compatibility.parent"
        )
    kept: list[Schema1Layer] = []
    seen: set[str] = set()
    for place in range(len(layers) - 1, -1, -1):
        layer, path = layers[place], f"history[{place}].v1Compatibility"
        if kept and layer.id == kept[-1].id:
            continue  # of two entries with the same id, the upper one is dropped with its layer
        if layer.id in seen:
            raise InvalidDocument(f"{layer.id} appears more than once", path=f"{path}.id")
        if kept and layer.parent != kept[-1].id:
            raise InvalidDocument(
                f"is {layer.parent[:80]!r}, expected {kept[-1].id}", path=f"{path}.parent"
            )
        seen.add(layer.id)
        kept.append(layer)
    return tuple(reversed(kept))


# Signatures


def _signature_fields(fields: Fields) -> list[Fields]:
    found = fields.objects("signatures")
    if len(found) > MAX_SIGNATURES:
        fields.fail("signatures", f"has {len(found)} entries, at most {MAX_SIGNATURES}")
    return found


def _payload(fields: Fields, raw: bytes) -> bytes:
    """Return the document without its signatures, which must agree on it."""
    found: set[tuple[int, bytes]] = set()
    for item in _signature_fields(fields):
        protected = _protected(item)
        length = protected.integer("formatLength")
        if length is None or not 0 <= length <= len(raw):
            item.fail("protected", "formatLength does not fit the document")
        found.add((length, decode_base64(protected, "formatTail")))
    if not found:
        return raw
    if len(found) > 1:
        raise InvalidDocument("the signatures are over different payloads", path="signatures")
    length, tail = found.pop()
    return raw[:length] + tail


def _protected(item: Fields) -> Fields:
    raw = decode_base64(item, "protected")
    try:
        found = load_object(raw, "the protected header", max_depth=MAX_DEPTH)
    except InvalidDocument as error:
        item.fail("protected", error.message)
    return Fields(found.value, item.at("protected"))
