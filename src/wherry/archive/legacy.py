"""Archives of engines before 1.10, with a directory for each layer.

A directory has the layer's version 1 id as its name and contains ``VERSION``, ``json`` and
``layer.tar``. The JSON names the parent. These archives have no configs and DiffIDs; they are
generated as for schema1 images (image specification 1.0 of Docker, ``image/spec/v1.md``).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from wherry.archive.detect import check_ended, no_archive
from wherry.archive.docker import MANIFEST, REPOSITORIES, DockerArchive, ManifestItem, check_layers
from wherry.archive.files import MAX_DOCUMENTS, has, read
from wherry.errors import InvalidDocument, NotFound
from wherry.model import v1
from wherry.model._fields import load_object
from wherry.model.digest import Digest
from wherry.model.gostruct import Field, Kind, decode

if TYPE_CHECKING:
    from wherry.archive.files import Files
    from wherry.content.cancel import CancelToken

MAX_CHAIN = 10_000  # layers of one image
_MAX_DEPTH = 8
_PARENT_ID = (Field("parent_id", Kind.STRING),)
_JSON = re.compile(r"([0-9a-f]{64})/json")


def docker_archive(files: Files, cancel: CancelToken, *, true_types: bool = False) -> DockerArchive:
    """Open a docker archive of either format.

    Archives with a `MANIFEST` also contain the directories of the old format, as another image.
    So the old format is not read from an archive that may be cut off before its `MANIFEST`.

    Raises:
        IntegrityError: The archive is cut off and has no `MANIFEST`.
        StoreError: This is not a docker archive.
    """
    if has(files, MANIFEST):
        return DockerArchive(files, cancel, true_types=true_types)
    check_ended(files)
    if is_docker_archive(files):
        return LegacyArchive(files, cancel, true_types=true_types)
    raise no_archive(files.path, f"is not a docker archive: there is no {MANIFEST} in it")


def is_docker_archive(files: Files) -> bool:
    """Tell whether there is a file of a docker archive of either format."""
    if has(files, MANIFEST) or has(files, REPOSITORIES):
        return True
    return any(_JSON.fullmatch(name) for name in files.names())


class LegacyArchive(DockerArchive):
    """An archive of the old format; the config of an item is the id of its top layer."""

    def _read_items(self) -> list[ManifestItem]:
        self._raws: dict[str, bytes] = {}
        self._parents: dict[str, str] = {}
        self._diff_ids: dict[str, Digest] = {}
        self._steps: dict[str, dict[str, Any]] = {}
        self._room = MAX_DOCUMENTS
        names = self._names()
        ids = [found.group(1) for name in self._files.names() if (found := _JSON.fullmatch(name))]
        for v1_id in sorted(ids):
            self._load(v1_id)
        heads = set(ids) - set(self._parents.values()) - set(names)
        items: list[ManifestItem] = []
        count, reached = 0, set[str]()
        for top in [*names, *sorted(heads)]:
            chain = self._chain(top)
            reached.update(chain)
            count += len(chain)
            check_layers(count)
            layers = tuple(f"{v1_id}/layer.tar" for v1_id in chain)
            items.append(ManifestItem(top, layers, names.get(top, ())))
        for v1_id in sorted(set(ids) - reached):
            self._chain(v1_id)  # all of these have children only among themselves: a loop
        return items

    def _names(self) -> dict[str, tuple[str, ...]]:
        """Return the names of images by the ids of their top layers."""
        if not has(self._files, REPOSITORIES):
            return {}
        raw = read(self._files, REPOSITORIES)
        repositories = load_object(raw, REPOSITORIES, max_depth=_MAX_DEPTH)
        found: dict[str, tuple[str, ...]] = {}
        for name in repositories.value:
            tags = repositories.required_object(name)
            for tag in tags.value:
                v1_id = v1.validate_id(tags.text(tag), tags.at(tag))
                found[v1_id] = (*found.get(v1_id, ()), f"{name}:{tag}")
        return found

    def _load(self, v1_id: str) -> None:
        """Read the JSON of a layer and check that it has the id in the directory's name."""
        if v1_id in self._raws:
            return
        path = f"{v1_id}/json"
        raw = read(self._files, path)
        self._room -= len(raw)
        if self._room < 0:
            raise InvalidDocument(f"its documents have more than {MAX_DOCUMENTS >> 20} MiB")
        try:
            parent = _parent(raw, v1_id)
        except InvalidDocument as error:
            raise error.within(path) from None
        if parent:
            self._parents[v1_id] = parent
        self._raws[v1_id] = raw

    def _chain(self, top: str) -> list[str]:
        """Return the ids of an image, bottom first; raises for a wrong parent."""
        found = [top]
        seen = {top}
        self._load(top)
        while (parent := self._parents.get(found[-1])) is not None:
            path = f"{found[-1]}/json"
            if parent in seen:
                message = f"{parent} is its own ancestor"
                raise InvalidDocument(message, path="parent").within(path)
            if len(found) >= MAX_CHAIN:
                raise InvalidDocument(f"more than {MAX_CHAIN} layers", path="parent").within(path)
            try:
                self._load(parent)
            except NotFound:
                error = NotFound(f"{parent} is missing from the archive")
                raise error.within(path, "parent") from None
            seen.add(parent)
            found.append(parent)
        return found[::-1]

    def _config(self, item: ManifestItem) -> bytes:
        """Generate the config as engines since 1.10 do from the chain of layers."""
        ids = [name.partition("/")[0] for name in item.layers]
        diff_ids = [self._diff_id(self._files.real(name)) for name in item.layers]
        history = [self._step(v1_id) for v1_id in ids]
        return v1.config_from_v1(self._raws[ids[-1]], diff_ids, history)

    def _step(self, v1_id: str) -> dict[str, Any]:
        if v1_id not in self._steps:
            self._steps[v1_id] = v1.history_entry(self._raws[v1_id], empty_layer=False)
        return self._steps[v1_id]

    def _diff_id(self, name: str) -> Digest:
        if name not in self._diff_ids:
            known = None if self._is_packed(name) else self._files.digest(name)
            self._diff_ids[name] = known or self._hash(name)
        return self._diff_ids[name]

    def _hash(self, name: str) -> Digest:
        hasher = hashlib.sha256()
        for data in self._plain(name):
            hasher.update(data)
        return Digest(f"sha256:{hasher.hexdigest()}")


def _parent(raw: bytes, v1_id: str) -> str:
    """Return the parent in the JSON of the layer ``v1_id``; empty if it has none.

    Engine 1.9 knows the parent by ``parent_id`` where there is no ``parent`` (moby 1.9,
    ``graph/graph.go``). If there are both, ``parent`` is the directory in the archive.
    """
    image, fields = v1.image(raw), v1.load(raw)
    found = v1.validate_id(image.get("id", ""))
    if found != v1_id:
        raise InvalidDocument(f"is {found}, not its directory's name", path="id")
    parents = {str(value) for key, value in fields.items() if key.casefold() == "parent"}
    if len(parents) > 1:
        raise InvalidDocument("is given twice, with different ids", path="parent")
    if parent := image.get("parent", ""):
        return v1.validate_id(parent, "parent")
    parent_id = decode(_PARENT_ID, fields).get("parent_id", "")
    return v1.validate_id(parent_id.removeprefix("sha256:"), "parent_id") if parent_id else ""
