"""Inspect an image by its documents; no layer is fetched."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING

from wherry.content.background import in_background
from wherry.content.events import Status
from wherry.errors import Denied, NotFound, RegistryError, Unauthorized, WherryError
from wherry.model.address import Where
from wherry.model.inspection import inspection
from wherry.ops.documents import choose, read_config
from wherry.ops.open_source import open_image, open_repository, open_v1_image
from wherry.transfer.graph import config_problems, problems
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event
    from wherry.model.address import Address
    from wherry.model.inspection import Inspection
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.open_source import Access, SourceImage

_OK = 200
_SILENT = (Denied, NotFound, Unauthorized)  # the registry does not list its tags


class _SharedListener:
    """Pass on events of concurrent requests, and the same retry once.

    The n-th retries of all requests for the same reason are one event.
    """

    def __init__(self, listener: Callable[[Event], None]) -> None:
        self._listener = listener
        self._passed_on: Counter[str] = Counter()
        self._lock = threading.Lock()

    def for_request(self) -> Callable[[Event], None]:
        """Return the listener for one request."""
        retries: Counter[str] = Counter()

        def listen(event: Event) -> None:
            if event.status is Status.RETRYING:
                retries[event.message] += 1
                with self._lock:
                    if retries[event.message] <= self._passed_on[event.message]:
                        return
                    self._passed_on[event.message] += 1
            self._listener(event)

        return listen


def inspect(address: Address, access: Access, wanted: PlatformChoice, *, tags: bool) -> Inspection:
    """Inspect an image.

    With ``tags``, the tags of the repository are fetched at the same time; a warning tells that
    they are missing or denied. A name with neither tag nor digest means ``latest``, or the first
    tag if there is no ``latest``.

    Raises:
        PlatformMismatch: There is no image for the platform.
        WherryError: The image cannot be read; see `open_image`.
    """
    shared = _SharedListener(access.listener)
    access = access.replace(listener=shared.for_request())
    with (
        _tags(address, access.replace(listener=shared.for_request()), wanted=tags) as listed,
        contextlib.ExitStack() as opened,
    ):
        try:
            image = opened.enter_context(_open_some(address, access, listed))
        except WherryError as error:
            served = listed.was_served(wait=tags)
            repository = open_v1_image(address, access, error, served=served)
            from wherry.ops.v1_read import inspect_v1

            warn = Emitter(access.listener, address.name).warn
            reference = address.given or repository.reference
            return inspect_v1(repository, reference, wanted, tags=tags, warn=warn)
        return _inspect(address, access, image, wanted, listed if tags else None)


def _inspect(
    address: Address,
    access: Access,
    image: SourceImage,
    wanted: PlatformChoice,
    listed: _TagList | None,
) -> Inspection:
    """Inspect an open image; without ``listed`` the tags are left out."""
    chosen = choose(image, wanted)
    emitter = Emitter(access.listener, address.name)
    for problem in problems(chosen):
        emitter.warn(problem)
    config = read_config(image, chosen)
    # Like skopeo, name the image of a docker archive as the address does.
    name = address.reference.name if address.reference is not None else ""
    found = () if listed is None else _allowed(listed, emitter)
    inspected = inspection(name, image.digest, chosen.manifest, config, found)
    if chosen.config is not None:
        for message in config_problems(chosen.config.digest, inspected.problems):
            emitter.warn(message)
    return inspected


class _TagList:
    """The tags of a repository, which ``fetch`` returns or waits for."""

    def __init__(self, fetch: Callable[[], tuple[str, ...]]) -> None:
        self._fetch = fetch
        self._served = False

    def __call__(self) -> tuple[str, ...]:
        """Return the tags, or raise what the registry answered."""
        found = self._fetch()
        self._served = True
        return found

    def was_served(self, *, wait: bool) -> bool:
        """Tell whether the registry has served the list; ``wait`` for its answer."""
        if wait and not self._served:
            with contextlib.suppress(WherryError):
                self()
        return self._served


@contextlib.contextmanager
def _tags(address: Address, access: Access, *, wanted: bool) -> Iterator[_TagList]:
    """Yield the list of the tags; ``wanted`` fetches it meanwhile."""
    reference = address.reference
    if reference is None or address.where is not Where.REGISTRY:
        yield _TagList(lambda: ())
        return

    def fetch(cancel: CancelToken) -> tuple[str, ...]:
        return tuple(open_repository(reference, access.replace(cancel=cancel)).tags())

    if wanted:
        with in_background(access.cancel, fetch) as wait:
            yield _TagList(wait)
    else:
        yield _TagList(lambda: fetch(access.cancel))


def _allowed(listed: _TagList, emitter: Emitter) -> tuple[str, ...] | None:
    """Return the tags; warn and return None if they cannot be listed."""
    try:
        return listed()
    except (*_SILENT, RegistryError) as error:
        if isinstance(error, RegistryError) and error.status != _OK:
            raise
        emitter.warn(f"the tags cannot be listed ({error})")
        return None


@contextlib.contextmanager
def _open_some(address: Address, access: Access, listed: _TagList) -> Iterator[SourceImage]:
    """Open an image; open the first tag instead of a missing implied ``latest``."""
    with contextlib.ExitStack() as stack:
        try:
            image = stack.enter_context(open_image(address, access, tries_v1=True))
        except NotFound as error:
            other = _first_tagged(address, listed)
            if other is None or other.reference is None:
                raise error from None
            message = f"there is no latest; this is the first tag, {other.reference.tag}"
            Emitter(access.listener, address.name).warn(message)
            image = stack.enter_context(open_image(other, access, tries_v1=True))
        yield image


def _first_tagged(address: Address, listed: _TagList) -> Address | None:
    reference = address.reference
    if address.where is not Where.REGISTRY or reference is None:
        return None
    if address.given is None or not address.given.is_name_only:
        return None
    try:
        tags = listed()
    except NotFound as error:
        if "NAME_UNKNOWN" in error.codes:  # this says more than a missing tag
            raise
        return None
    except _SILENT:
        return None
    if not tags:
        raise NotFound("the repository has no tags").within(reference.familiar_name)
    return address.replace(given=reference.with_tag(tags[0]))
