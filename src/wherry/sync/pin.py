"""Pinning: writing digests into compose files, Kubernetes YAML and Dockerfiles."""

from __future__ import annotations

import functools
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.content.output import whole_file
from wherry.content.scheduler import run_tasks
from wherry.errors import WherryError
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.sync.read_entries import find_in_file
from wherry.sync.resolve_name import resolve_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.ops.open_source import Access
    from wherry.sync.found_image import FoundImage
    from wherry.sync.lock import Upgrade


class PinnedImage(Record):
    """A name of a file that got a digest.

    Attributes:
        place: Where it is: ``services.web.image``.
        line: The line, from 1.
        old: The name before.
        new: The name with its digest.
    """

    place: str
    line: int
    old: str
    new: str


def pin_images(
    file: Path, upgrade: Upgrade, access: Access, jobs: int, warn: Callable[[str, str], None]
) -> list[PinnedImage]:
    """Write a file back with ``name:tag@digest`` for each name of an image.

    Nothing else in the file changes. The file is replaced as a whole, and only if a name changes.

    Args:
        file: The file.
        upgrade: Which names to resolve again although they have a digest beside their tag.
        access: What opening repositories takes.
        jobs: How many requests to make at a time.
        warn: Called for each name that is left out, with its place and the reason.

    Returns:
        The names that changed, in the order of the file.

    Raises:
        NotFound: An image, or a name to upgrade, does not exist.
        WherryError: The file or a registry cannot be read, or the file cannot be written.
    """
    text, found = find_in_file(file, warn)
    upgrade.check([_unpinned(image.reference) for image in found])
    wanted = [image for image in found if _is_wanted(image, upgrade)]
    for image in wanted:
        if not image.is_spliceable:
            reason = "has escapes, line breaks or variables; left out"
            warn(f"{file}:{image.line}", f"{image.place} {reason}")
    wanted = [image for image in wanted if image.is_spliceable]
    digests = _resolve([_unpinned(image.reference) for image in wanted], access, jobs)
    pinned = [(image, _with_digest(image, digests[_unpinned(image.reference)])) for image in wanted]
    changed = [(image, new) for image, new in pinned if new != image.text]
    if changed:
        _write(file, "".join(_spliced(text, changed)))
    return [PinnedImage(image.place, image.line, image.text, new) for image, new in changed]


def _is_wanted(image: FoundImage, upgrade: Upgrade) -> bool:
    if image.reference.digest is None:
        return True
    return image.reference.tag is not None and upgrade.includes(_unpinned(image.reference))


def _unpinned(reference: Reference) -> Reference:
    return reference._replace(digest=None).with_default_tag()


def _resolve(names: Sequence[Reference], access: Access, jobs: int) -> dict[Reference, Digest]:
    found: dict[Reference, Digest] = {}

    def resolve(name: Reference, _cancel: CancelToken) -> None:
        found[name] = resolve_name(name, access)

    tasks = [functools.partial(resolve, name) for name in dict.fromkeys(names)]
    run_tasks(None, tasks, jobs=jobs, cancel=access.cancel)
    return found


def _with_digest(image: FoundImage, digest: Digest) -> str:
    name = image.text.partition("@")[0]
    tag = "" if image.reference.tag is not None else ":latest"
    return f"{name}{tag}@{digest}"


def _spliced(text: str, changed: Sequence[tuple[FoundImage, str]]) -> Iterator[str]:
    """Yield the text with new names at the positions of the old ones."""
    at = 0
    for image, new in changed:
        yield text[at : image.start]
        yield new
        at = image.start + len(image.text)
    yield text[at:]


def _write(file: Path, text: str) -> None:
    try:
        target = file.resolve(strict=True)  # a link stays one
        mode = stat.S_IMODE(target.stat().st_mode)
        with (
            whole_file(target, mode) as descriptor,
            open(descriptor, "wb", closefd=False) as output,
        ):
            output.write(text.encode())
    except OSError as error:
        raise WherryError(str(error.strerror)).within(file) from error
