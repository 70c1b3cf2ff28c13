"""The writes of the version 1 registry API: one method for each endpoint.

Source: Docker's "The Docker Hub and the Registry v1", "Push", and "Docker Registry API v1".
Engines send what moby's ``registry/session.go`` sends.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError
from wherry.registry.requester import Call
from wherry.registry.status_errors import MAX_ERROR, refusal_error
from wherry.registry.web_page import refuse_page
from wherry.registry.write_answers import check_success

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.errors import Places
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.request_body import StreamBody
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.v1_session import V1Session

_BAD_REQUEST, _CONFLICT = 400, 409
_JSON = {"Content-Type": "application/json"}
_OCTETS = {"Content-Type": "application/octet-stream"}


class ChecksumsRefused(IntegrityError):
    """The registry has computed other checksums of a layer than were sent."""


class V1WriteApi:
    """One repository of one registry. Each call is one attempt; nothing is retried.

    ``name`` is the repository's name in messages.
    """

    def __init__(self, session: V1Session, name: str) -> None:
        self._session = session
        self._name = name
        self._path = session.index.path

    # The index

    def put_list(self, entries: Sequence[Mapping[str, str]], cancel: CancelToken) -> None:
        """Send the list of images that opens a push; the answer names token and endpoints.

        Args:
            entries: For each image its ``id``, and the ``Tag`` that it gets.
            cancel: Cancels the call.
        """
        self._put_list("", entries, {}, cancel)

    def put_last_list(
        self,
        entries: Sequence[Mapping[str, str]],
        endpoints: Iterable[Endpoint],
        cancel: CancelToken,
    ) -> None:
        """Send the list of images that ends a push.

        Args:
            entries: For each image its ``id``, and its ``checksum`` if it was sent.
            endpoints: Where the images were sent to.
            cancel: Cancels the call.
        """
        hosts = ", ".join(each.host for each in endpoints)
        self._put_list("images", entries, {"X-Docker-Endpoints": hosts}, cancel)

    def _put_list(
        self,
        last: str,
        entries: Sequence[Mapping[str, str]],
        headers: Mapping[str, str],
        cancel: CancelToken,
    ) -> None:
        body = json.dumps(list(entries)).encode()
        path = f"/v1/repositories/{self._path}/{last}"
        call = Call("PUT", path, self._path, headers={**_JSON, **headers}, body=body)
        response = self._session.send_to_index(call, cancel)
        self._check(response, (self._name, "the list of images"))

    # The registry

    def put_json(self, endpoint: Endpoint, image_id: str, raw: bytes, cancel: CancelToken) -> bool:
        """Send the JSON of an image; return False if the registry has the image already."""
        call = Call("PUT", f"/v1/images/{image_id}/json", self._path, headers=_JSON, body=raw)
        return self._put(endpoint, call, self._image(image_id), cancel)

    def put_layer(
        self, endpoint: Endpoint, image_id: str, layer: StreamBody, cancel: CancelToken
    ) -> bool:
        """Send the layer of an image; return False if the registry has the image already."""
        call = Call(
            "PUT", f"/v1/images/{image_id}/layer", self._path, headers=_OCTETS, stream=layer
        )
        return self._put(endpoint, call, self._image(image_id), cancel)

    def put_checksums(
        self, endpoint: Endpoint, image_id: str, tar_sum: str, payload: str, cancel: CancelToken
    ) -> bool:
        """Send the checksums of a layer, which makes the image complete.

        Returns:
            False if the registry says that the image was complete before.

        Raises:
            ChecksumsRefused: The registry has computed others of what it got.
        """
        headers = {"X-Docker-Checksum": tar_sum, "X-Docker-Checksum-Payload": payload}
        path = f"/v1/images/{image_id}/checksum"
        call = Call("PUT", path, self._path, headers=headers, body=b"")
        where = self._image(image_id)
        response = self._session.send(endpoint, call, cancel)
        if response.status == _BAD_REQUEST:
            said = response.read_secret(MAX_ERROR)
            refusal = refusal_error(response, said, where, "the registry refuses the checksums")
            raise ChecksumsRefused(
                refusal.message,
                expected=payload,
                actual="another checksum",
                altered=True,
                hint="a proxy on the way may be altering uploads",
            ).within(*where)
        return self._is_new(response, where)

    def put_tag(self, endpoint: Endpoint, tag: str, image_id: str, cancel: CancelToken) -> None:
        """Set a tag to an image that the registry has."""
        path = f"/v1/repositories/{self._path}/tags/{tag}"
        body = json.dumps(image_id).encode()
        call = Call("PUT", path, self._path, headers=_JSON, body=body)
        response = self._session.send(endpoint, call, cancel)
        self._check(response, (f"{self._name}:{tag}",))

    # Answers

    def _put(self, endpoint: Endpoint, call: Call, where: Places, cancel: CancelToken) -> bool:
        return self._is_new(self._session.send(endpoint, call, cancel), where)

    def _is_new(self, response: HttpResponse, where: Places) -> bool:
        if response.status == _CONFLICT:
            response.drain()
            return False
        self._check(response, where)
        return True

    def _check(self, response: HttpResponse, where: Places) -> None:
        check_success(response, where, self._session.index.name)
        refuse_page(response, response.read(MAX_ERROR), where, "the answer of a registry")

    def _image(self, image_id: str) -> Places:
        return (self._name, f"image {image_id}")
