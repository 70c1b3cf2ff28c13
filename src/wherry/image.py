"""Images, their layers and the store that they are in, as programs see them."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import wherry
from wherry.errors import Ambiguous, InvalidDigest, InvalidReference, NotFound
from wherry.model.arguments import checked
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.parameters import RULES
from wherry.store import LocalStore
from wherry.store.refs import LOOK

if TYPE_CHECKING:
    from wherry.ops.listing import Filters

# Compiled when they are used: many commands look at no id.
_ID = r"(?:sha256:)?([0-9a-f]{64})"
_ID_PREFIX = r"[0-9a-f]{4,64}"
_LONG_PREFIX = r"sha256:([0-9a-f]{4,64})"
_SHOWN = 8  # ids that an error names


class Store(LocalStore):
    """A local store of images.

    ``path`` is a directory, made on the first write; without it the one that the command
    uses. Any number of threads and processes may use a store at once, forked children too
    unless a loop over `listing` or `lines` was under way at the fork. Stores of one path are
    equal. This and all calls raise `TypeError` or `ValueError` for a wrong argument.
    """

    @checked(RULES)
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        limits: wherry.types.Limits | None = None,
    ) -> None:
        from wherry.config import Config

        found = Config.from_environment().store if path is None else Path(path)
        super().__init__(found.absolute(), limits=limits)

    def __repr__(self) -> str:
        return f"<Store {self.path}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy a store by its path; the copy opens the database for itself."""
        return Store, (self.path,), {"_limits": self._limits}

    @checked(RULES)
    def images(
        self,
        *patterns: str,
        dangling: bool | None = None,
        labels: Mapping[str, str | None] | None = None,
        before: str | Digest | None = None,
        since: str | Digest | None = None,
    ) -> list[Image]:
        """Return the images of the store, each once, in the order of their names.

        ``patterns`` are for names (``python``, ``python:3.*``, ``ghcr.io/**``), one that
        matches is enough. ``dangling`` asks for images without a tag, or for those with one;
        ``labels`` for names with values, or with None for any. ``before`` and ``since`` name
        images that those wanted are older and newer than. Raises `NotFound` for these.
        """
        from wherry.store.listing import image_of

        rows = self.listing(*patterns, dangling=dangling, labels=labels, before=before, since=since)
        found = {row.manifest: row for row in rows}
        return [Image(self, Digest.parse(row.root), image_of(row)) for row in found.values()]

    @checked(RULES)
    def listing(
        self,
        *patterns: str,
        dangling: bool | None = None,
        labels: Mapping[str, str | None] | None = None,
        before: str | Digest | None = None,
        since: str | Digest | None = None,
    ) -> Iterator[wherry.types.ImageRow]:
        """Yield what `images` returns as plain text, a line for each name; as fast as it goes."""
        from wherry.ops.listing import listing

        return listing(self, self._filters(patterns, dangling, labels, before, since))

    @checked(RULES)
    def lines(
        self,
        *patterns: str,
        dangling: bool | None = None,
        labels: Mapping[str, str | None] | None = None,
        before: str | Digest | None = None,
        since: str | Digest | None = None,
    ) -> Iterator[tuple[str, str, str, int]]:
        """Yield what a table shows of a `listing`, in half the time.

        Each line is a name (empty where there is none), an image id, when it was made, and its
        size in bytes.
        """
        from wherry.ops.listing import lines

        return lines(self, self._filters(patterns, dangling, labels, before, since))

    def _filters(
        self,
        patterns: Sequence[str],
        dangling: bool | None,  # noqa: FBT001 - handed on
        labels: Mapping[str, str | None] | None,
        before: str | Digest | None,
        since: str | Digest | None,
    ) -> Filters:
        from wherry.ops.listing import Filters

        return Filters(
            patterns=patterns,
            dangling=dangling,
            labels=tuple((labels or {}).items()),
            before="" if before is None else self._here(before).created,
            since="" if since is None else self._here(since).created,
        )

    @checked(RULES)
    def get(self, name: str | Digest) -> Image:
        """Return an image by reference, image id, unique prefix of an id, or manifest's digest.

        ``store:`` before it is passed over, here and where images are removed or given names.
        Raises `NotFound`, and `InvalidReference` for what can be none of these.
        """
        text = self._bare(str(name))
        whole = re.fullmatch(_ID, text)
        if whole is not None:
            return self._by_manifest(text) or self._by_id(whole.group(1), text)
        try:
            ref = self.find(Reference.parse(text).with_default_tag())
        except InvalidReference:
            if not re.fullmatch(_ID_PREFIX, text):
                raise
            ref = None
        if ref is not None and (record := self.image(ref.manifest)) is not None:
            return Image(self, ref.root, record)
        if re.fullmatch(_ID_PREFIX, text):
            return self._by_id(text, text)
        if (prefix := re.fullmatch(_LONG_PREFIX, text)) is not None:
            return self._by_id(prefix.group(1), text)
        if (found := self._by_manifest(text)) is not None:  # sha512
            return found
        raise _not_there(text)

    def _by_manifest(self, text: str) -> Image | None:
        """Return the image of a manifest; None for what is no digest, or that of anything else."""
        try:
            record = self.image(Digest.parse(text))
        except InvalidDigest:
            return None
        return None if record is None else Image(self, self.root_of(record.manifest), record)

    def _by_id(self, prefix: str, text: str) -> Image:
        records = self.images_by_id(prefix)
        if not records:
            raise _not_there(text)
        if len(ids := sorted({record.id.hex for record in records})) > 1:
            length = max(12, len(prefix) + 2)
            shown = " ".join([each[:length] for each in ids[:_SHOWN]])
            shown += " …" if len(ids) > _SHOWN else ""
            message = f"{text}: several images have ids that begin like this: {shown}"
            raise Ambiguous(message, hint="give more of the id")
        return Image(self, self.root_of(records[0].manifest), records[0])

    @checked(RULES)
    def tag(self, image: str | Digest, name: str) -> Image:
        """Give an image one more name, moving the name if it stood elsewhere. Idempotent.

        ``image`` is as for `get`; ``name`` gets ``latest`` where it has no tag, and may not
        have a digest. Raises `NotFound` and `InvalidReference`.
        """
        reference = Reference.parse_new(name)
        found = self._here(image)
        self.pin(reference, found.root, found.record.manifest)
        return found

    @checked(RULES)
    def untag(self, name: str) -> None:
        """Drop a name; the image stays until `gc`. Raises `NotFound`."""
        self.unpin(Reference.parse(self._bare(name)).with_default_tag())

    @checked(RULES)
    def remove(self, image: str | Digest, *, force: bool = False) -> wherry.types.RemovalReport:
        """Drop a name, and the image if that was its last one; an id stands for all names.

        The digest of a manifest stands for its own names, and not for those of other manifests
        of the same id.
        Raises `NotFound`, and `StoreError` for the id of an image that several repositories
        name, unless ``force`` is given.
        """
        found = self._here(image)
        reference = self._as_name(self._bare(str(image)))
        if reference is not None:
            return self.remove_name(reference)
        alone = self._bare(str(image)) == str(found.record.manifest)
        records = [found.record] if alone else self.images_by_id(found.id.hex)
        return self.remove_images(records, force=force)

    def _here(self, name: str | Digest) -> Image:
        """Return an image as `get` does, for what pulling it first would not help."""
        try:
            return self.get(name)
        except Ambiguous:
            raise
        except NotFound as error:
            error.hint = LOOK
            raise

    def _bare(self, text: str) -> str:
        """Take ``store:`` off, unless that is how a name begins: ``store:1.0`` may be one."""
        found = text.removeprefix("store:")
        return text if found == text or self._as_name(text) is not None else found

    def _as_name(self, text: str) -> Reference | None:
        """Return ``text`` as a name, if the store has it as one."""
        if re.fullmatch(_ID, text) or re.fullmatch(_LONG_PREFIX, text):
            return None
        with contextlib.suppress(InvalidReference):
            reference = Reference.parse(text).with_default_tag()
            return None if self.find(reference) is None else reference
        return None


StoreOrPath: TypeAlias = Store | str | os.PathLike[str]


def _not_there(text: str) -> NotFound:
    is_id = re.fullmatch(_ID_PREFIX, text) or re.fullmatch(_LONG_PREFIX, text)
    hint = "" if is_id else f"fetch it: wherry pull {text}"
    return NotFound(f"{text}: no such image in the store", hint=hint)


class Image:
    """An image of a store: complete, verified, on the disk.

    ``root`` is the digest of what its name stands for, an index or the manifest itself.
    """

    def __init__(self, store: Store, root: Digest, record: wherry.types.ImageRecord) -> None:
        self.store = store
        self.root = root
        self.record = record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy an image by its store and its digests, without its documents."""
        return Image, self._identity

    @property
    def _identity(self) -> tuple[Store, Digest, wherry.types.ImageRecord]:
        return self.store, self.root, self.record

    def __repr__(self) -> str:
        return f"<Image {self.id.short} {self.record.platform}>"

    @property
    def id(self) -> Digest:
        """The image id: the digest of the config."""
        return self.record.id

    @property
    def digest(self) -> Digest:
        """The digest to pull it by again, as the registry gave it."""
        return self.root

    @property
    def size(self) -> int:
        """Bytes of config and layers as they are stored (layers compressed)."""
        return self.record.size

    @property
    def created(self) -> str:
        """When it was made, as RFC 3339 text, or an empty string."""
        return self.record.created

    @property
    def platform(self) -> wherry.Platform:
        """What it runs on, as its config says."""
        return self.config.platform.normalized()

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """All names of the image, in full form."""
        return tuple(str(name) for name in self.store.names_of(self.record.manifest))

    @functools.cached_property
    def config(self) -> wherry.types.ImageConfig:
        """The config, parsed; ``config.raw`` is its bytes."""
        from wherry.model.config import parse_config

        return parse_config(self.store.read(self.record.id))

    @functools.cached_property
    def manifest(self) -> wherry.types.Manifest:
        """The manifest, parsed; ``manifest.raw`` is its bytes as served."""
        from wherry.model.manifest import Manifest

        found = self.store.document(self.record.manifest)
        assert isinstance(found, Manifest)  # noqa: S101 - recorded as one
        return found

    @functools.cached_property
    def platforms(self) -> tuple[str, ...]:
        """The platforms of its index that are in the store, complete."""
        from wherry.model.manifest import Index

        found = [self.record.platform]
        document = self.store.document(self.root)
        if isinstance(document, Index):
            records = (self.store.image(entry.digest) for entry in document.manifests)
            found += [record.platform for record in records if record is not None]
        return tuple(dict.fromkeys(found))

    @functools.cached_property
    def history(self) -> Sequence[wherry.types.HistoryStep]:
        """The steps that made it, the last one first."""
        from wherry.ops.history import history

        return history(self.config, self.manifest.layers)

    @functools.cached_property
    def layers(self) -> Sequence[Layer]:
        """The layers, bottom first."""
        steps = self.config.layer_history(len(self.manifest.layers))
        return [
            Layer(
                store=self.store,
                digest=layer.digest,
                diff_id=diff_id,
                media_type=layer.media_type,
                size=self.store.facts(layer.digest).size or layer.size or 0,
                created_by=step.created_by,
            )
            for layer, diff_id, step in zip(
                self.manifest.layers, self.config.diff_ids, steps, strict=True
            )
        ]


class Layer(Record):
    """A layer of an image; ``size`` is in bytes as stored, compressed."""

    store: Store
    digest: Digest
    diff_id: Digest
    media_type: str
    size: int
    created_by: str

    def __repr__(self) -> str:
        return f"<Layer {self.digest.short} {self.media_type}>"

    def open(self) -> io.BufferedReader:
        """Open the layer's tar, decompressed.

        It is verified as it is read: the read that reaches the end raises `IntegrityError`
        if the content is not what the config's DiffID says.
        """
        from wherry.content.verify import VerifiedLayer

        source = self.store.open(self.digest)
        return io.BufferedReader(VerifiedLayer(source, self.diff_id, self.digest), 256 * 1024)

    @contextlib.contextmanager
    def open_tar(self) -> Iterator[wherry.types.TarFile]:
        """Read the layer as a `tarfile.TarFile`, from front to back.

        What is left unread when the block ends is read and verified then; `IntegrityError`
        is raised there if the content is not what the config's DiffID says.
        """
        import tarfile

        from wherry.content.verify import VerifiedLayer

        with contextlib.closing(
            VerifiedLayer(self.store.open(self.digest), self.diff_id, self.digest)
        ) as stream:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=256 * 1024) as tar:
                yield tar
            stream.drain()
