"""The operations that entries of layers become."""

from __future__ import annotations

import tracemalloc
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UnsafeArchive
from wherry.unpack.entry import DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK, Attributes, Entry, Extent
from wherry.unpack.plan import Make, MakeDirectory, MakeLink, Planner, Remove
from wherry.unpack.tree import Directory, Path, Symlink, directories

# A file system: a directory has children, a link a target, everything else its number.
Model: TypeAlias = "dict[bytes, Model] | bytes | int"


def entry(name: str, kind: str = FILE, link: str = "", mode: int = 0o644) -> Entry:
    return Entry(name.encode(), kind, Attributes(mode, 0, 0, 0), link=link.encode())


def directory(name: str) -> Entry:
    return entry(name, DIRECTORY, mode=0o755)


class Disk:
    """A file system that carries out operations, and refuses what no plan may contain."""

    def __init__(self) -> None:
        self.root: dict[bytes, Model] = {}
        self.made = 0

    def parent(self, path: Path) -> dict[bytes, Model]:
        here: Model = self.root
        for part in path[:-1]:
            assert isinstance(here, dict)
            here = here[part]
        assert isinstance(here, dict), f"{path!r} leads through something else"
        return here

    def run(self, operation: Make | MakeDirectory | MakeLink | Remove) -> None:
        path = operation.path
        parent, name = self.parent(path), path[-1]
        if isinstance(operation, Remove):
            del parent[name]
            return
        assert name not in parent, f"{path!r} is there"
        match operation:
            case MakeDirectory():
                parent[name] = {}
            case MakeLink():
                target = self.parent(operation.target)[operation.target[-1]]
                assert not isinstance(target, dict)
                parent[name] = target
            case Make():
                self.made += 1
                is_link = operation.entry.kind is SYMLINK
                parent[name] = operation.entry.link if is_link else self.made


def run(*layers: list[Entry], keeps_dirlinks: bool = False) -> dict[bytes, Model]:
    """Plan layers, and return the file system that their operations make."""
    planner, disk = Planner(keeps_dirlinks=keeps_dirlinks), Disk()
    for layer in layers:
        planner.begin_layer()
        for each in layer:
            for operation in planner.plan(each):
                disk.run(operation)
    assert shape(planner.root) == kinds(disk.root)
    return disk.root


def shape(node: object) -> object:
    """Return the tree of a planner: names and kinds."""
    if isinstance(node, Directory):
        return {name: shape(child) for name, child in node.children.items()}
    return node.target if isinstance(node, Symlink) else None


def kinds(node: Model) -> object:
    if isinstance(node, dict):
        return {name: kinds(child) for name, child in node.items()}
    return node if isinstance(node, bytes) else None


def paths(*layers: list[Entry], keeps_dirlinks: bool = False) -> list[str]:
    """Return what the layers leave: all paths, those of directories with a slash."""
    found: list[str] = []

    def walk(node: Model, path: str) -> None:
        if isinstance(node, dict):
            found.append(path + "/")
            for name, child in node.items():
                walk(child, f"{path}/{name.decode()}")
        else:
            found.append(path)

    for name, node in run(*layers, keeps_dirlinks=keeps_dirlinks).items():
        walk(node, name.decode())
    return sorted(found)


LOWER = [directory("d"), entry("d/old"), directory("d/sub"), entry("d/sub/old"), entry("f")]
BELOW = ["d/", "d/old", "d/sub/", "d/sub/old"]


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        pytest.param([entry("d/.wh.old")], ["d/", "d/sub/", "d/sub/old", "f"], id="file"),
        pytest.param([entry(".wh.d")], ["f"], id="directory"),
        pytest.param([entry("d/.wh..wh..opq")], ["d/", "f"], id="opaque"),
        pytest.param([entry("d/.wh.none")], [*BELOW, "f"], id="none"),
        pytest.param([entry("x/.wh.y")], [*BELOW, "f"], id="nowhere"),
        pytest.param([entry(".wh..wh.aufs")], [*BELOW, "f"], id="aufs"),
        pytest.param([entry("d/new"), entry("d/.wh..wh..opq")], ["d/", "d/new", "f"], id="after"),
        pytest.param([entry("d/.wh..wh..opq"), entry("d/new")], ["d/", "d/new", "f"], id="before"),
        pytest.param(
            [entry("d/sub/new"), entry("d/.wh..wh..opq")],
            ["d/", "d/sub/", "d/sub/new", "f"],
            id="opaque-after-implied",
        ),
        pytest.param(
            [directory("d/sub"), entry("d/.wh..wh..opq")], ["d/", "d/sub/", "f"], id="opaque-sub"
        ),
        pytest.param(
            [directory("d"), entry("d/new"), entry(".wh.d")], ["d/", "d/new", "f"], id="replaced"
        ),
        pytest.param([entry("f"), entry(".wh.f")], [*BELOW, "f"], id="own"),
        pytest.param([entry("d")], ["d", "f"], id="file-for-directory"),
        pytest.param(
            [directory("f"), entry("f/in")], [*BELOW, "f/", "f/in"], id="directory-for-file"
        ),
        pytest.param([entry("f/in")], [*BELOW, "f/", "f/in"], id="implied-for-file"),
    ],
)
def test_upper_layers_change_lower_ones(upper: list[Entry], left: list[str]) -> None:
    assert paths(LOWER, upper) == left


def test_links_to_directories_lead_within_the_root() -> None:
    layers = [
        [directory("usr"), directory("usr/lib"), entry("lib", SYMLINK, "usr/lib")],
        [entry("abs", SYMLINK, "/usr"), entry("up", SYMLINK, "../../../usr")],
        [entry("lib/a"), entry("abs/b"), entry("up/c"), entry("lib/../d")],
    ]
    assert paths(*layers) == [
        "abs",
        "d",
        "lib",
        "up",
        "usr/",
        "usr/b",
        "usr/c",
        "usr/lib/",
        "usr/lib/a",
    ]


def test_a_directory_replaces_a_link_unless_links_are_kept() -> None:
    lower = [directory("usr"), entry("usr/x"), entry("lib", SYMLINK, "usr")]
    upper = [directory("lib"), entry("lib/y")]
    assert paths(lower, upper) == ["lib/", "lib/y", "usr/", "usr/x"]
    assert paths(lower, upper, keeps_dirlinks=True) == ["lib", "usr/", "usr/x", "usr/y"]


def test_a_kept_link_that_leads_nowhere_is_replaced() -> None:
    lower = [entry("lib", SYMLINK, "none")]
    assert paths(lower, [directory("lib")], keeps_dirlinks=True) == ["lib/"]


def test_a_dangling_link_on_the_way_makes_its_target() -> None:
    assert paths([entry("l", SYMLINK, "a/b"), entry("l/x")]) == ["a/", "a/b/", "a/b/x", "l"]


def test_hard_links_share_the_file_across_layers() -> None:
    root = run([entry("a")], [entry("b", HARDLINK, "a"), entry(".wh.a")])
    assert root == {b"b": 1}


def test_hard_links_name_links_themselves() -> None:
    root = run([entry("s", SYMLINK, "nowhere"), entry("h", HARDLINK, "s")])
    assert root == {b"s": b"nowhere", b"h": b"nowhere"}


def test_a_hard_link_to_itself_changes_nothing() -> None:
    assert run([entry("a"), entry("a", HARDLINK, "./a")]) == {b"a": 1}


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../x", FILE, ""),
        ("a/../../x", FILE, ""),
        ("..", DIRECTORY, ""),
        ("../.wh.x", FILE, ""),
        (".wh.", FILE, ""),
        (".wh..", FILE, ""),
        (".wh...", FILE, ""),
        ("d/.wh...", FILE, ""),
        ("x", HARDLINK, "../etc/passwd"),
        ("x", HARDLINK, "none"),
        ("x", HARDLINK, "d"),
        ("x", HARDLINK, ""),
        ("x", SYMLINK, ""),
        ("x", SYMLINK, "t" * 4096),
        ("n" * 256, FILE, ""),
        ("n/" * 2047 + "nn", FILE, ""),
        (".", FILE, ""),
        ("/", SYMLINK, "d"),
        ("loop/x", FILE, ""),
    ],
)
def test_what_leads_outside_or_nowhere_is_refused(name: str, kind: str, link: str) -> None:
    planner = Planner()
    planner.begin_layer()
    for each in (directory("d"), entry("loop", SYMLINK, "loop")):
        planner.plan(each)
    with pytest.raises(UnsafeArchive) as caught:
        planner.plan(entry(name, kind, link))
    assert caught.value.member


def test_paths_through_links_have_a_longest_length() -> None:
    planner = Planner()
    planner.begin_layer()
    deep = "n" * 250
    planner.plan(directory("/".join([deep] * 15)))
    planner.plan(entry("l", SYMLINK, "/".join([deep] * 15)))
    with pytest.raises(UnsafeArchive, match="too long"):
        planner.plan(entry(f"l/{deep}/{deep}/x"))


def test_the_root_has_attributes_of_its_own() -> None:
    planner = Planner()
    planner.begin_layer()
    for name in ("./", ".", "/"):
        assert planner.plan(entry(name, DIRECTORY, mode=0o700)) == []
    assert planner.root.attributes == Attributes(0o700, 0, 0, 0)


def test_repeated_whiteouts_take_linear_time() -> None:
    """Walking the directory for each one would take minutes."""
    count = 30_000
    planner = Planner()
    planner.begin_layer()
    for number in range(count):
        planner.plan(entry(f"d/{number}"))
    for _ in range(count):
        planner.plan(entry("d/.wh..wh..opq"))
        planner.plan(entry(".wh.d"))
    assert len(paths([entry("a"), entry("d/a")], [entry("d/b"), *[entry(".wh.d")] * 2])) == 3


def test_paths_of_deep_trees_are_made_one_at_a_time() -> None:
    planner = Planner()
    planner.begin_layer()
    for number in range(4):
        planner.plan(entry("/".join([f"{number}", *["d"] * 1900, "f"])))
    tracemalloc.start()
    found = [path[:1] for path, _ in directories(planner.root)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 4 * 1901 + 1
    assert found[-1] == ()
    assert peak < 10 * 2**20


LARGE = Attributes(0o755, 0, 0, 0, {b"user.k": b"v" * 2**20})


def plan_often(planner: Planner, large: Entry) -> None:
    planner.begin_layer()
    for _ in range(70):
        planner.plan(large)


@pytest.mark.parametrize(
    "large",
    [
        *(Entry(b"f", kind, LARGE, link=b"t") for kind in (DIRECTORY, SYMLINK, FILE)),
        Entry(b"f", FILE, Attributes(0, 0, 0, 0), extents=(Extent(0, 0),) * 200_000),
    ],
    ids=["directory", "link", "file", "holes"],
)
def test_what_stays_in_memory_has_a_limit(large: Entry) -> None:
    with pytest.raises(UnsafeArchive, match="too many attributes"):
        plan_often(Planner(holds_all=True), large)


def test_files_do_not_stay_in_memory() -> None:
    plan_often(Planner(), Entry(b"f", FILE, LARGE))


# Any layers

NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
TARGETS = st.sampled_from(["a", "b", "../a", "/b", "c/a", "../../c", ".", "a/b/c"])


def whiteout(name: str) -> Entry:
    above, _, last = name.rpartition("/")
    return entry(f"{above}/.wh.{last}" if above else f".wh.{last}")


PLAIN = st.one_of(
    st.builds(entry, NAMES),
    st.builds(directory, NAMES),
    st.builds(entry, NAMES, st.just(FIFO)),
)
WHITEOUTS = st.one_of(NAMES.map(whiteout), NAMES.map(lambda name: entry(f"{name}/.wh..wh..opq")))
LINKS = st.one_of(
    st.builds(entry, NAMES, st.just(SYMLINK), TARGETS),
    st.builds(entry, NAMES, st.just(HARDLINK), NAMES),
)


def lists(entries: st.SearchStrategy[Entry]) -> st.SearchStrategy[list[Entry]]:
    return st.lists(entries, max_size=8)


@given(st.lists(lists(st.one_of(PLAIN, WHITEOUTS, LINKS)), max_size=3))
def test_no_operation_leads_through_a_link_or_meets_a_file(layers: list[list[Entry]]) -> None:
    planner, disk = Planner(), Disk()
    for layer in layers:
        planner.begin_layer()
        for each in layer:
            try:
                operations = planner.plan(each)
            except UnsafeArchive:
                return
            for operation in operations:
                disk.run(operation)
            assert shape(planner.root) == kinds(disk.root)


@given(lists(PLAIN), lists(st.one_of(PLAIN, WHITEOUTS)))
def test_the_place_of_whiteouts_in_their_layer_does_not_matter(
    lower: list[Entry], upper: list[Entry]
) -> None:
    def is_whiteout(each: Entry) -> bool:
        return b".wh." in each.name

    ordered = sorted(upper, key=is_whiteout, reverse=True)
    assert kinds(run(lower, upper)) == kinds(run(lower, ordered))
