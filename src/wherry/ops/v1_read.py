"""Read what a version 1 registry says about an image, without its layers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from wherry.errors import (
    Denied,
    InvalidDocument,
    NotFound,
    RegistryError,
    Unauthorized,
    Unsupported,
    WherryError,
)
from wherry.model import v1
from wherry.model.inspection import v1_inspection
from wherry.model.platform import Platform
from wherry.ops.history import HistoryStep
from wherry.ops.platform_check import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.model.inspection import Inspection
    from wherry.model.reference import Reference
    from wherry.ops.documents import PlatformChoice
    from wherry.registry.v1_answers import V1Image
    from wherry.registry.v1_repository import V1Repository


def inspect_v1(
    repository: V1Repository,
    reference: Reference,
    wanted: PlatformChoice,
    *,
    tags: bool,
    warn: Callable[[str], None],
) -> Inspection:
    """Inspect an image by the JSONs of its chain; its DiffIDs and digests are not known.

    A name without a tag means ``latest``, or the first tag if there is no ``latest``.

    Args:
        repository: The repository, connected.
        reference: The image.
        wanted: The platform that it has to be for, if the caller named one.
        tags: Whether to list the tags of the repository; a warning tells that they cannot be.
        warn: Is told warnings.

    Raises:
        Unsupported: The reference has a digest.
        PlatformMismatch: The image is for another platform than the named one.
        WherryError: The image cannot be read.
    """
    listed: tuple[str, ...] | None = ()
    if tags:
        try:
            listed = tuple(repository.tags())
        except (Denied, Unauthorized, RegistryError) as error:
            listed = None
            warn(f"the tags cannot be listed ({error})")
    with _within_name(reference):
        tag, chain = _chain(repository, reference, wanted, warn)
        lowest_first = chain[::-1]
        return v1_inspection(
            repository.label,
            tag,
            chain[0].raw,
            read_v1_history(lowest_first),
            [(image.id, image.size) for image in lowest_first],
            listed,
        )


def history_v1(
    repository: V1Repository, reference: Reference, wanted: PlatformChoice
) -> list[HistoryStep]:
    """Return the history of an image, the last step first; raises as `inspect_v1`."""
    with _within_name(reference):
        _, chain = _chain(repository, reference.with_default_tag(), wanted)
        history = read_v1_history(chain)
    steps = []
    for image, entry in zip(chain, history, strict=True):
        named = {name: entry.get(name, "") for name in ("created_by", "author", "comment")}
        steps.append(HistoryStep(entry["created"], **named, size=image.size, v1_id=image.id))
    return steps


@contextlib.contextmanager
def _within_name(reference: Reference) -> Iterator[None]:
    """Name the image in errors that name nothing of its registry."""
    try:
        yield
    except WherryError as error:
        if not error.is_within(reference.domain):
            error.within(reference.familiar)
        raise


def read_v1_history(chain: Sequence[V1Image]) -> list[dict[str, Any]]:
    """Return the history entry of each image; all of them have layers.

    Raises:
        InvalidDocument: A JSON is not one of an image; the error names the image.
    """
    found = []
    for image in chain:
        try:
            found.append(v1.history_entry(image.raw, empty_layer=False))
        except InvalidDocument as error:
            raise error.within(f"image {image.id}") from None
    return found


def read_v1_platform(top: V1Image) -> Platform:
    """Return the platform that the JSON of an image states."""
    found = v1.image(top.raw)
    return Platform(*(found.get(name, "") for name in ("os", "architecture", "variant")))


def without_digests(reference: Reference) -> Unsupported:
    """Return the error for a digest that is looked for in a version 1 registry."""
    message = f"{reference.domain} speaks only the legacy v1 protocol, which knows no digests"
    error = Unsupported(message, hint="name a tag")
    error.within(reference.familiar)
    return error


def _chain(
    repository: V1Repository,
    reference: Reference,
    wanted: PlatformChoice,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[str, Sequence[V1Image]]:
    """Return the tag of an image, and its chain, the top one first."""
    if reference.digest is not None:
        raise without_digests(reference)
    tag, image_id = _resolve(repository, reference, warn)
    chain = repository.chain(image_id)
    if wanted.platform is not None:
        error = compare((), read_v1_platform(chain[0]), wanted.platform)
        if error is not None:
            raise error
    return tag, chain


def _resolve(
    repository: V1Repository, reference: Reference, warn: Callable[[str], None]
) -> tuple[str, str]:
    """Return a tag and the id of its image; the first tag in place of a missing ``latest``."""
    tag = reference.with_default_tag().tag or ""
    try:
        return tag, repository.resolve(tag)
    except NotFound:
        if reference.tag is not None:
            raise
    tags = repository.tags()
    if not tags:
        raise NotFound("the repository has no tags").within(reference.familiar_name)
    tag, image_id = next(iter(tags.items()))
    warn(f"there is no latest; this is the first tag, {tag}")
    return tag, image_id
