"""The command `wherry copy` between all kinds of places, and with bad addresses."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from copy_places import DOCKER, IMAGE, INDEX, SOURCES, TARGETS, Places
from sink_images import tree
from wherry.testing import flat_files, layout_files, tar_layer, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client
    from wherry.testing import FakeRegistry


@pytest.fixture
def places(tmp_path: Path, client: Client, fake: FakeRegistry) -> Places:
    return Places(tmp_path, fake, client)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A directory with places to copy from and to, and other things."""
    box = tmp_path / "box"
    write_files(box / "layout", layout_files({"app": IMAGE, "docker": DOCKER, "all": INDEX}))
    write_files(box / "flat", flat_files(IMAGE))
    write_files(box / "files", {"notes.txt": b"mine"})
    write_files(box / "future", {"oci-layout": b'{"imageLayoutVersion":"2.0"}'})
    (box / "archive").write_bytes(tar_layer(layout_files({"app": IMAGE})))
    (box / "text").write_bytes(b"no archive")
    return box


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("origin", SOURCES)
def test_each_place_to_each_place(wherry: Wherry, places: Places, origin: str, kind: str) -> None:
    source, target = places.source(origin, "oci"), places.target(kind)
    done = wherry("copy", source, target)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("wherry:") == 0
    config = wherry("config", target)
    assert config.stdout == IMAGE.config.data.decode()
    again = wherry("copy", source, target)
    assert (again.returncode, again.stdout) == (0, done.stdout), again.stderr


@pytest.mark.parametrize(
    ("source", "target", "code", "says"),
    [
        ("oci:layout:app", "oci:new:@sha256:0", 2, "invalid sha256 digest"),
        ("oci:layout:app", f"oci:new:@{IMAGE.digest}", 2, "neither a digest nor a position"),
        ("oci:layout:app", "docker-archive:new:@1", 2, "neither a digest nor a position"),
        ("oci:layout:app", "oci:new:", 2, "the image's name is missing"),
        ("oci:layout:app", "oci:", 2, "the path is missing"),
        ("oci:layout:app", "oci:new:a b", 2, "not a valid name in a layout"),
        ("oci:layout:app", "oci:new:app:UPPER/x", 2, "invalid reference"),
        ("oci:layout:app", f"docker-archive:new:app@{IMAGE.digest}", 2, "a digest is not a name"),
        ("oci:layout:app", "docker-archive:new:UPPER", 2, "repository names are lower-case"),
        ("oci:layout:app", "oci:nowhere/new:a", 3, "nowhere: there is no such directory"),
        ("oci:layout:app", "dir:nowhere/new", 3, "nowhere: there is no such directory"),
        ("oci:layout:app", "oci-archive:nowhere/new", 3, "nowhere: there is no such directory"),
        ("oci:layout:app", "docker-archive:nowhere/new", 3, "nowhere: there is no such directory"),
        ("oci:layout:app", "oci:files:a", 1, "files: already exists, and is not an OCI layout"),
        ("oci:layout:app", "oci:future:a", 1, "OCI layouts of version '2.0' are not supported"),
        ("oci:layout:app", "oci:archive:a", 1, "archive: is a file, a directory is expected"),
        ("oci:layout:app", "dir:archive", 1, "archive: is a file, a directory is expected"),
        ("oci:layout:app", "dir:files", 1, "files: already exists, with other files"),
        ("oci:layout:app", "dir:layout", 1, "layout: already exists, with other files"),
        ("oci:layout:app", "oci-archive:layout:a", 1, "layout: is a directory, a file is"),
        ("oci:layout:app", "docker-archive:flat", 1, "flat: is a directory, a file is expected"),
        ("oci:layout:app", "docker-archive:/dev/full", 1, "/dev/full: No space left on device"),
        ("oci:layout:none", "oci:new:a", 3, "there is no image none in it"),
        ("oci:layout", "dir:new", 3, "layout"),
        ("oci:nowhere", "dir:new", 3, "nowhere"),
        ("dir:files", "oci:new:a", 1, "is not an image directory"),
        ("docker-archive:text", "oci:new:a", 1, "text"),
        ("oci-archive:archive:none", "oci:new:a", 3, "there is no image none in it"),
        ("store:none", "oci:new:a", 3, "no such image"),
        ("oci:layout:all", "docker-archive:new", 1, "a docker archive holds one platform"),
    ],
)
def test_bad_addresses(
    wherry: Wherry, box: Path, source: str, target: str, code: int, says: str
) -> None:
    """One line tells what and where; nothing is written."""
    before = tree(box)
    done = subprocess.run(
        [sys.executable, "-m", "wherry", "copy", source, target],
        cwd=box,
        env=wherry.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
    told = [line for line in lines if line.startswith("wherry: ")]
    assert len(told) == 1
    assert says in told[0]
    assert tree(box) == before


def test_a_docker_archive_to_standard_output(wherry: Wherry, box: Path) -> None:
    """The link /dev/stdout leads to a pipe without a path."""
    for form in ("docker-archive:/dev/stdout:app:1", "oci-archive:/dev/stdout:app:1"):
        done = subprocess.run(
            [sys.executable, "-m", "wherry", "copy", "-q", f"oci:{box}/layout:app", form],
            env=wherry.environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
        loaded = subprocess.run(
            [sys.executable, "-m", "wherry", "load", "-q"],
            input=done.stdout,
            env=wherry.environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert IMAGE.id.encode() in loaded.stdout


def test_two_names_in_one_layout(wherry: Wherry, box: Path) -> None:
    for name in ("t1", "t2"):
        done = wherry("copy", f"oci:{box}/layout:app", f"oci:{box}/new:{name}")
        assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n")
    wherry("copy", f"oci:{box}/layout:docker", f"oci:{box}/new:t1")
    assert wherry("config", f"oci:{box}/new:t1").stdout == DOCKER.config.data.decode()
    assert wherry("digest", f"oci:{box}/new:t2").stdout == f"{IMAGE.digest}\n"
