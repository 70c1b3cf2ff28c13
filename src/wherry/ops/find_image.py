"""Find an image of a store by its name, its id or the digest of its manifest."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from wherry.errors import Ambiguous, InvalidDigest, InvalidReference, NotFound
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.store.refs import LOOK

if TYPE_CHECKING:
    from wherry.store import LocalStore
    from wherry.store.images import ImageRecord
    from wherry.store.removal import RemovalReport

# Compiled at their first use: many commands look at no id.
_ID = r"(?:sha256:)?([0-9a-f]{64})"
_ID_PREFIX = r"[0-9a-f]{4,64}"
_LONG_PREFIX = r"sha256:([0-9a-f]{4,64})"
_MAX_IDS_SHOWN = 8


class StoredImage(Record):
    """An image of a store, and the root that the name stands for: its manifest or an index."""

    root: Digest
    record: ImageRecord


def find_image(store: LocalStore, name: str | Digest) -> StoredImage:
    """Find an image by reference, image id, unique prefix of an id, or manifest's digest.

    Raises:
        NotFound: The store has no such image.
        Ambiguous: Several images have ids with this prefix.
        InvalidReference: The name can be none of these.
    """
    text = without_scheme(store, str(name))
    whole = re.fullmatch(_ID, text)
    if whole is not None:
        return _by_manifest(store, text) or _by_id(store, whole.group(1), text)
    try:
        ref = store.find(Reference.parse(text).with_default_tag())
    except InvalidReference:
        if not re.fullmatch(_ID_PREFIX, text):
            raise
        ref = None
    if ref is not None and (record := store.image(ref.manifest)) is not None:
        return StoredImage(ref.root, record)
    if re.fullmatch(_ID_PREFIX, text):
        return _by_id(store, text, text)
    if (prefix := re.fullmatch(_LONG_PREFIX, text)) is not None:
        return _by_id(store, prefix.group(1), text)
    if (found := _by_manifest(store, text)) is not None:  # sha512
        return found
    raise _not_found(text)


def find_known_image(store: LocalStore, name: str | Digest) -> StoredImage:
    """Find an image as `find_image` does; the hint of an error is not to pull it."""
    try:
        return find_image(store, name)
    except Ambiguous:
        raise
    except NotFound as error:
        error.hint = LOOK
        raise


def remove_image(store: LocalStore, name: str | Digest, *, force: bool) -> RemovalReport:
    """Remove a name, and with its last name the image; an id stands for all names.

    Raises:
        NotFound: The store has no such image.
        StoreError: ``name`` is an id, several repositories name its image, and ``force`` is
            false.
    """
    found = find_known_image(store, name)
    text = without_scheme(store, str(name))
    reference = stored_name(store, text)
    if reference is not None:
        return store.remove_name(reference)
    if text == str(found.record.manifest):  # not other manifests of the same id
        return store.remove_images([found.record], force=force)
    return store.remove_images(store.images_by_id(found.record.id.hex), force=force)


def without_scheme(store: LocalStore, text: str) -> str:
    """Remove ``store:`` unless it begins a name of the store, such as ``store:1.0``."""
    found = text.removeprefix("store:")
    return text if found == text or stored_name(store, text) is not None else found


def stored_name(store: LocalStore, text: str) -> Reference | None:
    """Return a text as a reference if the store has that name, else None."""
    if re.fullmatch(_ID, text) or re.fullmatch(_LONG_PREFIX, text):
        return None
    with contextlib.suppress(InvalidReference):
        reference = Reference.parse(text).with_default_tag()
        return None if store.find(reference) is None else reference
    return None


def _by_manifest(store: LocalStore, text: str) -> StoredImage | None:
    """Return the image of a manifest, or None if the text is no digest of a manifest."""
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
        raise Ambiguous(message, hint="give more of the id").within(text)
    return StoredImage(store.root_of(records[0].manifest), records[0])


def _not_found(text: str) -> NotFound:
    is_id = re.fullmatch(_ID_PREFIX, text) or re.fullmatch(_LONG_PREFIX, text)
    hint = "" if is_id else f"fetch it: wherry pull {text}"
    return NotFound("no such image in the store", hint=hint).within(text)
