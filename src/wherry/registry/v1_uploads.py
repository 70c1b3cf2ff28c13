"""Writing images to a version 1 repository: look-ups, uploads and tags, with retries."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING, TypeVar

from wherry.content.scheduler import run_tasks
from wherry.errors import NetworkError, NotFound, RegistryError, Unauthorized
from wherry.model.record import Record
from wherry.model.tarsum import payload_hasher
from wherry.registry.host_calls import HostCalls
from wherry.registry.http.request_body import StreamBody
from wherry.registry.upload_body import SourceFailure, UploadSource
from wherry.registry.v1_api import V1Api
from wherry.registry.v1_write_api import ChecksumsRefused, V1WriteApi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import wherry
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob, Stream
    from wherry.registry.hosts import Endpoint
    from wherry.registry.upload_options import UploadOptions
    from wherry.registry.v1_answers import V1Image
    from wherry.registry.v1_session import V1Session

T = TypeVar("T")
LOOKUPS = 5  # at a time, as engines do
_BAD_REQUEST = 400  # the image is being uploaded, by another client or by an earlier process


class V1Upload(Record):
    """An image to send.

    Attributes:
        id: Its id.
        json: Its version 1 JSON.
        layer: The layer.
        tar_sum: The TarSum of the layer and the JSON.
    """

    id: str
    json: bytes
    layer: Blob
    tar_sum: str


class V1Uploads:
    """One repository, written to at the endpoints that its index names.

    An image is complete when the registry has confirmed its checksums. Until then no one can
    download it, and it can be sent again.

    Args:
        session: The session with the registry.
        name: The repository's name in messages.
        options: Retries and pauses.
        cancel: Cancels the calls.
    """

    def __init__(
        self, session: V1Session, name: str, options: UploadOptions, cancel: CancelToken
    ) -> None:
        self._session = session
        self._name = name
        self._options = options
        self._cancel = cancel
        self._api = V1WriteApi(session, name)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where images are sent to; `begin` may change it."""
        return self._session.endpoints

    def begin(self, entries: Sequence[Mapping[str, str]]) -> None:
        """Send the list of images to the index; see `V1WriteApi.put_list`."""
        self._run(self._session.index, lambda: self._api.put_list(entries, self._cancel))

    def finish(self, entries: Sequence[Mapping[str, str]]) -> None:
        """Send the list of images again; see `V1WriteApi.put_last_list`."""
        put = functools.partial(self._api.put_last_list, entries, self.endpoints, self._cancel)
        self._run(self._session.index, put)

    def look_up(self, endpoint: Endpoint, ids: Sequence[str]) -> dict[str, V1Image]:
        """Return those images that an endpoint has complete, `LOOKUPS` at a time.

        Raises:
            IntegrityError: The registry has another image under an id.
            Unauthorized: The registry wants other credentials.
        """
        found: dict[str, V1Image] = {}

        def look(image_id: str, _cancel: CancelToken) -> None:
            image = self._find(endpoint, image_id)
            if image is not None:
                found[image_id] = image

        for image_id in ids[:1]:
            look(image_id, self._cancel)  # alone: its answer may have the cookie of a session
        tasks = [functools.partial(look, image_id) for image_id in ids[1:]]
        run_tasks(None, tasks, jobs=LOOKUPS, cancel=self._cancel)
        return found

    def peek(self, ids: Sequence[str], *, is_certain: bool) -> dict[str, V1Image]:
        """Return those images that the registry has complete, before anything is written.

        An index does not tell of images if it does not have the repository.

        Args:
            ids: The ids of the images.
            is_certain: Whether the registry is known to speak version 1.

        Raises:
            NotFound: The registry does not have the repository, and may not speak version 1.
            Unauthorized: The registry wants other credentials.
        """
        index = V1Api(self._session, self._session.index, self._name)
        try:
            self._run(self._session.index, lambda: index.get_list(self._cancel))
        except NotFound:
            if not is_certain:
                raise
            try:
                return self.look_up(self.endpoints[0], ids)
            except Unauthorized:
                return {}
        return self.look_up(self.endpoints[0], ids)

    def _find(self, endpoint: Endpoint, image_id: str) -> V1Image | None:
        api = V1Api(self._session, endpoint, self._name)
        try:
            return self._run(endpoint, lambda: api.get_image(image_id, self._cancel))
        except NotFound:
            return None
        except RegistryError as error:
            if error.status == _BAD_REQUEST:
                return None
            raise

    def send(self, endpoint: Endpoint, image: V1Upload, on_bytes: Callable[[int], None]) -> bool:
        """Send an image: JSON, layer, checksums. Its parent has to be complete.

        Returns:
            False if the registry has the image already, so that its layer was not sent.

        Raises:
            IntegrityError: The registry got other bytes than were sent, twice, or the source of
                the layer has changed; the image is not complete.
            RegistryError: The registry refuses the image.
        """
        try:
            is_new = self._send_new(endpoint, image, on_bytes)
        except ChecksumsRefused as refusal:
            is_new = self._send_again(endpoint, image, on_bytes, refusal)
        if not is_new and self._find(endpoint, image.id) is None:
            message = "it has the image, but not completely: another client may be sending it"
            error = NetworkError(message, host=endpoint.name, transient=False)
            raise error.within(self._name, f"image {image.id}")
        return is_new

    def _send_again(
        self,
        endpoint: Endpoint,
        image: V1Upload,
        on_bytes: Callable[[int], None],
        refusal: ChecksumsRefused,
    ) -> bool:
        """Send an image once more, unless it is complete by now.

        Another client may have sent it at the same time: each JSON drops the layer before it.
        """
        policy = self._options.policy
        if policy.attempts == 1:
            raise refusal
        pause = policy.first * (1 + random.random())  # noqa: S311 - keeps the clients apart
        self._options.on_retry(pause, refusal)
        self._cancel.sleep(pause)
        if self._find(endpoint, image.id) is not None:
            return False
        return self._send_new(endpoint, image, on_bytes)

    def _send_new(
        self, endpoint: Endpoint, image: V1Upload, on_bytes: Callable[[int], None]
    ) -> bool:
        """Send the parts of an image until the registry says that it has the image."""
        put = functools.partial(self._api.put_json, endpoint, image.id, image.json, self._cancel)
        if not self._run(endpoint, put):
            return False
        sending = _LayerSending(image, self._cancel, on_bytes)
        try:
            if not self._run(endpoint, lambda: self._send_layer(endpoint, sending)):
                return False
        except SourceFailure as failure:
            raise failure.error from failure.error.__cause__
        put = functools.partial(
            self._api.put_checksums,
            endpoint,
            image.id,
            image.tar_sum,
            sending.payload,
            self._cancel,
        )
        return self._run(endpoint, put)

    def _send_layer(self, endpoint: Endpoint, sending: _LayerSending) -> bool:
        image = sending.image
        is_new = self._api.put_layer(endpoint, image.id, sending.body(), self._cancel)
        if is_new:
            sending.check(endpoint)
        return is_new

    def set_tag(self, endpoint: Endpoint, tag: str, image_id: str) -> None:
        """Set a tag to a complete image."""
        self._run(endpoint, lambda: self._api.put_tag(endpoint, tag, image_id, self._cancel))

    def _run(self, endpoint: Endpoint, call: Callable[[], T]) -> T:
        return HostCalls(endpoint.host, self._options).run(self._cancel, call)


class _LayerSending:
    """Reads a layer for an upload, as often as it is begun, and computes its checksum."""

    def __init__(
        self, image: V1Upload, cancel: CancelToken, on_bytes: Callable[[int], None]
    ) -> None:
        self.image = image
        self._source = UploadSource(image.layer, cancel, on_bytes)
        self._payload = payload_hasher(image.json)

    @property
    def payload(self) -> str:
        """The payload checksum of what was sent."""
        return f"sha256:{self._payload.hexdigest()}"

    def body(self) -> StreamBody:
        """Return the body of a request, which begins again each time that it is opened."""
        return StreamBody(None, self._open)

    def _open(self) -> Stream:
        self._source.restart()
        self._payload = payload_hasher(self.image.json)
        return _HashedStream(self._source.body(0, None).open(), self._payload)

    def check(self, endpoint: Endpoint) -> None:
        """Compare what was sent with the digest of the layer.

        Raises:
            SourceFailure: The source has changed since it was read first.
            NetworkError: The registry has answered before the layer was sent.
        """
        if self._source.furthest < (self.image.layer.descriptor.size or 0):
            raise NetworkError(
                "it confirmed a layer before all of it was sent", host=endpoint.name
            ).within(f"image {self.image.id}")
        self._source.check_end()


class _HashedStream:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, stream: Stream, hasher: wherry.types.Hash) -> None:
        self._stream = stream
        self._hasher = hasher

    def read1(self, size: int) -> bytes:
        data = self._stream.read1(size)
        self._hasher.update(data)
        return data

    def close(self) -> None:
        self._stream.close()
