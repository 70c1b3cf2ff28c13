"""The ``index.json`` of a layout that names are added to. This module does no I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wherry.archive.formats import name_annotations
from wherry.archive.layout_names import parse_layout_name
from wherry.archive.oci import IMAGE_NAME, INDEX, ORIGINAL, REF_NAME, load_index
from wherry.errors import InvalidDigest, InvalidDocument
from wherry.model._fields import load_object
from wherry.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.archive.layout_roots import ListedRoot

_MAX_DEPTH = 8
_NAMES = (IMAGE_NAME, REF_NAME)


def read_index(raw: bytes | None) -> dict[str, Any]:
    """Parse an ``index.json``; None stands for that of an empty layout.

    Raises:
        InvalidDocument: It is not an object with a list of entries, or has a number that cannot
            be written again.
    """
    if raw is None:
        return {"schemaVersion": 2, "manifests": []}
    load_object(raw, INDEX, max_depth=_MAX_DEPTH).array("manifests")
    index = load_index(raw)
    try:
        json.dumps(index, allow_nan=False)
    except ValueError as error:
        raise InvalidDocument(f"{INDEX} cannot be changed: {error}") from None
    return index | {"manifests": index.get("manifests") or []}


def find_root(index: dict[str, Any], name: str) -> tuple[Digest, Digest | None] | None:
    """Find the entry with a name, or the only entry for an empty name.

    Returns:
        The listed digest, and the document that the entry says it was converted from.
    """
    entries = _objects(index["manifests"])
    found = {
        str(each.get("digest")): _annotations(each).get(ORIGINAL)
        for each in entries
        if not name or name in _names(each)
    }
    if len(found) != 1:
        return None
    listed, original = found.popitem()
    try:
        return Digest.parse(listed), Digest.parse(str(original)) if original else None
    except InvalidDigest:
        return None


def name_roots(index: dict[str, Any], names: Iterable[tuple[str, ListedRoot]]) -> bytes:
    """Return an ``index.json`` in which names stand for other roots.

    As with skopeo, a root that loses its last name stays in the layout without a name. Entries
    and fields that have nothing to do with the names are kept.

    Args:
        index: The parsed index, which is changed.
        names: The names with their roots. An empty name adds the root without a name.
    """
    for name, root in names:
        _name(index["manifests"], name, root)
    return json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _name(entries: list[Any], name: str, root: ListedRoot) -> None:
    listed = root.descriptor
    if name:
        for other in _objects(entries):
            if other.get("digest") != listed.digest:
                _take_name(other, name)
    same = [each for each in _objects(entries) if each.get("digest") == listed.digest]
    named = [each for each in same if name in _names(each) or not name]
    usable = named or [each for each in same if not _names(each)]
    if usable:
        entry = usable[0]
    else:
        entry = {"mediaType": listed.media_type, "digest": str(listed.digest), "size": listed.size}
        entries.append(entry)
    noted = {} if root.original is None else {ORIGINAL: str(root.original)}
    if name and not named:
        noted |= name_annotations(name, parse_layout_name(name))
    if noted:
        entry["annotations"] = _annotations(entry) | noted


def _take_name(entry: dict[str, Any], name: str) -> None:
    """Remove a name from an entry; with a whole name, the tag beside it goes too."""
    if name not in _names(entry):
        return
    names = _annotations(entry)
    gone = _NAMES if names.get(IMAGE_NAME) == name else (REF_NAME,)
    for key in gone:
        names.pop(key, None)
    if not names:
        del entry["annotations"]


def _names(entry: dict[str, Any]) -> set[str]:
    annotations = _annotations(entry)
    return {str(annotations[key]) for key in _NAMES if annotations.get(key)}


def _annotations(entry: dict[str, Any]) -> dict[str, Any]:
    found = entry.get("annotations")
    return found if isinstance(found, dict) else {}


def _objects(entries: list[Any]) -> list[dict[str, Any]]:
    return [each for each in entries if isinstance(each, dict)]
