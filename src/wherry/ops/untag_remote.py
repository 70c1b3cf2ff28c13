"""Remove one tag from a registry; the manifest and its other tags stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Cancelled, NotFound, RegistryError, WherryError
from wherry.model.descriptor import Descriptor
from wherry.ops.stand_in import make_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.ops.stand_in import StandIn
    from wherry.registry.repository_editor import NamedManifest, RepositoryEditor

_UNSUPPORTED = 405


def remove_tag(
    editor: RepositoryEditor, tag: str, named: NamedManifest, warn: Callable[[str], None]
) -> None:
    """Remove a tag that stands for ``named``.

    If the registry does not delete tags, a stand-in is stored under the tag and deleted by its
    digest. Its digest is unique, so no other tag goes with it.

    Raises:
        RegistryError: The registry does not delete. The tag is as it was, or the hint says what
            it stands for.
        WherryError: Another client has moved the tag meanwhile.
    """
    if editor.delete_tag(tag):
        if editor.resolve(str(named.digest)) is None:
            warn(f"the registry has deleted the manifest with the tag: {named.digest}")
        return
    now = editor.resolve(tag)
    if now is None:  # the response to an earlier attempt was lost
        return
    _TagReplacement(editor, tag, named, warn).remove()


class _TagReplacement:
    """Removes a tag by way of a stand-in."""

    def __init__(
        self, editor: RepositoryEditor, tag: str, named: NamedManifest, warn: Callable[[str], None]
    ) -> None:
        self._editor = editor
        self._tag = tag
        self._named = named
        self._warn = warn
        self._stand_in: StandIn = make_stand_in(named.media_type)
        self._where = editor.reference.familiar

    def remove(self) -> None:
        self._check_that_registry_deletes()
        original = self._editor.read(self._named.digest)
        for descriptor, raw in self._stand_in.blobs:
            self._editor.upload(descriptor, raw)
        self._check_unmoved()
        try:
            self._editor.set_tag(self._tag, *self._stand_in.manifest)
            self._editor.delete(self._stand_in.digest)
        except Cancelled:
            self._warn_about_stand_in()
            raise
        except WherryError as error:
            self._put_back(original, error)
            error.where = (self._where,)
            raise
        except BaseException:  # interrupted
            self._warn_about_stand_in()
            raise
        self._check_removed()

    def _check_that_registry_deletes(self) -> None:
        """Raise `RegistryError` if the registry deletes nothing; touch no tag.

        Such a registry says so even of a digest that it does not have. Others say "not found".
        """
        try:
            self._editor.delete(self._stand_in.digest)
        except NotFound:
            return
        except RegistryError as error:
            if error.status == _UNSUPPORTED or "UNSUPPORTED" in error.codes:
                error.where = (self._where,)
                raise

    def _check_unmoved(self) -> None:
        now = self._editor.resolve(self._tag)
        if now is None or now.digest != self._named.digest:
            there = "is gone" if now is None else f"stands for {now.digest} now"
            message = f"another client has changed the tag, which {there}; nothing was removed"
            raise WherryError(message).within(self._where)

    def _check_removed(self) -> None:
        now = self._editor.resolve(self._tag)
        if now is not None:
            message = f"the tag is still there, and stands for {now.digest}"
            hint = "the registry may take a while, or another client has set the tag again"
            raise WherryError(message, hint=hint).within(self._where)

    def _put_back(self, original: tuple[bytes, str], error: WherryError) -> None:
        """Let the tag stand for what it did; say in the hint of ``error`` what is left."""
        raw, media_type = original
        digest = self._named.digest
        try:
            now = self._editor.resolve(self._tag)
            if now is not None and now.digest == self._stand_in.digest:
                descriptor = Descriptor(media_type, digest, len(raw))
                self._editor.set_tag(self._tag, descriptor, raw)
        except Cancelled:
            self._warn_about_stand_in()
            raise
        except WherryError as second:
            left = (
                f"the tag may stand for an empty image now ({self._stand_in.digest}), since "
                f"it could not be set again ({second.message}); it stood for {digest}"
            )
        else:
            left = (
                "the tag stands for what it did; an empty image without a tag may be left: "
                f"{self._stand_in.digest}"
            )
        error.add_hint(left)

    def _warn_about_stand_in(self) -> None:
        self._warn(
            f"the tag may stand for an empty image now ({self._stand_in.digest}); to remove it, "
            f"repeat this; it stood for {self._named.digest}"
        )
