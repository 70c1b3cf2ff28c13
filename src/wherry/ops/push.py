"""Push images of the store, or of another place, to a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import InvalidReference, NotFound
from wherry.model.address import Address, Where
from wherry.ops.copy import copy
from wherry.ops.open_source import open_image

if TYPE_CHECKING:
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.ops.copy_choice import CopyChoice
    from wherry.ops.open_source import Access
    from wherry.transfer.execute import CopyResult


def push(
    origin: Address, destination: Reference | None, choice: CopyChoice, access: Access
) -> CopyResult:
    """Push an image. Idempotent.

    Args:
        origin: The image.
        destination: Its name in the registry; by default the name of the image.
        choice: What to push of it, and how.
        access: What opening the places takes.

    Raises:
        InvalidReference: The image has no name, and no destination is given.
        NotFound: There is no such image.
        WherryError: The registry refuses it.
    """
    target = destination or own_name(origin, access)
    return copy(origin, Address.of(target), choice, access)


def own_name(origin: Address, access: Access) -> Reference:
    """Return the name of an image, under which it is pushed.

    Raises:
        InvalidReference: The image has no name.
    """
    if origin.where is Where.REGISTRY and origin.reference is not None:
        return origin.reference
    with open_image(origin, access) as image:
        if image.named is not None:
            return image.named
    raise InvalidReference(
        "an image without a name needs a destination", text=str(origin), position=0
    )


def push_all_tags(
    repository: Reference, destination: Reference, choice: CopyChoice, access: Access
) -> list[CopyResult]:
    """Push every tag of a repository of the store; the tags of one image together.

    The images come in the order of their first tags.

    Raises:
        NotFound: The store has no tag of the repository.
        WherryError: As `push`; the tags before it are pushed.
    """
    prefix = f"{repository.name}:"
    tags: dict[tuple[Digest, Digest], list[str]] = {}  # by root and the manifest that is shown
    for name, root, image in access.target().named_images():
        if name.startswith(prefix):
            tags.setdefault((root, image.manifest), []).append(name.removeprefix(prefix))
    if not tags:
        raise NotFound("the store has no tags of this repository").within(repository.familiar_name)
    return [
        push(
            _in_store(repository.with_tag(first)),
            destination.with_tag(first),
            choice.replace(additional_tags=(*others, *choice.additional_tags)),
            access,
        )
        for first, *others in tags.values()
    ]


def _in_store(reference: Reference) -> Address:
    return Address(Where.STORE, name=str(reference), given=reference)
