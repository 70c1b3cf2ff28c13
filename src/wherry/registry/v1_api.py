"""The reads of the version 1 registry API: one method for each endpoint.

Source: Docker's "Docker Registry API v1" and "Docker Hub API v1".
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from wherry.errors import InvalidDocument, WherryError
from wherry.model.record import Record
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.registry.blob_response import BlobSizes, check_status, open_response, range_header
from wherry.registry.requester import Call
from wherry.registry.server_text import is_markup
from wherry.registry.v1_answers import (
    check_list,
    read_ancestry,
    read_image,
    read_tag,
    read_tags,
)
from wherry.registry.web_page import refuse_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened
    from wherry.errors import Places
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.v1_answers import V1Image
    from wherry.registry.v1_session import V1Session

MAX_LIST = 16 * 2**20  # bytes of a list of images or tags
MAX_ANSWER = 2**20  # bytes of an ancestry, or of the id of a tag
_PARSING = threading.Lock()  # a parsed document takes many times its size


class LayerResponse(Record):
    """A layer as served.

    Attributes:
        opened: The content.
        ranges: Whether the server says that it serves ranges.
        etag: The strong ``ETag``; empty without one.
        framed: Whether a truncated body differs from a complete one.
    """

    opened: Opened
    ranges: bool
    etag: str
    framed: bool


class V1Api:
    """One repository at one endpoint. Each call is one attempt; nothing is retried.

    ``name`` is the repository's name in messages.
    """

    def __init__(self, session: V1Session, endpoint: Endpoint, name: str) -> None:
        self._session = session
        self._name = name
        self.endpoint = endpoint
        self._path = session.index.path

    def get_list(self, cancel: CancelToken) -> None:
        """Fetch the list of images from the index, for its token and its endpoints."""
        # Engines add "library/" to a single name only for tags.
        call = Call("GET", f"/v1/repositories/{self._path}/images", self._path)
        response = self._session.send_to_index(call, cancel)
        where = (self._name, "the list of images")
        check_status(response, (self._name,), self.endpoint.name)
        with _placed(where):
            check_list(self._read(response, MAX_LIST, "a list of images"))

    def get_tags(self, cancel: CancelToken) -> dict[str, str]:
        """Fetch the tag list: the image id of each name."""
        response = self._get(self._tags_path, cancel)
        check_status(response, (self._name,), self.endpoint.name)
        with _placed((self._name, "the tag list")):
            return read_tags(self._read(response, MAX_LIST, "a tag list"))

    def get_tag(self, tag: str, cancel: CancelToken) -> str:
        """Fetch the image id of one tag."""
        where = (f"{self._name}:{tag}",)
        response = self._get(f"{self._tags_path}/{tag}", cancel)
        check_status(response, where, self.endpoint.name)
        with _placed(where):
            return read_tag(self._read(response, MAX_ANSWER, "the id of an image"))

    def get_ancestry(self, image_id: str, cancel: CancelToken) -> tuple[str, ...]:
        """Fetch the ids of an image and all below it, the top one first."""
        where = (self._name, f"ancestry of {image_id}")
        response = self._get(f"images/{image_id}/ancestry", cancel)
        check_status(response, where, self.endpoint.name)
        with _placed(where):
            return read_ancestry(self._read(response, MAX_ANSWER, "an ancestry"), image_id)

    def get_image(self, image_id: str, cancel: CancelToken) -> V1Image:
        """Fetch the metadata of one image of a chain."""
        where = (self._name, f"image {image_id}")
        response = self._get(f"images/{image_id}/json", cancel)
        check_status(response, where, self.endpoint.name)
        size = response.header("X-Docker-Size")
        with _placed(where):
            raw = self._read(response, MAX_DOCUMENT, "an image")
            with _PARSING:
                return read_image(raw, size, image_id)

    def get_layer(
        self, image_id: str, offset: int, sizes: BlobSizes, etag: str, cancel: CancelToken
    ) -> LayerResponse:
        """Open a layer at ``offset``, or at 0 if the server does not serve the range.

        Args:
            image_id: The id of the image.
            offset: The first byte.
            sizes: What is known about the layer's size.
            etag: The strong ``ETag`` of the content that ``offset`` belongs to, if any.
            cancel: Cancels the request.

        Raises:
            RangeRefused: The server sent another range, or the layer has another size.
        """
        where = (self._name, f"layer of {image_id}")
        headers = range_header(offset, None)
        if headers and etag:
            headers["If-Range"] = etag  # RFC 9110, 13.1.5
        response = self._get(f"images/{image_id}/layer", cancel, headers)
        found = open_response(response, None, where, self.endpoint.name, sizes, offset, None)
        ranges = "bytes" in response.header("Accept-Ranges").lower()
        said = response.header("ETag")
        strong = said if said.startswith('"') else ""
        return LayerResponse(found, ranges, strong, response.is_framed)

    @property
    def _tags_path(self) -> str:
        name = self._path if "/" in self._path else f"library/{self._path}"
        return f"repositories/{name}/tags"

    def _get(
        self, path: str, cancel: CancelToken, headers: dict[str, str] | None = None
    ) -> HttpResponse:
        call = Call("GET", f"/v1/{path}", self._path, headers=headers or {})
        return self._session.send(self.endpoint, call, cancel)

    def _read(self, response: HttpResponse, limit: int, wanted: str) -> bytes:
        """Return a body; raises `InvalidDocument` if it is over ``limit`` bytes."""
        raw = response.read(limit)
        if len(raw) > limit:
            raise InvalidDocument(f"the answer is over {limit >> 20} MiB")
        if is_markup(raw):
            try:
                refuse_page(response, raw, (), wanted)
            except WherryError as error:
                error.transient = True
                raise
        return raw


@contextlib.contextmanager
def _placed(where: Places) -> Iterator[None]:
    """Add the place to errors in the block."""
    try:
        yield
    except WherryError as error:
        raise error.within(*where) from None
