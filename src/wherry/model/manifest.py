"""Manifests and indexes, with the bytes that they were parsed from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import wherry
from wherry.errors import IntegrityError, InvalidDocument, Unsupported
from wherry.model import mediatype
from wherry.model._fields import Fields, load_object
from wherry.model.descriptor import Descriptor, read_descriptor, read_layer, size_problem
from wherry.model.digest import Digest, mismatch
from wherry.model.problem import DocumentFault
from wherry.model.record import Record

MAX_DEPTH = 8  # levels of nesting in a manifest or index
_VERSION = 2  # the schemaVersion of manifests and indexes
_KEYS = {"schemaVersion", "mediaType", "manifests", "config", "layers", "fsLayers", "history"}
_FOLDED_KEYS = {key.lower(): key for key in _KEYS}


class Manifest(Record):
    """A manifest: Docker schema2 or OCI.

    Attributes:
        raw: The bytes of the document.
        media_type: Its media type.
        config: The descriptor of the config.
        layers: The descriptors of the layers, bottom first.
        artifact_type: The type of an artifact.
        subject: The manifest that this one refers to.
        annotations: Values by name.
        problems: Faults that do not prevent its use.
    """

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = {}
    problems: tuple[DocumentFault, ...] = ()

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"<Manifest {Digest.of(self.raw)}>"

    @property
    def artifact(self) -> str | None:
        """The kind of artifact, such as ``a helm chart``; None for an image."""
        config = self.config.media_type
        if not mediatype.is_image_config(config):
            if self.artifact_type:
                return _artifact_kind(self.artifact_type)
            if not mediatype.is_sloppy_config(config):
                return _artifact_kind(config)
        for layer in self.layers:  # signatures of cosign have an image's config
            if (name := mediatype.artifact_name(layer.media_type)) is not None:
                return name
        return None


class Index(Record):
    """An index: a Docker manifest list or an OCI image index.

    Attributes:
        raw: The bytes of the document.
        media_type: Its media type.
        manifests: The descriptors of the manifests and of nested indexes.
        artifact_type: The type of an artifact.
        subject: The manifest that this one refers to.
        annotations: Values by name.
        problems: Faults that do not prevent its use.
    """

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = {}
    problems: tuple[DocumentFault, ...] = ()

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"<Index {Digest.of(self.raw)}>"


# `wherry.model.schema1` is loaded on demand: it is rare and slow to import.
Document: TypeAlias = "Manifest | Index | wherry.types.Schema1"


def docker_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> Manifest:
    """Make a schema2 manifest with the bytes of Go's encoder."""
    return _make_manifest(mediatype.DOCKER_MANIFEST, config, layers)


def oci_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> Manifest:
    """Make an OCI manifest with the bytes of Go's encoder."""
    return _make_manifest(mediatype.OCI_MANIFEST, config, layers)


def _make_manifest(kind: str, config: Descriptor, layers: Sequence[Descriptor]) -> Manifest:
    from wherry.model import gojson

    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": _entry(config),
        "layers": [_entry(layer) for layer in layers],
    }
    raw = gojson.encode(document).encode("utf-8")
    return Manifest(raw, kind, config, tuple(layers))


def _entry(descriptor: Descriptor) -> dict[str, Any]:
    entry = {
        "mediaType": descriptor.media_type,
        "size": descriptor.size or 0,
        "digest": str(descriptor.digest),
    }
    return entry | ({"urls": list(descriptor.urls)} if descriptor.urls else {})


def digest_of(document: Document) -> Digest:
    """Return the digest of a document in registries."""
    if isinstance(document, Manifest | Index):
        return Digest.of(document.raw)
    return document.digest


def parse_verified(digest: Digest, raw: bytes, media_type: str) -> Document:
    """Verify the digest of a document and parse it.

    The digest of a schema1 manifest is that of its signed payload. Fields outside of the payload
    are then ignored.

    Raises:
        IntegrityError: The digest does not match.
        InvalidDocument, Unsupported: As `parse` does.
    """
    if digest.matches(raw):
        return parse(raw, media_type)
    payload = _signed_payload(raw, digest)
    if digest.matches(payload):
        document = parse(raw, media_type)
        if not isinstance(document, Manifest | Index):
            return document
    raise mismatch(digest, Digest.of(payload, digest.algorithm).hex, content="the manifest")


def _signed_payload(raw: bytes, digest: Digest) -> bytes:
    """Return the signed payload of a schema1 document; other bytes unchanged."""
    from wherry.model.schema1 import payload_of

    try:
        return payload_of(raw)
    except InvalidDocument as error:
        raise IntegrityError(
            f"the manifest's digest cannot be checked, its signatures cannot be read ({error})",
            expected=str(digest),
            actual=str(Digest.of(raw, digest.algorithm)),
            hint="nothing was stored; the digest of schema1 is that of the signed payload",
        ) from None


def parse(raw: bytes, media_type: str) -> Document:
    """Parse a manifest or index.

    A document that could be read as two kinds is refused, and so is one whose own type is of
    another kind than the ``Content-Type`` (CVE-2021-41190). Another type of the same kind is only
    a problem of the document.

    Args:
        raw: The bytes of the document.
        media_type: The ``Content-Type`` of the response; empty if there is none.

    Raises:
        InvalidDocument: The document is invalid; the error has the path of the field.
        Unsupported: The document is of a type that wherry does not read.
    """
    fields = load_object(raw, "the manifest", max_depth=MAX_DEPTH)
    problems: list[DocumentFault] = []
    kind, stated = _kind(fields, mediatype.essence(media_type), problems)
    if kind in mediatype.SCHEMA1:
        from wherry.model.schema1 import parse_schema1

        return parse_schema1(fields, raw, kind)
    if "signatures" in fields.value:
        fields.fail("signatures", "only schema1 manifests have signatures inside")
    _check_version(fields, problems, stated=stated)
    if kind in mediatype.INDEXES:
        return Index(
            raw,
            kind,
            tuple(read_descriptor(item) for item in fields.objects("manifests")),
            artifact_type=fields.text("artifactType"),
            subject=_subject(fields),
            annotations=fields.text_map("annotations"),
            problems=tuple(problems),
        )
    config = read_descriptor(fields.required_object("config"))
    artifact_type = fields.text("artifactType")
    problems += _config_problems(config.media_type, artifact_type)
    layers = fields.objects("layers")
    problems += filter(None, map(size_problem, layers))
    return Manifest(
        raw,
        kind,
        config=config,
        layers=tuple(read_layer(item) for item in layers),
        artifact_type=artifact_type,
        subject=_subject(fields),
        annotations=fields.text_map("annotations"),
        problems=tuple(problems),
    )


def _check_version(fields: Fields, problems: list[DocumentFault], *, stated: bool) -> None:
    """Check ``schemaVersion``; 0, 1 and none are only problems if the type is known."""
    version = fields.integer("schemaVersion")
    if version == _VERSION:
        return
    if not (stated and version in {None, 0, 1}):
        fields.fail("schemaVersion", f"expected {_VERSION}")
    found = "is missing" if version is None else f"is {version}"
    problems.append(DocumentFault("schemaVersion", f"{found}, expected {_VERSION}"))


def _config_problems(config: str, artifact_type: str) -> Iterator[DocumentFault]:
    """Yield faults in the types of a manifest that is an image all the same."""
    if not mediatype.is_image_config(config):
        return
    if config.lower() not in {mediatype.OCI_CONFIG, mediatype.DOCKER_CONFIG}:
        yield DocumentFault(
            "config.mediaType", f"is {config}, taken as an image config", error=False
        )
    if artifact_type:
        message = f"is {artifact_type}, but the config is an image's"
        yield DocumentFault("artifactType", message, error=False)


def _kind(fields: Fields, served: str, problems: list[DocumentFault]) -> tuple[str, bool]:
    """Return the type of a document, and whether a media type states it.

    The fields, the type in the document and the served type must be of one kind. The type in the
    document comes first.
    """
    for key in fields.value:
        if key not in _KEYS and key.lower() in _FOLDED_KEYS:
            # Parsers that ignore case, such as Go's, would see another document.
            raise InvalidDocument(f"is spelled {_FOLDED_KEYS[key.lower()]}", path=key)
    stated = fields.text("mediaType").lower()
    known = [kind for kind in (stated, served) if kind in mediatype.KNOWN]
    if len(set(known)) > 1:
        message = f"is {stated}, but the document was served as {served}"
        if mediatype.kind_of(stated) != mediatype.kind_of(served):
            fields.fail("mediaType", message)
        problems.append(DocumentFault("mediaType", message))
    if not known:
        _check_generic(stated, served)
    present = [key for key in ("manifests", "layers", "fsLayers") if key in fields.value]
    if "config" in fields.value and "layers" not in present:
        present.append("layers")
    if len(present) > 1:
        raise InvalidDocument(
            f"is present together with {present[1]!r}; a document has one kind", path=present[0]
        )
    if not present:
        raise InvalidDocument(
            "the document has neither manifests nor layers, so it is not a manifest"
        )
    return _choose_type(fields, present[0], known[0] if known else ""), bool(known)


def _check_generic(*kinds: str) -> None:
    """Raise `Unsupported` for a media type that is not of a manifest or generic."""
    for kind in kinds:
        if kind not in mediatype.GENERIC:
            name = mediatype.artifact_name(kind)
            raise Unsupported(f"{kind} is not a manifest type" + (f": {name}" if name else ""))


def _choose_type(fields: Fields, key: str, known: str) -> str:
    """Return the media type that fits the fields and the known type."""
    allowed, default = {
        "manifests": (mediatype.INDEXES, mediatype.OCI_INDEX),
        "layers": (mediatype.MANIFESTS, _manifest_type(fields)),
        "fsLayers": (mediatype.SCHEMA1, mediatype.DOCKER_SCHEMA1),
    }[key]
    if known and known not in allowed:
        raise InvalidDocument(f"does not belong into a document of type {known}", path=key)
    return known or default


def _manifest_type(fields: Fields) -> str:
    """Return the type of a manifest by the type of its config."""
    config = fields.value.get("config")
    kind = config.get("mediaType") if isinstance(config, dict) else None
    docker = isinstance(kind, str) and kind.lower().startswith("application/vnd.docker.")
    return mediatype.DOCKER_MANIFEST if docker else mediatype.OCI_MANIFEST


def _subject(fields: Fields) -> Descriptor | None:
    found = fields.object("subject")
    return None if found is None else read_descriptor(found)


def _artifact_kind(media_type: str) -> str:
    return mediatype.artifact_name(media_type) or f"an artifact of type {media_type}"
