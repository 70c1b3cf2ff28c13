"""Directories that images are unpacked into, compared with what umoci and podman make of them."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import podman_trees
from hostile_layers import HOSTILE, REFUSED, fill_in
from podman_trees import Trees
from trees import FIELDS, acl, describe
from unpack_images import IMAGES
from wherry.testing import build_image, layout_files, write_files

if TYPE_CHECKING:
    from wherry import Client, Event

    Peer = Callable[..., str]
    About = tuple[object, ...]

IS_ROOT = os.geteuid() == 0
STARTED = time.time_ns()
MODE, TIME = FIELDS.index("mode"), FIELDS.index("time")
OUTSIDE = Path("/outside")

HARMLESS = {
    name: [fill_in(layer, OUTSIDE) for layer in layers]
    for name, layers in HOSTILE.items()
    # What podman keeps of directories that are too deep could not be removed.
    if name not in REFUSED and name != "deep and removed"
}
# What podman refuses: files below a link that leads nowhere yet, names that a layer has twice,
# attributes that no file system takes, names below a device or a fifo.
REFUSED_BY_PODMAN = {
    "link out": "no such file or directory",
    "absolute link": "no such file or directory",
    "links to links": "no such file or directory",
    "link in a lower layer": "no such file or directory",
    "link in PAX": "no such file or directory",
    "directory swapped for a link": "no such file or directory",
    "hard link to a link": "duplicates",
    "file over a link": "duplicates",
    "fifo over a link": "duplicates",
    "directory over a link": "duplicates",
    "hard link to a fifo": "duplicates",
    "attributes of a link": "duplicates",
    "swapped again and again": "duplicates",
    "attributes of the outside": "duplicates",
    "attribute of the system": "invalid argument",
    "attribute with a long name": "numerical result out of range",
    "attribute that is too long": "argument list too long",
    "device on the way": "not a directory",
    "fifo on the way": "not a directory",
}
ALL = IMAGES | {name: HARMLESS[name] for name in HARMLESS if name not in REFUSED_BY_PODMAN}


ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
# Where podman makes something else of a file; None if it makes nothing.
Differences = Mapping[bytes, Mapping[str, object] | None]
# An entry for a further name of a file changes the file. For umoci and GNU tar it does not.
LINK_ENTRIES: dict[str, Differences] = {
    "cached": {
        path: {"mode": "-rw-r--r--", "time": 1_600_000_000 * 10**9}
        for path in (b"/below", b"/etc/passwd")
    },
    "odd": {
        b"/hard": {
            "mode": "-rws--x--x",
            "uid": 7,
            "time": 5 * 10**9,
            "xattrs": {"user.b": b"w"},
        }
    },
    "links": {path: {"mode": "-rw-r--r--"} for path in (b"/alias", b"/alias of alias")},
}
# Before a layer is unpacked, the files of the one below are copied, without access control
# lists, and without the links between names of a symbolic link.
COPIES: dict[str, Differences] = {
    "odd": {b"/acl": {"xattrs": {}}, b"/listed": {"xattrs": {}}},
    "links": {b"/link": {"link": b""}, b"/link again": {"link": b""}},
}
COPIES_OF_ROOT: dict[str, Differences] = {
    "odd": {
        b"/both": {"xattrs": {"user.b": b"w"}},
        b"/link": {"xattrs": {}},
        b"/pipe": {"xattrs": {}},
    }
}
# A directory keeps the attributes that its entry in an upper layer lacks.
OLD_ATTRIBUTES: dict[str, Differences] = {
    "odd": {b"/changed": {"xattrs": {"user.b": b"w", "user.c": b"w"}}}
}
# Files inherit the access control list of their directory, which no layer asks for.
INHERITED: dict[str, Differences] = {
    "attributes": {
        b"/acl/file": {"xattrs": {ACCESS: os.fsencode(acl(6, 7, 4))}},
        b"/acl/sub": {
            "xattrs": {
                ACCESS: os.fsencode(acl(7, 7, 5, others=5)),
                DEFAULT: os.fsencode(acl(7, 7, 7)),
            }
        },
    }
}
# Times before 1970, or too late for a number of 64 bits in nanoseconds, are 1970.
TIMES: dict[str, Differences] = {
    "odd": {b"/old": {"time": 0}},
    "attributes": {b"/old": {"time": 0}},
    "time without end": {b"/f": {"time": 0}},
}
# Other users get no devices, where wherry makes empty files.
DEVICES: dict[str, Differences] = {
    "devices": {b"/null": None, b"/disk": None},
    "device of the disk": {b"/sda": None},
}
PODMAN = [LINK_ENTRIES, COPIES, OLD_ATTRIBUTES, INHERITED, TIMES]
PODMAN.append(COPIES_OF_ROOT if IS_ROOT else DEVICES)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layouts of all images, each named by its number."""
    place = tmp_path_factory.mktemp("images")
    for number, layers in enumerate(ALL.values()):
        write_files(place / str(number), layout_files({"x": build_image(layers)}))
    return place


@pytest.fixture(scope="module")
def trees(podman_command: list[str], podman: Peer, place: Path) -> dict[str, Trees]:
    """Trees of all images; podman takes most time to start, so it is asked once for all."""
    numbers = [str(number) for number in range(len(ALL))]
    with contextlib.chdir(place):  # podman makes a lower-case name of an absolute path
        ids = podman("pull", "-q", *(f"oci:{number}:x" for number in numbers)).split()
    given = {"podman": podman_command, "images": dict(zip(numbers, ids, strict=True))}
    found = subprocess.run(
        [
            *([] if IS_ROOT else [*podman_command, "unshare"]),
            *(sys.executable, podman_trees.__file__),
        ],
        input=json.dumps(given | {"place": str(place)}).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    described = pickle.loads(found.stdout)  # noqa: S301 - our own program wrote it
    return {name: Trees(*described[number]) for name, number in zip(ALL, numbers, strict=True)}


@pytest.mark.peer("podman")
@pytest.mark.parametrize("name", ALL)
def test_the_tree_is_that_of_podman(trees: dict[str, Trees], name: str) -> None:
    theirs, expected = trees[name].theirs, dict(trees[name].ours)
    for group in PODMAN:
        for path, change in group.get(name, {}).items():
            if change is None:
                del expected[path]
            else:
                expected[path] = _changed(expected[path], change)
    if expected[b""][MODE] == "drwxr-xr-x":  # without an entry podman gives the root another mode
        expected[b""] = _changed(expected[b""], {"mode": "dr-xr-xr-x"})
    for path, about in theirs.items():
        # Directories that an upper layer changes get the time of podman's run.
        if str(about[MODE]).startswith("d") and int(str(about[TIME])) > STARTED:
            expected[path] = _changed(expected[path], {"time": about[TIME]})
    assert theirs == expected


def _changed(about: About, change: Mapping[str, object]) -> About:
    """Return a description with changes, each of which has to differ."""
    found = dict(zip(FIELDS, about, strict=True))
    for field, value in change.items():
        assert found[field] != value, "podman does what wherry does"
    return tuple((found | dict(change)).values())


@pytest.mark.peer("podman")
@pytest.mark.skipif(IS_ROOT, reason="root gives files away")
@pytest.mark.parametrize("name", IMAGES)
def test_others_get_the_tree_of_podman_but_for_owners(
    trees: dict[str, Trees], client: Client, place: Path, tmp_path: Path, name: str
) -> None:
    """Outside of a user namespace, compared with the tree that is made in one."""
    client.unpack(f"oci:{place}/{list(ALL).index(name)}:x", tmp_path / "root")
    found = describe(tmp_path / "root")
    inside = trees[name].ours
    assert found.keys() == inside.keys()
    for path, about in found.items():
        ours, theirs = (
            dict[str, Any](zip(FIELDS, each, strict=True)) for each in (about, inside[path])
        )
        theirs["xattrs"].pop("security.capability", None)
        for description in (ours, theirs):
            del description["uid"], description["gid"]
            if int(str(description["time"])) > STARTED:
                del description["time"]
        assert ours == theirs, path


@pytest.mark.peer("umoci")
@pytest.mark.parametrize(
    ("name", "keeps"),
    [(name, False) for name in IMAGES] + [(name, True) for name in ("usual", "odd", "swaps")],
)
def test_the_tree_is_that_of_umoci(
    client: Client, umoci: Peer, place: Path, tmp_path: Path, name: str, *, keeps: bool
) -> None:
    layout = f"{place}/{list(ALL).index(name)}:x"
    options = [*(["--keep-dirlinks"] if keeps else []), *([] if IS_ROOT else ["--rootless"])]
    umoci("raw", "unpack", *options, "--image", layout, tmp_path / "theirs")
    events: list[Event] = []
    client.unpack(
        f"oci:{layout}",
        tmp_path / "ours",
        keep_dirlinks=keeps,
        keep_owners=not IS_ROOT,
        on_event=events.append,
    )
    assert len(events) == 1 or not IS_ROOT  # others are warned of attributes and devices
    theirs, ours = describe(tmp_path / "theirs"), describe(tmp_path / "ours")
    for path, about in theirs.items():
        # Directories without an entry: umoci gives some roots the time 0. Without root, it gives
        # them a mode by the umask.
        if int(str(about[TIME])) > STARTED or (path == b"" and about[TIME] == 0):
            ours[path] = _changed(ours[path], {"time": about[TIME]})
            if not IS_ROOT:
                ours[path] = (about[MODE], *ours[path][1:])
    assert theirs == ours


@pytest.mark.long
@pytest.mark.peer("podman")
@pytest.mark.parametrize("name", REFUSED_BY_PODMAN)
def test_podman_refuses(
    podman: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_files(tmp_path / "layout", layout_files({"x": build_image(HARMLESS[name])}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=REFUSED_BY_PODMAN[name]):
        podman("pull", "-q", "oci:layout:x")
