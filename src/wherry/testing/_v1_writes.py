"""The uploads of the fake version 1 registry, strict about headers, order and checksums.

Source: Docker's "The Docker Hub and the Registry v1", "Push", and docker-registry 0.9, whose
messages are used.
"""

from __future__ import annotations

import json
import re
from typing import Any

from wherry.testing._messages import IncomingRequest, Reply, json_reply
from wherry.testing._v1_checksums import BAD_TAR, payload_checksum, tarsum
from wherry.testing._v1_content import StoredV1Image, V1Content

__all__ = ["V1Writes", "refuse", "v1_reply"]

_ID = re.compile(r"[0-9a-f]{64}")
_JSON = "application/json"
_OCTETS = "application/octet-stream"


def v1_reply(value: object = True, status: int = 200) -> Reply:  # noqa: FBT002 - a JSON value
    """Return a reply with a JSON value that must not be cached."""
    return json_reply(status, value, {"Cache-Control": "no-cache", "Pragma": "no-cache"})


def refuse(message: str, status: int = 400) -> Reply:
    """Return a reply with an error message."""
    return v1_reply({"error": message}, status)


class V1Writes:
    """Handles the PUTs of a client.

    The order of a push:

    1. the list of images, without checksums,
    2. for each image, the lowest first: JSON, layer, checksums,
    3. the tags,
    4. the list of images again, to ``/images``.
    """

    def __init__(self, content: V1Content) -> None:
        self._content = content

    def put_list(self, request: IncomingRequest, name: str, *, is_last: bool) -> Reply:
        """Take the list of images that opens or ends a push."""
        if request.headers.get("x-docker-token") != "true":
            return refuse("X-Docker-Token is not true")
        if is_last and not request.headers.get("x-docker-endpoints"):
            return refuse("X-Docker-Endpoints is missing")
        entries = _loaded(_declared_json(request))
        if not isinstance(entries, list) or not all(_is_entry(each) for each in entries):
            return refuse("Invalid data")
        if is_last:
            return self._finish(name, entries)
        listed = self._content.lists.setdefault(name, {})
        for entry in entries:
            listed.setdefault(entry["id"], "")
        return v1_reply("")

    def _finish(self, name: str, entries: list[dict[str, str]]) -> Reply:
        listed = self._content.lists.get(name)
        if listed is None:
            return refuse("images not found", 404)
        for entry in entries:
            image = self._content.images.get(entry["id"])
            if entry["id"] not in listed or image is None or not image.is_complete:
                return refuse(f"Image {entry['id']} is not complete")
            checksum = entry.get("checksum", "")
            if checksum and checksum not in image.checksums:
                return refuse(f"Checksum mismatch of image {entry['id']}")
        for entry in entries:
            listed[entry["id"]] = entry.get("checksum", "") or listed[entry["id"]]
        return Reply(204)

    def put_json(self, request: IncomingRequest, image_id: str, name: str | None) -> Reply:
        """Take the JSON of an image, into the repository ``name`` if the client has a token."""
        raw = _declared_json(request)
        fields = _loaded(raw)
        if not isinstance(fields, dict):
            return refuse("Invalid JSON")
        if "id" not in fields:
            return refuse("Missing key `id' in JSON")
        if fields["id"] != image_id or not _ID.fullmatch(image_id):
            return refuse("JSON data contains invalid id")
        lists = self._content.lists
        if not any(image_id in lists[each] for each in lists if name in {None, each}):
            return refuse("This image does not belong to the repository")
        parent = fields.get("parent")
        if parent and parent not in self._content.images:
            return refuse("Image depends on a non existing parent")
        known = self._content.images.get(image_id)
        if known is not None and known.is_complete:
            return refuse("Image already exists", 409)
        self._content.images[image_id] = StoredV1Image(raw)
        return v1_reply()

    def put_layer(self, request: IncomingRequest, image_id: str) -> Reply:
        """Take the layer of an image and compute its checksums."""
        image = self._content.images.get(image_id)
        if image is None:
            return refuse("Image not found", 404)
        if image.is_complete:
            return refuse("Image already exists", 409)
        if request.headers.get("content-type") != _OCTETS:
            return refuse(f"Content-Type is not {_OCTETS}")
        if request.headers.get("transfer-encoding") != "chunked":
            return refuse("The layer is not sent in chunks", 411)
        layer = bytearray()
        while data := request.stream.read1():
            layer += data
        try:
            found = tarsum(image.json, bytes(layer))
        except BAD_TAR:
            return refuse("Layer format not supported")
        image.layer = bytes(layer)
        image.checksums = (found, payload_checksum(image.json, image.layer))
        return v1_reply()

    def put_checksum(self, request: IncomingRequest, image_id: str) -> Reply:
        """Compare both checksums of a layer; after this the image can be downloaded."""
        image = self._content.images.get(image_id)
        if image is None:
            return refuse("Image not found", 404)
        if image.is_complete:
            return refuse("Cannot set this image checksum", 409)
        if image.layer is None:
            return refuse("Checksum of a layer that is missing")
        names = ("x-docker-checksum", "x-docker-checksum-payload")
        given = tuple(request.headers.get(each, "") for each in names)
        if not all(given):
            return refuse("Missing Image's checksum")
        if given != image.checksums:
            return refuse("Checksum mismatch")
        image.is_complete = True
        return v1_reply()

    def put_tag(self, request: IncomingRequest, name: str, tag: str) -> Reply:
        """Take a tag, whose body is the id of an image as a JSON string."""
        image_id = _loaded(_declared_json(request))
        if not isinstance(image_id, str):
            return refuse("Invalid data")
        if image_id not in self._content.lists.get(name, {}):
            return refuse("Image not found", 404)
        if not self._content.is_whole(image_id):
            return refuse("Image is being uploaded, retry later")
        self._content.tags.setdefault(name, {})[tag] = image_id
        return v1_reply()


def _declared_json(request: IncomingRequest) -> bytes:
    """Return the body of a request; b"" if its type is not JSON."""
    return request.body if request.headers.get("content-type") == _JSON else b""


def _loaded(raw: bytes) -> Any:
    """Return the value of a JSON document, or None."""
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _is_entry(value: object) -> bool:
    return (
        isinstance(value, dict)
        and _ID.fullmatch(str(value.get("id", ""))) is not None
        and all(isinstance(each, str) for each in value.values())
    )
