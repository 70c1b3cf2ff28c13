"""JSON documents with an unusual value in one field."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = object()
VALUES: tuple[Any, ...] = (
    *(MISSING, None, True, 0, -1, 2**63, 1.5, "", "x", "\x00", "/../..", [], [[]], {}, [None]),
    *("sha256:" + "0" * 64, "sha512:" + "0" * 128, "SHA256:" + "0" * 64, "linux", "windows"),
    *("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"),
    *("application/vnd.docker.distribution.manifest.v1+json", "text/plain"),
)
KEYS = ("fsLayers", "manifests", "layers", "config", "artifactType", "subject", "data", "urls")


def odd(document: Any) -> Iterator[tuple[str, bytes]]:
    """Yield a description and the document with one field changed, removed or added."""
    for path in paths(document):
        for value in VALUES:
            yield f"{path} = {value!r}", changed(document, path, value)
    for key in KEYS:
        for value in VALUES:
            yield f"{key} = {value!r}", changed(document, (key,), value)


def paths(document: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path to each value of a document."""
    if isinstance(document, dict | list):
        places = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in places:
            yield (*above, key)
            yield from paths(value, (*above, key))


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> bytes:
    """Return a document with another value at a path."""
    made = copy.deepcopy(document)
    inside: Any = made
    for key in path[:-1]:
        inside = inside[key]
    if value is not MISSING:
        inside[path[-1]] = value
    elif isinstance(inside, list):
        inside.pop(int(path[-1]))
    else:
        inside.pop(path[-1], None)
    return json.dumps(made).encode()
