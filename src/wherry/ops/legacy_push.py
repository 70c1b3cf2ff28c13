"""Finding out whether a push has to go by version 1, and telling how to allow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import NetworkError, NotFound, RegistryError, WherryError
from wherry.model.address import Where
from wherry.ops.destination import destination_text, names_of
from wherry.ops.legacy import advise
from wherry.ops.open_sink import upload_options
from wherry.registry.legacy_order import may_go_on

if TYPE_CHECKING:
    from wherry.model.address import Address
    from wherry.ops.blob_memory import BlobMemory
    from wherry.ops.copy_choice import CopyChoice
    from wherry.ops.copy_source import CopySource
    from wherry.ops.open_source import Access
    from wherry.ops.v1_push import V1Push
    from wherry.transfer.progress import Emitter


def find_v1_push(
    source: Address,
    destination: Address,
    choice: CopyChoice,
    access: Access,
    emitter: Emitter,
    found: CopySource,
    memory: BlobMemory,
) -> V1Push | None:
    """Return the push to a registry that has no version 2, if its settings allow version 1.

    Raises:
        WherryError: The registry speaks neither version.
    """
    reference = destination.reference
    if destination.where is not Where.REGISTRY or reference is None:
        return None
    session = access.session()
    if not session.hosts.endpoints(reference)[-1].legacy:
        return None
    from wherry.ops.v1_push import V1Push, V1Target, find_v1_registry

    options = upload_options(session, choice, emitter)
    registry = find_v1_registry(session, reference, options, access.cancel)
    if registry is None:
        return None
    names = names_of(destination, choice.additional_tags)
    text = destination_text(destination)
    target = V1Target(registry, reference, names, str(source), text)
    return V1Push(target, found, choice, memory, options, emitter, access.cancel)


def advise_on_push(error: WherryError, destination: Address, access: Access) -> None:
    """Add how to allow version 1 to the hint of a push's error, if that may help.

    A registry of version 2 refuses a repository with an error code, or for want of credentials.
    """
    is_refusal = isinstance(error, NotFound | NetworkError | RegistryError)
    codes = getattr(error, "codes", ())
    if not is_refusal or codes or not may_go_on(error, served=False):
        return
    reference = destination.reference
    if destination.where is not Where.REGISTRY or reference is None:
        return
    endpoint = access.session().hosts.endpoints(reference)[-1]
    if error.is_within(endpoint.name) and not endpoint.legacy:
        advise(error, reference.domain)
