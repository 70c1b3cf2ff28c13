"""From the entries of layers to operations on a file system. This module has no I/O.

The rules are those of the OCI image spec, "Image Layer Filesystem Changeset", and where it
leaves a choice, those of umoci. The planner keeps the whole tree in memory and follows all links
in it. So no path of an operation leads through a link, and none out of the root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wherry.errors import UnsafeArchive
from wherry.unpack.entry import DIRECTORY, HARDLINK, SYMLINK, held, shown
from wherry.unpack.tree import (
    MAX_NAME,
    MAX_PATH,
    Directory,
    Leaf,
    Origin,
    Path,
    Place,
    Symlink,
    Walk,
    find,
    split,
)

if TYPE_CHECKING:
    from wherry.unpack.entry import Entry
    from wherry.unpack.tree import Node

MAX_HELD = 64 * 2**20  # bytes of large attributes, maps of holes and links in memory
_LEFT_OUT = "--layer, --include, --exclude and --strip-components may leave its file out"
_KEPT = 4096  # names of directories
_WHITEOUT, _META, _OPAQUE = b".wh.", b".wh..wh.", b".wh..wh..opq"


class Remove(NamedTuple):
    """Remove a file, or a directory with all below it."""

    path: Path


class MakeDirectory(NamedTuple):
    """Make an empty directory."""

    path: Path


class Make(NamedTuple):
    """Make a file, a symbolic link, a device or a fifo as its entry says."""

    path: Path
    entry: Entry


class MakeLink(NamedTuple):
    """Give a file one more name."""

    path: Path
    target: Path


Operation: TypeAlias = Remove | MakeDirectory | Make | MakeLink


class Planner:
    """Turn the entries of layers, bottom first, into operations on an empty directory.

    The attributes of directories are not operations: they are set at the end, from the tree,
    since each operation changes the time of a directory.

    Attributes:
        root: The tree.
        number: The number of the last entry in its layer, from 1.

    Args:
        keeps_dirlinks: Whether an entry for a directory leaves a link to a directory as it is,
            where the name has one; otherwise the directory replaces the link.
        holds_all: Whether the caller keeps all entries in memory.
    """

    def __init__(self, *, keeps_dirlinks: bool = False, holds_all: bool = False) -> None:
        self.root = Directory(0)
        self._keeps_dirlinks = keeps_dirlinks
        self._holds_all = holds_all
        self._room = MAX_HELD
        self._layer = 0
        self.number = 0
        self._parents: dict[bytes, Place] = {}  # of entries of this layer, by their names
        self._operations: list[Operation] = []

    def begin_layer(self) -> None:
        """Go on to the next layer."""
        self._layer += 1
        self.number = 0
        self._parents.clear()

    def plan(self, entry: Entry) -> list[Operation]:
        """Return what an entry changes, in order; at most one `Make`, and that is the last.

        Raises:
            UnsafeArchive: The entry leads outside of the root, or cannot be carried out.
        """
        operations: list[Operation] = []
        self._operations = operations
        self.number += 1
        if self._holds_all or entry.kind is DIRECTORY or entry.kind is SYMLINK:
            self._room -= held(entry)
            if self._room < 0:
                raise UnsafeArchive(
                    "too many attributes, holes and links", member=shown(entry.name)
                )
        above, _, last = entry.name.rpartition(b"/")
        if not last or last in {b".", b".."}:  # the name ends with a slash or dots
            parts = split(entry.name, entry.name)
            if not parts:
                self._change_root(entry)
                return operations
            above, last = b"/".join(parts[:-1]), parts[-1]
        if last.startswith(_WHITEOUT):
            self._apply_whiteout(above, last, entry)
        else:
            self._add(self._open(above, entry), last, entry)
        return operations

    # Adding

    def _change_root(self, entry: Entry) -> None:
        if entry.kind is not DIRECTORY:
            raise UnsafeArchive(
                f"a {entry.kind} in the place of the root", member=shown(entry.name)
            )
        self.root.attributes = entry.attributes

    def _add(self, parent: Place, name: bytes, entry: Entry) -> None:
        path = (*parent.path, name)
        if len(name) > MAX_NAME or sum(map(len, path)) + len(path) > MAX_PATH:
            raise UnsafeArchive("the path is too long", member=shown(entry.name))
        there = parent.directory.children.get(name)
        if entry.kind is DIRECTORY:
            self._add_directory(parent, path, there, entry)
            return
        if entry.kind is HARDLINK:
            self._add_hard_link(parent, path, there, entry)
            return
        origin = Origin(self._layer, self.number)
        node: Node = Leaf(self._layer, origin)
        if entry.kind is SYMLINK:
            if not entry.link or len(entry.link) > MAX_PATH:
                raise UnsafeArchive("a link to an invalid name", member=shown(entry.name))
            node = Symlink(entry.link, self._layer, origin)
        self._remove(parent.directory, path, there)
        parent.directory.children[name] = node
        self._operations.append(Make(path, entry))

    def _add_directory(self, parent: Place, path: Path, there: Node | None, entry: Entry) -> None:
        if self._keeps_dirlinks and isinstance(there, Symlink):
            reached = find(self.root, list(path), entry.name)
            if reached is not None:  # as umoci, without a change to the directory
                reached.directory.layer = self._layer
                return
        if not isinstance(there, Directory):
            self._remove(parent.directory, path, there)
            there = self._make_directory(parent.directory, path)
        there.layer = self._layer
        there.attributes = entry.attributes

    def _make_directory(self, parent: Directory, path: Path) -> Directory:
        made = parent.children[path[-1]] = Directory(self._layer)
        self._operations.append(MakeDirectory(path))
        return made

    def _add_hard_link(self, parent: Place, path: Path, there: Node | None, entry: Entry) -> None:
        *above, last = split(entry.link, entry.name) or [b"."]
        found = find(self.root, above, entry.name)
        node = None if found is None else found.directory.children.get(last)
        if found is None or node is None or isinstance(node, Directory):
            raise UnsafeArchive(
                f"a hard link to {shown(entry.link)}, "
                + ("which is a directory" if node is not None else "which is not there"),
                member=shown(entry.name),
                hint="" if node is not None else _LEFT_OUT,
            )
        target = (*found.path, last)
        if target == path:
            return  # a link to itself changes nothing
        if target[: len(path)] == path:
            message = "a hard link in the place of the directory that has its target"
            raise UnsafeArchive(message, member=shown(entry.name))
        self._remove(parent.directory, path, there)
        parent.directory.children[path[-1]] = node._replace(layer=self._layer)
        self._operations.append(MakeLink(path, target))

    # Finding the directory of an entry

    def _open(self, name: bytes, entry: Entry) -> Place:
        """Return the directory of a name; make what is missing on the way."""
        known = self._parents.get(name)
        if known is not None:
            return known
        walk = Walk(self.root, entry.name)
        for part in walk.parts(split(name, entry.name)):
            directory = walk.directory
            directory.layer = self._layer
            node = directory.children.get(part)
            if not isinstance(node, Directory | Symlink):
                path = (*walk.path, part)
                if sum(map(len, path)) + len(path) > MAX_PATH:
                    raise UnsafeArchive("the path is too long", member=shown(entry.name))
                self._remove(directory, path, node)
                node = self._make_directory(directory, path)
            walk.enter(part, node)
        place = walk.place
        place.directory.layer = self._layer
        if len(self._parents) >= _KEPT:
            self._parents.clear()
        self._parents[name] = place
        return place

    # Removing

    def _remove(self, parent: Directory, path: Path, there: Node | None) -> None:
        """Remove what stands in the way of an entry."""
        if there is None:
            return
        del parent.children[path[-1]]
        self._operations.append(Remove(path))
        if not isinstance(there, Leaf):
            self._parents.clear()  # some may have led through this

    def _apply_whiteout(self, above: bytes, name: bytes, entry: Entry) -> None:
        """Remove what lower layers have; what this layer has added stays, in any order."""
        if name.startswith(_META) and name != _OPAQUE:
            return  # the metadata of aufs
        hidden = name[len(_WHITEOUT) :]
        if hidden in {b"", b".", b".."}:
            raise UnsafeArchive("a whiteout of an invalid name", member=shown(entry.name))
        place = find(self.root, split(above, entry.name), entry.name)
        if place is None:
            return
        if name == _OPAQUE:
            place.directory.layer = self._layer
            self._hide(place)
        elif (node := place.directory.children.get(hidden)) is not None:
            self._hide_node(place, hidden, node)

    def _hide(self, place: Place) -> None:
        """Remove what a directory has from lower layers."""
        todo = [place]
        while todo:
            here = todo.pop()
            if here.directory.cleared == self._layer:
                continue  # or many opaque whiteouts of one directory would take quadratic time
            here.directory.cleared = self._layer
            for name, node in list(here.directory.children.items()):
                if isinstance(node, Directory) and node.layer == self._layer:
                    todo.append(Place(node, (*here.path, name)))
                elif node.layer != self._layer:
                    self._remove(here.directory, (*here.path, name), node)

    def _hide_node(self, place: Place, name: bytes, node: Node) -> None:
        path = (*place.path, name)
        if node.layer != self._layer:
            self._remove(place.directory, path, node)
        elif isinstance(node, Directory):
            self._hide(Place(node, path))
