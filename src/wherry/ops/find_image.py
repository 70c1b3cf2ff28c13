"""Find an image of a store by its name, its id or the digest of its manifest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherry.errors import Ambiguous, InvalidDigest, InvalidReference, NotFound
from wherry.model.address import Address, Where
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.store.refs import LOOK

if TYPE_CHECKING:
    from wherry.model.address import ImageName
    from wherry.store import LocalStore
    from wherry.store.images import ImageRecord
    from wherry.store.removal import RemovalReport

# Compiled at their first use: many commands look at no id.
_ID = r"(?:sha256:)?([0-9a-f]{64})"
_ID_PREFIX = r"[0-9a-f]{4,64}"
_LONG_PREFIX = r"sha256:([0-9a-f]{4,64})"
_MAX_IDS_SHOWN = 8


class StoredImage(Record):
    """An image of a store, and the root that the name stands for."""

    root: Digest
    record: ImageRecord


def find_image(store: LocalStore, name: ImageName) -> StoredImage:
    """Find an image by reference, id, unique prefix of an id, or manifest digest.

    Raises:
        NotFound: The store has no such image.
        Ambiguous: Several images have ids with this prefix.
        InvalidReference: The name can be none of these.
    """
    text, reference = _read_name(store, name)
    whole = re.fullmatch(_ID, text)
    if whole is not None:
        return _by_manifest(store, text) or _by_id(store, whole.group(1), text)
    if reference is None:
        reference = Reference.parse(text)  # which raises the error
    named = store.find_with_image(reference.with_default_tag())
    if named is not None and named[1] is not None:
        return StoredImage(named[0].root, named[1])
    if re.fullmatch(_ID_PREFIX, text):
        return _by_id(store, text, text)
    if (prefix := re.fullmatch(_LONG_PREFIX, text)) is not None:
        return _by_id(store, prefix.group(1), text)
    if (found := _by_manifest(store, text)) is not None:  # sha512
        return found
    if named is not None:
        message = "is no image: it is an artifact, or an index of which no image is stored"
        raise NotFound(message, hint=f"copy it as it is: wherry copy store:{text} …").within(text)
    raise _not_found(text)


def find_root(store: LocalStore, name: ImageName) -> tuple[Digest, Digest]:
    """Find what a name stands for, also if it is no image; else look as `find_image` does.

    Returns:
        The root, and the manifest that the name shows.
    """
    _, reference = _read_name(store, name)
    named = None if reference is None else store.find_with_image(reference.with_default_tag())
    if named is not None and named[1] is None:
        return named[0].root, named[0].manifest
    found = find_image(store, name)
    return found.root, found.record.manifest


def find_known_image(store: LocalStore, name: ImageName) -> StoredImage:
    """Find an image as `find_image` does; the hint of an error is not to pull it."""
    try:
        return find_image(store, name)
    except Ambiguous:
        raise
    except NotFound as error:
        error.hint = LOOK
        raise


def remove_image(store: LocalStore, name: ImageName, *, force: bool) -> RemovalReport:
    """Remove a name, and with its last name the image; an id stands for all names.

    Raises:
        NotFound: The store has no such image.
        StoreError: ``name`` is an id, several repositories name its image, and ``force`` is
            false.
    """
    text, reference = _read_name(store, name)
    if reference is not None and _is_stored(store, text, reference):
        return store.remove_name(reference.with_default_tag())
    found = find_known_image(store, Address(Where.STORE, text, given=reference))
    if text == str(found.record.manifest):  # not other manifests of the same id
        return store.remove_images([found.record], force=force)
    return store.remove_images(store.images_by_id(found.record.id.hex), force=force)


def remove_name(store: LocalStore, name: ImageName) -> None:
    """Remove a name; its image stays.

    Raises:
        NotFound: The store has no such name.
        InvalidReference: The text is not a name.
    """
    text, reference = _read_name(store, name)
    store.unpin((reference or Reference.parse(text)).with_default_tag())


def _read_name(store: LocalStore, name: ImageName) -> tuple[str, Reference | None]:
    """Return a name without ``store:``, and as a reference if it is one.

    ``store:`` stays if it begins a name of the store, such as ``store:1.0``.
    """
    if isinstance(name, Address):
        return name.name, name.given
    if isinstance(name, Reference):
        return str(name), name
    text = str(name)
    reference = _parse(text)
    bare = text.removeprefix("store:")
    if bare == text or (reference is not None and _is_stored(store, text, reference)):
        return text, reference
    return bare, _parse(bare)


def _parse(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


def _is_stored(store: LocalStore, text: str, reference: Reference) -> bool:
    """Tell whether a name that does not look like an id is in the store."""
    if re.fullmatch(_ID, text) or re.fullmatch(_LONG_PREFIX, text):
        return False
    return store.find(reference.with_default_tag()) is not None


def _by_manifest(store: LocalStore, text: str) -> StoredImage | None:
    """Return the image of a manifest, or None if the text is not the digest of one."""
    try:
        record = store.image(Digest.parse(text))
    except InvalidDigest:
        return None
    return None if record is None else StoredImage(store.root_of(record.manifest), record)


def _by_id(store: LocalStore, prefix: str, text: str) -> StoredImage:
    records = store.images_by_id(prefix)
    if not records:
        raise _not_found(text)
    if len(ids := sorted({record.id.hex for record in records})) > 1:
        length = max(12, len(prefix) + 2)
        shown = " ".join([each[:length] for each in ids[:_MAX_IDS_SHOWN]])
        shown += " …" if len(ids) > _MAX_IDS_SHOWN else ""
        message = f"several images have ids that begin like this: {shown}"
        raise Ambiguous(message, hint="use more characters of the id").within(text)
    return StoredImage(store.root_of(records[0].manifest), records[0])


def _not_found(text: str) -> NotFound:
    is_id = re.fullmatch(_ID_PREFIX, text) or re.fullmatch(_LONG_PREFIX, text)
    hint = "" if is_id else f"fetch it: wherry pull {text}"
    return NotFound("no such image in the store", hint=hint).within(text)
