"""A repository of a version 1 registry: its tags, its images, its layers."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from wherry.content.budget import Budget
from wherry.content.retry import run
from wherry.content.scheduler import run_tasks
from wherry.errors import Cancelled, NetworkError, RateLimited, RegistryError, WherryError
from wherry.registry.cache import LruCache
from wherry.registry.tag_list import valid_tags
from wherry.registry.v1_answers import Ping, check_parents
from wherry.registry.v1_api import V1Api
from wherry.registry.v1_layers import V1Layers
from wherry.registry.v1_session import V1Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened
    from wherry.model.reference import Reference
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session
    from wherry.registry.v1_answers import V1Image

MAX_CHAIN = 8 * 2**20  # bytes of the metadata of an image and all below it

T = TypeVar("T")


class V1Repository:
    """One repository of a version 1 registry, read. Thread-safe after `connect`.

    Lists and tags come from the registry. Images come from the mirrors first, then from the
    endpoints that the registry names. All methods retry but `open_layer`, which makes one attempt.

    Args:
        session: The session whose connections, credentials and caches are used.
        reference: The repository.
        endpoints: The endpoints of the repository: mirrors first, the registry last.
        cancel: Cancels all calls but `open_layer`.
        warn: Is told warnings of servers, and why a mirror is not used.
        on_retry: Is told the seconds until the next attempt, and the reason.
    """

    remote = True

    def __init__(
        self,
        session: Session,
        reference: Reference,
        endpoints: Sequence[Endpoint],
        cancel: CancelToken,
        *,
        warn: Callable[[str], None],
        on_retry: Callable[[float, WherryError], None],
    ) -> None:
        self.reference = reference
        self.ping = Ping()
        self.session = V1Session(session, endpoints[-1], session.server_warnings(cancel, warn))
        self._mirrors = tuple(endpoints[:-1])
        self._cancel = cancel
        self._policy = session.policy.stepped()
        self._warn = warn
        self._on_retry = on_retry
        self._jobs = session.jobs
        self._lock = threading.Lock()
        self._unresponsive: set[str] = set()
        self._reported: set[str] = set()
        self._homes: dict[str, V1Api] = {}  # what served the ancestry of an image
        self._layers = V1Layers(self.label)
        # Images of one repository share those below them.
        self._images: LruCache[str, V1Image] = LruCache(MAX_CHAIN, overhead=512)

    @property
    def label(self) -> str:
        """The repository's name."""
        return self.reference.name

    def connect(self, *, is_silent: bool = False) -> None:
        """Ask the registry what it is and for the list of images.

        Args:
            is_silent: Whether the registry did not answer by version 2, for all attempts. Then
                the first request is tried once only.

        Raises:
            NotFound: The registry has no such repository, or does not speak version 1.
            Unauthorized: The registry wants other credentials.
            NetworkError: There is no valid response.
            InvalidDocument: The list cannot be read.
        """
        try:
            policy = self._policy.replace(attempts=1) if is_silent else self._policy
            self.ping = run(
                policy, self._cancel, lambda: self.session.ping(self._cancel), self._on_retry
            )
        except (RateLimited, RegistryError):
            self.ping = Ping()  # the list may be served all the same
        index = self._api(self.session.index)
        self._run(lambda: index.get_list(self._cancel))

    def tags(self) -> dict[str, str]:
        """Return the image id of each valid tag; others are left out with a warning.

        Raises:
            NotFound: The registry has no such repository.
            InvalidDocument: An id is invalid.
        """
        found = self._ask_registry(lambda api: api.get_tags(self._cancel))
        return {tag: found[tag] for tag in valid_tags(found, self._warn)}

    def resolve(self, tag: str) -> str:
        """Return the image id of a tag; raises `NotFound`."""
        return self._ask_registry(lambda api: api.get_tag(tag, self._cancel))

    def ancestry(self, image_id: str) -> tuple[str, ...]:
        """Return the ids of an image and all below it, the top one first.

        Raises:
            NotFound: The registry has no such image.
            InvalidDocument: The list is not one of ids, has a loop or over `MAX_ANCESTRY` ids.
        """
        home, found = self._run(
            lambda: self._try_each(
                self._apis(image_id), lambda api: (api, api.get_ancestry(image_id, self._cancel))
            )
        )
        with self._lock:
            self._homes |= dict.fromkeys(found, home)
        return found

    def image(self, image_id: str) -> V1Image:
        """Return the metadata of one image.

        Raises:
            NotFound: The registry has no such image.
            InvalidDocument: The JSON or the size is invalid.
            IntegrityError: The JSON is that of another image.
        """
        return self._image(image_id, self._cancel)

    def chain(self, image_id: str) -> tuple[V1Image, ...]:
        """Return the metadata of an image and all below it, the top one first.

        Raises what `ancestry` and `image` do, and:

        Raises:
            IntegrityError: The parent of an image is not the next one of the ancestry.
            Unsupported: The images have over 8 MiB of metadata together.
        """
        found: dict[str, V1Image] = {}
        budget = Budget(size=MAX_CHAIN)

        def fetch(each: str, cancel: CancelToken) -> None:
            image = self._image(each, cancel)
            with self._lock:
                budget.spend(len(image.raw))
                budget.check(0)
                found[each] = image

        ids = self.ancestry(image_id)
        tasks = [partial(fetch, each) for each in ids]
        try:
            run_tasks(None, tasks, jobs=self._jobs, cancel=self._cancel)
            images = tuple(found[each] for each in ids)
            check_parents(images)
        except WherryError as error:
            raise error.within(self.label) from None
        return images

    def open_layer(self, image_id: str, offset: int, cancel: CancelToken) -> Opened:
        """Open the layer of an image at ``offset``, or at 0 if it cannot be resumed there.

        This is one attempt. It is resumed only at a server that said that it serves ranges, and
        whose layer has the size and ``ETag`` of before.

        Raises:
            NotFound: The registry has no such layer.
            IntegrityError: The layer has another size than the registry said.
            NetworkError: There is no valid response.
        """
        return self._try_each(
            self._apis(image_id), lambda api: self._layers.open(api, image_id, offset, cancel)
        )

    def _image(self, image_id: str, cancel: CancelToken) -> V1Image:
        known = self._images.get(image_id)
        if known is not None:
            return known
        apis = self._apis(image_id)
        found = self._run(
            lambda: self._try_each(apis, lambda api: api.get_image(image_id, cancel)), cancel
        )
        if found.size is not None:
            self._layers.sizes[image_id] = found.size
        self._images.put(image_id, found, len(found.raw))
        return found

    def _api(self, endpoint: Endpoint) -> V1Api:
        return V1Api(self.session, endpoint, self.label)

    def _apis(self, image_id: str) -> list[V1Api]:
        """Return where to ask for an image: the server of its ancestry, mirrors, endpoints."""
        with self._lock:
            home = self._homes.get(image_id)
        others = [self._api(endpoint) for endpoint in (*self._mirrors, *self.session.endpoints)]
        if home is None:
            return others
        return [home, *(api for api in others if api.endpoint != home.endpoint)]

    def _ask_registry(self, call: Callable[[V1Api], T]) -> T:
        return self._run(
            lambda: self._try_each([self._api(each) for each in self.session.endpoints], call)
        )

    def _run(self, call: Callable[[], T], cancel: CancelToken | None = None) -> T:
        return run(self._policy, cancel or self._cancel, call, self._on_retry)

    def _try_each(self, apis: Sequence[V1Api], call: Callable[[V1Api], T]) -> T:
        """Call each server once until one succeeds; those that did not respond come last.

        The first error of an endpoint that responded is raised, or else the first error. Errors
        of mirrors are warnings.
        """
        failures: list[WherryError] = []
        for api in sorted(apis, key=lambda api: api.endpoint.host in self._unresponsive):
            try:
                return call(api)
            except Cancelled:
                raise
            except WherryError as error:
                is_mirror = api.endpoint in self._mirrors
                self._note_failure(api.endpoint, error, is_mirror=is_mirror)
                if not is_mirror:
                    failures.append(error)
        answers = [error for error in failures if not isinstance(error, NetworkError)]
        raise (answers or failures)[0]

    def _note_failure(self, endpoint: Endpoint, error: WherryError, *, is_mirror: bool) -> None:
        with self._lock:
            if isinstance(error, NetworkError):
                self._unresponsive.add(endpoint.host)
            is_silent = not is_mirror or endpoint.host in self._reported
            self._reported.add(endpoint.host)
        if not is_silent:
            self._warn(f"{endpoint.name}: {error}; trying the next endpoint")
