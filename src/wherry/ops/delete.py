"""Delete manifests and tags from a registry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from wherry.content.scheduler import run_tasks
from wherry.errors import InvalidReference, NotFound, RegistryError, StillTagged
from wherry.model import mediatype
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.registry.repository_editor import NamedManifest, RepositoryEditor
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.ops.open_source import Access

_SHOWN = 20  # tags that an error names
_UNSUPPORTED = 405
_DISTRIBUTION = "Distribution deletes only with REGISTRY_STORAGE_DELETE_ENABLED=true"
_HINTS = {
    "docker.io": "Docker Hub deletes tags only on hub.docker.com",
    "ghcr.io": "GitHub deletes versions of packages on github.com, or by `gh api`",
}
# Of the Google Artifact Registry, which deletes only manifests without a tag.
_TAGGED = "GOOGLE_MANIFEST_DANGLING_TAG"


class DeleteOptions(Record):
    """How to delete.

    Attributes:
        force: Whether other tags of the manifest may go with it; they are not looked for then.
        untag: Whether to remove only the tag.
        jobs: How many tags to ask for at a time.
    """

    force: bool = False
    untag: bool = False
    jobs: int = 6


class DeletePlan(Record):
    """What a deletion would remove.

    Attributes:
        reference: The name that was given, with its default tag.
        digest: The digest of the manifest that it stands for.
        media_type: The media type of the manifest; "" if the registry does not tell.
        tags: The tags that would go, the given one first. With ``force``, only the given one.
        untag: Whether the manifest stays.
    """

    reference: Reference
    digest: Digest
    media_type: str
    tags: tuple[str, ...]
    untag: bool

    @property
    def others(self) -> tuple[str, ...]:
        """The tags that would go without being named."""
        return tuple(tag for tag in self.tags if tag != self.reference.tag)

    @property
    def is_index(self) -> bool:
        """Whether the manifest is an index, whose images stay in the registry."""
        return self.media_type in mediatype.INDEXES


class DeleteResult(DeletePlan):
    """What a deletion has removed; ``tags`` are those that are known to be gone."""


def plan_delete(reference: Reference, access: Access, options: DeleteOptions) -> DeletePlan:
    """Find out what `delete` would remove; changes nothing.

    Raises:
        NotFound: The registry has no such manifest.
    """
    reference = _checked(reference, options)
    editor = _editor(reference, access)
    named = _resolve(editor, reference)
    tags: tuple[str, ...] = (reference.tag,) if reference.tag and not reference.digest else ()
    if not options.force and not options.untag:
        tags += _find_tags(editor, named.digest, tags, options.jobs, access.cancel)
    return DeletePlan(reference, named.digest, named.media_type, tags, options.untag)


def delete(reference: Reference, access: Access, options: DeleteOptions) -> DeleteResult:
    """Delete a manifest by its digest, and with it all its tags; or a tag alone.

    A tag is resolved first. If it moves after that, the manifest that it stood for is deleted.

    Raises:
        NotFound: The registry has no such manifest.
        StillTagged: Other tags would go, and ``force`` is not set; nothing is deleted.
        RegistryError: The registry does not delete.
    """
    reference = _checked(reference, options)
    editor = _editor(reference, access)
    if options.untag:
        return _untag(editor, reference, access)
    if reference.digest is not None:
        return _delete_digest(editor, reference, reference.digest, options)
    named, tag = _resolve(editor, reference), str(reference.tag)
    if not options.force:
        others = _find_tags(editor, named.digest, (tag,), options.jobs, access.cancel)
        if others:
            raise _still_tagged(reference, others)
    _delete(editor, named.digest)
    return DeleteResult(reference, named.digest, named.media_type, (tag,), untag=False)


def _delete_digest(
    editor: RepositoryEditor, reference: Reference, digest: Digest, options: DeleteOptions
) -> DeleteResult:
    """Delete by digest, whatever tag is beside it; ``force`` asks nothing first."""
    media_type = "" if options.force else _resolve(editor, reference).media_type
    _delete(editor, digest)
    return DeleteResult(reference, digest, media_type, (), untag=False)


def _untag(editor: RepositoryEditor, reference: Reference, access: Access) -> DeleteResult:
    from wherry.ops.untag_remote import remove_tag

    named, tag = _resolve(editor, reference), str(reference.tag)
    emitter = Emitter(access.listener, reference.familiar)
    try:
        remove_tag(editor, tag, named, emitter.warn)
    except RegistryError as error:
        raise _with_hint(error, reference) from None
    return DeleteResult(reference, named.digest, named.media_type, (tag,), untag=True)


def _checked(reference: Reference, options: DeleteOptions) -> Reference:
    """Return a reference with its default tag; raise `InvalidReference` for a bad one."""
    found = reference.with_default_tag()
    if options.untag and found.digest is not None:
        text = str(found)
        message = "only a tag can be removed alone, not a digest"
        raise InvalidReference(message, text=text, position=text.index("@"))
    return found


def _editor(reference: Reference, access: Access) -> RepositoryEditor:
    emitter = Emitter(access.listener, reference.familiar)
    return RepositoryEditor(
        access.session(),
        reference,
        access.cancel,
        warn=emitter.warn,
        on_retry=emitter.report_retry,
    )


def _resolve(editor: RepositoryEditor, reference: Reference) -> NamedManifest:
    """Return what the registry has under a reference; raises `NotFound`."""
    named = editor.resolve(str(reference.digest or reference.tag))
    if named is None:
        name = reference.familiar_name
        hint = f"`wherry tags {name}` lists the existing tags"
        raise NotFound("not found", hint=hint).within(reference.familiar)
    return named if reference.digest is None else named.replace(digest=reference.digest)


def _find_tags(
    editor: RepositoryEditor,
    digest: Digest,
    known: tuple[str, ...],
    jobs: int,
    cancel: CancelToken,
) -> tuple[str, ...]:
    """Return the tags for a digest, in the registry's order, without ``known``."""
    tags = [tag for tag in editor.tags() if tag not in known]
    found: dict[str, NamedManifest | None] = {}

    def ask(tag: str, _cancel: CancelToken) -> None:
        found[tag] = editor.resolve(tag)

    run_tasks(None, [partial(ask, tag) for tag in tags], jobs=jobs, cancel=cancel)
    return tuple(tag for tag in tags if (named := found[tag]) and named.digest == digest)


def _delete(editor: RepositoryEditor, digest: Digest) -> None:
    try:
        editor.delete(digest)
    except RegistryError as error:
        raise _with_hint(error, editor.reference) from None


def _with_hint(error: RegistryError, reference: Reference) -> RegistryError:
    """Add what to try where a registry does not delete."""
    if _TAGGED in error.codes:
        name = reference.familiar_name
        hint = f"remove its tags first: wherry delete --untag {name}:TAG"
    elif error.status == _UNSUPPORTED or "UNSUPPORTED" in error.codes:
        hint = _HINTS.get(reference.domain, _DISTRIBUTION)
    else:
        hint = _HINTS.get(reference.domain, "")
    error.add_hint(hint)
    return error


def _still_tagged(reference: Reference, others: tuple[str, ...]) -> StillTagged:
    shown = ", ".join(others[:_SHOWN])
    more = f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
    return StillTagged(
        f"the manifest has other tags, which would be deleted too: {shown}{more}",
        tags=others,
        hint="delete it with all its tags by --force, or only this tag by --untag",
    ).within(reference.familiar)
