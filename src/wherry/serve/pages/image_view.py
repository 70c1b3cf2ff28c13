"""What the page of an image shows, read from the store."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import NotFound, WherryError
from wherry.model.config import parse_config
from wherry.model.inspection import size_of
from wherry.model.manifest import Index, Manifest
from wherry.ops.history import list_history
from wherry.store import overview, subjects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry.model.config import ImageConfig
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.reference import Reference
    from wherry.ops.history import HistoryStep
    from wherry.store import LocalStore
    from wherry.store.overview import NameRow

MAX_ROWS = 500  # of each list
_REFERRERS = 50  # that are shown; each is read
_MAX_BYTES = 256 * 1024  # of a document that is shown as text
_TITLE = "org.opencontainers.image.title"
_NOP = re.compile(r"^/bin/sh -c #\(nop\)\s*")


class Entry(NamedTuple):
    """One document that an index lists.

    Attributes:
        label: Its platform, or what it is.
        descriptor: Its descriptor.
        is_stored: Whether the store has it.
        is_index: Whether it is an index too.
    """

    label: str
    descriptor: Descriptor
    is_stored: bool
    is_index: bool


class Step(NamedTuple):
    """One step of the history with its layer.

    Attributes:
        text: The instruction, without what a builder adds.
        layer: The step as `list_history` returns it.
        percent: The size of the layer, compared with the largest one.
    """

    text: str
    layer: HistoryStep
    percent: int


class Details(NamedTuple):
    """One image or artifact.

    Attributes:
        digest: The digest of its manifest.
        manifest: The manifest; None if it cannot be shown.
        config: The config of an image; None for an artifact.
        artifact: What an artifact is, such as ``a helm chart``; None for an image.
        size: Bytes of the config and the layers.
        settings: Settings for containers: names with their values.
        steps: The history, the first step first.
        blobs: The blobs of an artifact, with their titles.
        problem: What cannot be shown, or an empty text.
    """

    digest: Digest
    manifest: Manifest | None = None
    config: ImageConfig | None = None
    artifact: str | None = None
    size: int | None = None
    settings: Sequence[tuple[str, Sequence[str]]] = ()
    steps: Sequence[Step] = ()
    blobs: Sequence[tuple[str, Descriptor]] = ()
    problem: str = ""


class Referrer(NamedTuple):
    """A document that refers to the image.

    Attributes:
        digest: Its digest.
        kind: The type of the artifact.
        size: Bytes of the document.
        annotations: Its annotations.
    """

    digest: Digest
    kind: str
    size: int
    annotations: Mapping[str, str]


class ImageView(NamedTuple):
    """What a name of the store, or a digest, stands for.

    Attributes:
        reference: The name.
        digest: The digest of its document.
        media_type: The media type of the document.
        row: The name as the store has it; None for a digest below a name.
        entries: What an index lists.
        details: The image, or the chosen one of an index.
        annotations: The annotations of an index.
        referrers: The documents that refer to it, not more than a page shows.
        text: The document as text.
    """

    reference: Reference
    digest: Digest
    media_type: str
    row: NameRow | None
    entries: Sequence[Entry]
    details: Details | None
    annotations: Mapping[str, str]
    referrers: Sequence[Referrer]
    text: str


def view_image(store: LocalStore, reference: Reference, chosen: Digest | None) -> ImageView | None:
    """Read what a name stands for.

    Args:
        store: The store.
        reference: The full name with a tag or a digest.
        chosen: The manifest of an index to show in detail; None shows the one that the store
            has for this machine, else the first.

    Returns:
        None if the store has no such name, or ``chosen`` is not below it.
    """
    row = store.ask(lambda connection: overview.find_name(connection, reference), None)
    digest = row.root if row else reference.digest
    if digest is None or (row is None and not _has(store, reference, digest)):
        return None
    document = _document(store, digest)
    entries = _entries(store, document) if isinstance(document, Index) else []
    details = Details(digest, problem="it cannot be read: it is missing or damaged")
    if isinstance(document, Index):
        selected = chosen or _first_shown(store, reference, entries)
        if chosen is not None and chosen not in {each.descriptor.digest for each in entries}:
            return None
        shown = _details(store, selected) if selected else None
    else:
        shown = details if document is None else _details(store, digest)
    return ImageView(
        reference=reference,
        digest=digest,
        media_type="" if document is None else document.media_type,
        row=row,
        entries=entries,
        details=shown,
        annotations=document.annotations if isinstance(document, Index) else {},
        referrers=_referrers(store, reference, [digest, *([shown.digest] if shown else [])]),
        text="" if document is None else _text(document.raw),
    )


def _has(store: LocalStore, reference: Reference, digest: Digest) -> bool:
    return store.ask(
        lambda connection: overview.has_document(connection, reference.name, digest),
        otherwise=False,
    )


def _document(store: LocalStore, digest: Digest) -> Document | None:
    try:
        return store.document(digest)
    except WherryError:
        return None


def _entries(store: LocalStore, index: Index) -> list[Entry]:
    return [
        Entry(
            _label(each),
            each,
            store.holds(each.digest),
            each.media_type.endswith(("index.v1+json", "manifest.list.v2+json")),
        )
        for each in index.manifests[:MAX_ROWS]
    ]


def _label(descriptor: Descriptor) -> str:
    if descriptor.is_attestation:
        return "attestation"
    if descriptor.platform is not None:
        return str(descriptor.platform)
    return descriptor.artifact_type or "any platform"


def _first_shown(
    store: LocalStore, reference: Reference, entries: Sequence[Entry]
) -> Digest | None:
    """Return the manifest of an index to show if none was chosen."""
    images = [
        each.descriptor.digest
        for each in entries
        if each.is_stored and not each.is_index and not each.descriptor.is_attestation
    ]
    found = store.find(reference)
    if found is not None and found.manifest in images:
        return found.manifest
    return images[0] if images else None


def _details(store: LocalStore, digest: Digest) -> Details:
    document = _document(store, digest)
    if isinstance(document, Index):
        return Details(digest, problem="it is an index of its own")
    if document is not None and not isinstance(document, Manifest):  # schema1
        converted = store.converted_manifest(digest)
        found = None if converted is None else _document(store, converted)
        document = found if isinstance(found, Manifest) else None
    if document is None:
        return Details(digest, problem="the manifest is missing or cannot be read")
    if document.artifact is not None:
        blobs = [(each.annotations.get(_TITLE, ""), each) for each in document.layers]
        return Details(
            digest, document, artifact=document.artifact, size=size_of(document), blobs=blobs
        )
    try:
        config = parse_config(store.read(document.config.digest))
    except NotFound:
        problem = "the config is not in the store"
    except WherryError:
        problem = "the config cannot be read"
    else:
        return _image(digest, document, config)
    return Details(digest, document, size=size_of(document), problem=problem)


def _image(digest: Digest, manifest: Manifest, config: ImageConfig) -> Details:
    settings = [
        ("Entrypoint", config.entrypoint or ()),
        ("Cmd", config.cmd or ()),
        ("User", [config.user]),
        ("Working directory", [config.working_dir]),
        ("Ports", config.exposed_ports),
        ("Volumes", config.volumes),
        ("Stop signal", [config.stop_signal]),
        ("Author", [config.author]),
    ]
    steps = list_history(config, manifest.layers)[::-1]
    largest = max((step.size or 0 for step in steps), default=0) or 1
    return Details(
        digest,
        manifest,
        config,
        size=size_of(manifest),
        settings=[(name, values) for name, values in settings if any(values)],
        steps=[
            Step(instruction(step.created_by), step, -(-100 * (step.size or 0) // largest))
            for step in steps
        ],
    )


def instruction(created_by: str) -> str:
    """Return the instruction of a build file that made a step."""
    text = created_by.strip().removesuffix("# buildkit").rstrip()
    if _NOP.match(text):
        return _NOP.sub("", text)
    text = text.removeprefix("RUN ")
    if text.startswith("/bin/sh -c "):
        return f"RUN {text.removeprefix('/bin/sh -c ')}"
    return created_by.strip().removesuffix("# buildkit").rstrip()


def _referrers(
    store: LocalStore, reference: Reference, digests: Sequence[Digest]
) -> list[Referrer]:
    found: dict[Digest, Referrer] = {}
    for subject in dict.fromkeys(digests):
        for digest in _documents_with(store, subject)[:_REFERRERS]:
            document = _document(store, digest) if _has(store, reference, digest) else None
            if isinstance(document, Manifest):
                kind = document.artifact_type or document.config.media_type
            elif isinstance(document, Index):
                kind = document.artifact_type
            else:
                continue
            found[digest] = Referrer(digest, kind, len(document.raw), document.annotations)
    return list(found.values())


def _documents_with(store: LocalStore, subject: Digest) -> list[Digest]:
    nothing: list[Digest] = []
    return store.ask(lambda connection: subjects.find(connection, subject), nothing)


def _text(raw: bytes) -> str:
    """Return a document as indented JSON; the beginning of a large one as it is."""
    if len(raw) > _MAX_BYTES:
        return raw[:_MAX_BYTES].decode("utf-8", "replace") + " …"
    return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
