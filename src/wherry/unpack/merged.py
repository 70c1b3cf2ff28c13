"""The merged file system of an image: what its layers leave, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.unpack.apply import too_many_files
from wherry.unpack.entry import DIRECTORY, HARDLINK, Attributes, Entry
from wherry.unpack.plan import Make, Planner, Remove
from wherry.unpack.tree import ROOT, Directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.unpack.layer_reader import LayerReader
    from wherry.unpack.tree import Node, Origin, Path

_IMPLIED = Attributes(0o755, 0, 0, 0)  # of a directory without an entry


class MergedFile(NamedTuple):
    """A file of an image.

    Attributes:
        path: Its path.
        entry: What its layer says about it; a further name of a file is a hard link.
        origin: The entry with the content; None for directories.
        offset: Where the content is in the decompressed layer.
    """

    path: Path
    entry: Entry
    origin: Origin | None = None
    offset: int = 0


class Merger:
    """Merges the entries of layers, bottom first, without their content.

    Args:
        max_files: The most files, directories and links that the layers may make.
        keeps_dirlinks: As of `Planner`.
    """

    def __init__(self, max_files: int, *, keeps_dirlinks: bool = False) -> None:
        self._files_left = max_files
        self._planner = Planner(keeps_dirlinks=keeps_dirlinks, holds_all=True)
        self._entries: list[dict[int, tuple[Entry, int]]] = []

    def begin_layer(self) -> None:
        """Go on to the next layer."""
        self._planner.begin_layer()
        self._entries.append({})

    def add(self, entry: Entry, layer: LayerReader) -> None:
        """Add an entry; ``layer`` is at its content.

        Raises:
            UnsafeArchive: The entry leads outside of the root, cannot be carried out, or is one
                too many.
        """
        operations = self._planner.plan(entry)
        for operation in operations:
            if not isinstance(operation, Remove):
                self._files_left -= 1
                if self._files_left < 0:
                    raise too_many_files(operation.path)
        if operations and isinstance(operations[-1], Make):
            self._entries[-1][self._planner.number] = entry, layer.position

    def files(self) -> Iterator[MergedFile]:
        """Yield the files sorted by path: parents first, a file before its hard links."""
        first: dict[Origin, Path] = {}
        root = self._planner.root
        yield MergedFile(ROOT, _directory(ROOT, root))
        todo: list[tuple[Path, Node]] = _below(ROOT, root)
        while todo:
            path, node = todo.pop()
            if isinstance(node, Directory):
                yield MergedFile(path, _directory(path, node))
                todo += _below(path, node)
                continue
            entry, offset = self._entries[node.origin.layer - 1][node.origin.number]
            entry = entry._replace(name=b"/".join(path))
            known = first.setdefault(node.origin, path)
            if known != path:
                entry = entry._replace(kind=HARDLINK, size=0, stored=0, link=b"/".join(known))
            yield MergedFile(path, entry, node.origin, offset)


def _below(path: Path, directory: Directory) -> list[tuple[Path, Node]]:
    """Return what is in a directory, the last name first."""
    return [
        ((*path, name), node) for name, node in sorted(directory.children.items(), reverse=True)
    ]


def _directory(path: Path, directory: Directory) -> Entry:
    return Entry(b"/".join(path), DIRECTORY, directory.attributes or _IMPLIED)
