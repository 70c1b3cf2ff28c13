"""A file system in memory: names and kinds, without content."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wherry.errors import UnsafeArchive
from wherry.unpack.entry import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.unpack.entry import Attributes

Path: TypeAlias = tuple[bytes, ...]

MAX_HOPS = 40  # symbolic links on the way to one file, as in Linux
MAX_PATH = 4095  # bytes of a path or of a link's target: PATH_MAX of Linux without the NUL
MAX_NAME = 255  # bytes of a name between slashes: NAME_MAX of Linux
ROOT: Path = ()


class Directory:
    """A directory.

    Attributes:
        children: What is in it, by name.
        layer: The number of the last layer that wrote it or something below it.
        cleared: The number of the last layer that removed what lower ones have in it.
        attributes: None if no layer has an entry for it.
    """

    __slots__ = ("attributes", "children", "cleared", "layer")

    def __init__(self, layer: int) -> None:
        self.children: dict[bytes, Node] = {}
        self.layer = layer
        self.cleared = 0
        self.attributes: Attributes | None = None


class Origin(NamedTuple):
    """Where a file comes from: a layer, and the number of an entry in it, both from 1."""

    layer: int
    number: int


class Symlink(NamedTuple):
    """A symbolic link, the layer that gave it this name, and the entry that made it."""

    target: bytes
    layer: int
    origin: Origin


class Leaf(NamedTuple):
    """A file, a device or a fifo, the layer that gave it this name, and the entry that made it.

    Names of one file have the same origin.
    """

    layer: int
    origin: Origin


Node: TypeAlias = Directory | Symlink | Leaf


class Place(NamedTuple):
    """A directory and its path, in which no part is a link."""

    directory: Directory
    path: Path


def split(name: bytes, member: bytes) -> list[bytes]:
    """Return the parts of a name; none for the root itself.

    A leading slash means the root. ``..`` may undo the parts before it. ``member`` is the name
    of the member, for errors.

    Raises:
        UnsafeArchive: The name leads outside of the root, or no file system could have it.
    """
    if len(name) > MAX_PATH:
        raise UnsafeArchive(f"a name of more than {MAX_PATH:,} bytes", member=shown(member))
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in {b"", b"."}:
            continue
        if part != b"..":
            if len(part) > MAX_NAME:
                raise UnsafeArchive(f"a part of more than {MAX_NAME} bytes", member=shown(member))
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise UnsafeArchive("the name leads outside of the root", member=shown(member))
    return parts


def find(root: Directory, parts: list[bytes], member: bytes) -> Place | None:
    """Return a directory of the tree; links are followed, never out of the root.

    Args:
        root: The root of the tree.
        parts: The path.
        member: The name of the member that leads there, for errors.

    Returns:
        The directory; None if there is none, or something else.

    Raises:
        UnsafeArchive: There are too many links on the way.
    """
    walk = Walk(root, member)
    for part in walk.parts(parts):
        node = walk.directory.children.get(part)
        if not walk.enter(part, node):
            return None
    return walk.place


class Walk:
    """The way from the root along the parts of a path.

    A caller iterates over `parts`, looks up each one in `directory`, and calls `enter`.
    """

    def __init__(self, root: Directory, member: bytes) -> None:
        self._member = member
        self._above = [root]
        self._path: list[bytes] = []
        self._pending: list[bytes] = []
        self._hops = 0

    @property
    def directory(self) -> Directory:
        """The directory that has been reached."""
        return self._above[-1]

    @property
    def place(self) -> Place:
        """The directory that has been reached, and its path."""
        return Place(self._above[-1], tuple(self._path))

    @property
    def path(self) -> Path:
        """The path of the directory that has been reached."""
        return tuple(self._path)

    def parts(self, parts: list[bytes]) -> Iterator[bytes]:
        """Yield the names to look up, those of link targets included."""
        self._pending = parts[::-1]
        while self._pending:
            part = self._pending.pop()
            if part in {b"", b"."}:
                continue
            if part != b"..":
                yield part
            elif self._path:
                self._path.pop()
                self._above.pop()

    def enter(self, part: bytes, node: Node | None) -> bool:
        """Go on to a directory, or where a link leads; False for everything else."""
        if isinstance(node, Directory):
            self._above.append(node)
            self._path.append(part)
            return True
        if not isinstance(node, Symlink):
            return False
        self._hops += 1
        if self._hops > MAX_HOPS:
            message = f"more than {MAX_HOPS} links on the way"
            raise UnsafeArchive(message, member=shown(self._member))
        if node.target.startswith(b"/"):
            del self._above[1:], self._path[:]
        self._pending += reversed(node.target.split(b"/"))
        return True


def directories(root: Directory) -> Iterator[tuple[Path, Directory]]:
    """Yield all directories with their paths, each after those below it."""
    # A path may have 2,000 parts, so neither recursion nor all paths at a time.
    path: list[bytes] = []
    open_ones = [(root, _subdirectories(root))]
    while open_ones:
        directory, left = open_ones[-1]
        if left:
            name, below = left.pop()
            path.append(name)
            open_ones.append((below, _subdirectories(below)))
            continue
        yield tuple(path), directory
        open_ones.pop()
        del path[-1:]


def _subdirectories(directory: Directory) -> list[tuple[bytes, Directory]]:
    return [
        (name, node) for name, node in directory.children.items() if isinstance(node, Directory)
    ]
