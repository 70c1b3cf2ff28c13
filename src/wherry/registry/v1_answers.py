"""Parsing what version 1 registries answer. Does no I/O.

Source: Docker's "The Docker Hub and the Registry v1" and "Docker Registry API v1". Engines accept
what moby's ``registry/session.go`` accepts.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from wherry.errors import IntegrityError, InvalidDocument
from wherry.model import v1
from wherry.model.gostruct import Field, Kind, decode
from wherry.model.record import Record
from wherry.model.strict_json import check_values, kind_name
from wherry.registry.pager import MAX_LISTED
from wherry.registry.server_text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ANCESTRY = 1000  # images of one chain; engines stack at most 127 layers
MAX_ENDPOINTS = 16  # addresses in X-Docker-Endpoints that are used
_ANSWER = "the answer"  # in messages, after the place that was requested
_SHOWN = 80  # characters of an invalid value that a message shows
_LINKS = (Field("id", Kind.STRING), Field("parent", Kind.STRING))
_SIZE = re.compile(r"[0-9]{1,18}")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9._-]{0,252})(?::[0-9]{1,5})?")


class Ping(Record):
    """What a registry says about itself.

    Attributes:
        standalone: Whether it is without an index, so that it wants basic authentication.
        version: Its version; may be empty.
    """

    standalone: bool = True
    version: str = ""


class V1Image(Record):
    """The metadata of one image of a chain.

    Attributes:
        id: The image's id.
        raw: The version 1 JSON as served.
        parent: The id of the image below; empty for the lowest.
        size: The bytes of the layer as the registry has it; None if it does not say.
    """

    id: str
    raw: bytes
    parent: str
    size: int | None


def read_ping(standalone: str, version: str, body: bytes) -> Ping:
    """Read the answer to ``_ping``: headers, and a body that only some registries send.

    Without a statement a registry counts as standalone, as for engines.
    """
    found = _lenient_object(body)
    is_standalone = found.get("standalone") is not False
    if standalone:
        is_standalone = standalone.lower() in {"true", "1"}
    said = found.get("version")
    return Ping(is_standalone, one_line(version or said))


def _lenient_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def load_answer(raw: bytes) -> Any:
    """Parse the JSON of an answer.

    Raises:
        InvalidDocument: It has too many values, or does not parse. The latter error is transient:
            the answer may have been damaged on the way.
    """
    check_values(raw, _ANSWER, MAX_LISTED)
    try:
        return json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        error = InvalidDocument(f"{_ANSWER} is not JSON")
        error.transient = True
        raise error from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def check_list(raw: bytes) -> None:
    """Raise `InvalidDocument` unless a body is a list of images; its entries are not used."""
    _expect(load_answer(raw), list, "an array")


def read_tags(raw: bytes) -> dict[str, str]:
    """Return the image id of each name in a tag list; the names may be no valid tags.

    Raises:
        InvalidDocument: An id is invalid.
    """
    found: dict[str, str] = _expect(load_answer(raw), dict, "an object")
    for tag, value in found.items():
        _check_id(value, ascii(tag[:_SHOWN])[1:-1])
    return found


def read_tag(raw: bytes) -> str:
    """Return the image id of one tag; raises `InvalidDocument`."""
    return _check_id(_expect(load_answer(raw), str, "a string"))


def read_ancestry(raw: bytes, image_id: str) -> tuple[str, ...]:
    """Return the ids of an image and all below it, the top one first.

    Raises:
        InvalidDocument: The list is no list of ids, repeats an id, is too long or belongs to
            another image.
    """
    found = _expect(load_answer(raw), list, "an array")
    if len(found) > MAX_ANCESTRY:
        raise InvalidDocument(f"it has over {MAX_ANCESTRY:,} images")
    seen: set[str] = set()
    for number, value in enumerate(found):
        each = _check_id(value, f"[{number}]")
        if each in seen:
            raise InvalidDocument(f"{each} is its own ancestor", path=f"[{number}]")
        seen.add(each)
    if found[:1] != [image_id]:
        actual = found[0] if found else "nothing"
        raise InvalidDocument(f"it begins with {actual}, not with the image")
    return tuple(found)


def read_image(raw: bytes, size: str, image_id: str) -> V1Image:
    """Return the metadata of an image.

    Args:
        raw: The JSON.
        size: The value of ``X-Docker-Size``, or an empty string.
        image_id: The id that was requested.

    Raises:
        InvalidDocument: The JSON is not one of an image, or the size is no number.
        IntegrityError: The JSON is that of another image.
    """
    try:
        fields = decode(_LINKS, v1.load(raw))
    except InvalidDocument:
        load_answer(raw)  # damaged JSON is another error
        raise
    found = fields.get("id", "")
    if found != image_id:
        shown = f"{found[:_SHOWN]!a}" if found else "none"
        raise IntegrityError(f"its JSON has another id ({shown})", expected=image_id, actual=found)
    parent = fields.get("parent", "")
    if parent:
        v1.validate_id(parent, "parent")
    if size and not _SIZE.fullmatch(size):
        raise InvalidDocument(f"{size[:_SHOWN]!a} is not a size", path="X-Docker-Size")
    return V1Image(image_id, raw, parent, int(size) if size else None)


def check_parents(images: Sequence[V1Image]) -> None:
    """Compare each image's parent with the next image of its chain; raises `IntegrityError`."""
    below = [*(image.id for image in images[1:]), ""]
    for image, expected in zip(images, below, strict=True):
        if image.parent != expected:
            raise IntegrityError(
                f"its parent is {image.parent or 'none'}, and {expected or 'none'} by the ancestry",
                expected=expected,
                actual=image.parent,
            ).within(f"image {image.id}")


def read_endpoints(values: Sequence[str]) -> tuple[str, ...]:
    """Return the hosts in ``X-Docker-Endpoints``, each once; raises `ValueError`.

    An endpoint is ``host[:port]``; engines request it by the scheme of the index.
    """
    hosts = [each.strip() for value in values for each in value.split(",")]
    found = list(dict.fromkeys(filter(None, hosts)))
    if len(found) > MAX_ENDPOINTS:
        raise ValueError(f"over {MAX_ENDPOINTS} endpoints")
    for host in found:
        if not _HOST.fullmatch(host):
            raise ValueError(f"{host[:_SHOWN]!a}, which is not host[:port]")
    return tuple(found)


def _expect(value: Any, kind: type, name: str) -> Any:
    """Return a value of ``kind``; null is an empty one, as in Go."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise InvalidDocument(f"{_ANSWER} is {kind_name(value)}, expected {name}")
    return value


def _check_id(value: object, path: str = "") -> str:
    if not isinstance(value, str):
        raise InvalidDocument(f"{kind_name(value)} is not an image id", path=path)
    return v1.validate_id(value, path)
