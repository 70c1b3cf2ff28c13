"""The images that the entries of a file mean, each with a tag or a digest."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from wherry.content.scheduler import run_tasks
from wherry.errors import NotFound, WherryError
from wherry.model import gotime
from wherry.model.address import Address
from wherry.model.manifest import Index
from wherry.model.platform import Platform
from wherry.ops.documents import read_parsed_config
from wherry.ops.open_source import open_image
from wherry.ops.tags import list_tags
from wherry.sync.choose_tags import choose_tags
from wherry.transfer.graph import Selection, candidates, listed, no_match

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.reference import Reference
    from wherry.ops.open_source import Access
    from wherry.sync.image_list import ImageEntry

_COMMON = Platform("linux", "amd64")  # whose config says when an image was created, if it exists


class WantedImage(NamedTuple):
    """An image with a tag or digest, and its platforms, sorted; none means all."""

    name: Reference
    platforms: tuple[Platform, ...] = ()


def find_wanted(entries: Sequence[ImageEntry], access: Access, jobs: int) -> list[WantedImage]:
    """Return the images that entries mean, each once; registries list tags where needed.

    An image of several entries has the platforms of all of them.

    Raises:
        NotFound: An entry means no image.
        WherryError: An entry means every tag of a repository, or its tags cannot be listed.
    """
    for entry in entries:
        if entry.takes_every_tag and entry.newest is None:
            raise WherryError(
                f"{entry.source.familiar} has no tag, and nothing says which are meant",
                hint="add a tag to source, or one of: tags, match, semver, newest",
            ).within(entry.place)
    chosen: dict[int, list[Reference]] = {}

    def choose(number: int, _cancel: CancelToken) -> None:
        chosen[number] = choose_images(entries[number], access, jobs)

    tasks = [functools.partial(choose, number) for number in range(len(entries))]
    run_tasks(None, tasks, jobs=jobs, cancel=access.cancel)
    found: dict[Reference, tuple[Platform, ...]] = {}
    for number, entry in enumerate(entries):
        for name in chosen[number]:
            before, these = found.get(name, entry.platforms), entry.platforms
            found[name] = tuple(dict.fromkeys((*before, *these))) if before and these else ()
    return [
        WantedImage(name, tuple(sorted(platforms, key=str))) for name, platforms in found.items()
    ]


def choose_images(entry: ImageEntry, access: Access, jobs: int) -> list[Reference]:
    """Return the images that an entry means, with tags or a digest.

    Raises:
        NotFound: There is none, or no such repository.
        WherryError: The registry cannot be asked.
    """
    if not entry.is_repository:
        return [entry.source]
    tags = list_tags(entry.source, access) if entry.needs_tag_list else ()
    times = functools.partial(_creation_times, entry.source, access, jobs)
    found = choose_tags(entry, tags, times)
    if not found:
        raise NotFound("no tag is chosen").within(entry.place, entry.source.familiar)
    return [entry.source.with_tag(tag) for tag in found]


def _creation_times(
    repository: Reference, access: Access, jobs: int, tags: Sequence[str]
) -> Mapping[str, float]:
    """Return when the images of tags were created; 0 if the config does not say."""
    found: dict[str, float] = {}

    def read(tag: str, _cancel: CancelToken) -> None:
        found[tag] = _created(repository.with_tag(tag), access)

    tasks: list[Callable[[CancelToken], None]] = [functools.partial(read, tag) for tag in tags]
    run_tasks(None, tasks, jobs=jobs, cancel=access.cancel)
    return found


def _created(name: Reference, access: Access) -> float:
    with open_image(Address.of(name), access) as image:
        digest, document = image.digest, image.document
        seen = {digest}
        while isinstance(document, Index):
            entries = [*candidates(document, _COMMON), *listed(document)]
            entry = next((each for each in entries if each.digest not in seen), None)
            if entry is None:
                raise no_match(document, _COMMON)
            digest, document = entry.digest, image.source.document(entry.digest)
            seen.add(digest)
        created = gotime.parse(read_parsed_config(image, Selection((), digest, document)).created)
    return 0.0 if created is None else created.timestamp()
