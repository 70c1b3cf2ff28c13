"""Names that appear twice in an archive, with equal or different content."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from wherry.errors import UnsafeArchive, WherryError
from wherry.testing import build_image, docker_files, layout_files, tar_layer, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import wherry
    from wherry import Client

TARS = [tar_layer({f"f{number}": b"x" * 999 * number}) for number in range(2)]
IMAGE = build_image(TARS)
OTHER = TARS[0][:600] + b"!" + TARS[0][601:]
FILES = docker_files(IMAGE, TARS, ["app:1"])
SYMBOLIC, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


def link(target: str, kind: bytes) -> tarfile.TarInfo:
    made = tarfile.TarInfo()
    made.type, made.linkname = kind, target
    return made


def archive(members: Sequence[tuple[str, bytes | tarfile.TarInfo]]) -> bytes:
    """Return a tar of members, of which several may have one name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(params=["file", "stream"])
def load(
    request: pytest.FixtureRequest, client: Client, tmp_path: Path
) -> Callable[[bytes], list[wherry.Image]]:
    def run(data: bytes) -> list[wherry.Image]:
        (tmp_path / "a.tar").write_bytes(data)
        piped = request.param == "stream"
        return client.load(io.BytesIO(data) if piped else tmp_path / "a.tar")

    return run


SAME = {
    "a layer": [("0/layer.tar", TARS[0])],
    "three times": [("0/layer.tar", TARS[0]), ("0/layer.tar", TARS[0])],
    "dotted": [("./0/layer.tar", TARS[0])],
    "a document": [("manifest.json", FILES["manifest.json"])],
    "a hard link to itself": [("0/layer.tar", link("0/layer.tar", HARD))],
    "a hard link to a copy": [
        ("copy/layer.tar", TARS[0]),
        ("0/layer.tar", link("copy/layer.tar", HARD)),
    ],
    "a symbolic link to a copy": [
        ("copy/layer.tar", TARS[0]),
        ("0/layer.tar", link("../copy/layer.tar", SYMBOLIC)),
    ],
    "the same link": [
        ("2/layer.tar", link("../0/layer.tar", SYMBOLIC)),
        ("2/layer.tar", link("../0/layer.tar", SYMBOLIC)),
        ("./2/layer.tar", link("0/layer.tar", HARD)),
    ],
}
DIFFERENT = {
    "a layer": [("0/layer.tar", OTHER)],
    "shorter": [("0/layer.tar", TARS[0][:-512])],
    "dotted": [("./0/layer.tar", OTHER)],
    "a document": [("manifest.json", FILES["manifest.json"] + b" ")],
    "the third": [("0/layer.tar", TARS[0]), ("0/layer.tar", OTHER)],
    "a hard link": [("0/layer.tar", link("1/layer.tar", HARD))],
    "a symbolic link": [("0/layer.tar", link("../1/layer.tar", SYMBOLIC))],
    "two links": [
        ("2/layer.tar", link("../0/layer.tar", SYMBOLIC)),
        ("2/layer.tar", link("../1/layer.tar", SYMBOLIC)),
    ],
}


@pytest.mark.parametrize("more", SAME.values(), ids=SAME)
@pytest.mark.parametrize("first", [True, False])
def test_the_same_bytes_under_one_name(
    load: Callable[[bytes], list[wherry.Image]],
    more: list[tuple[str, bytes | tarfile.TarInfo]],
    *,
    first: bool,
) -> None:
    own = list(FILES.items())
    if first and any(isinstance(content, tarfile.TarInfo) for _, content in more):
        first = False  # what a hard link leads to stands before it
    (image,) = load(archive([*more, *own] if first else [*own, *more]))
    assert (str(image.id), image.names) == (IMAGE.id, ("docker.io/library/app:1",))


@pytest.mark.parametrize("more", DIFFERENT.values(), ids=DIFFERENT)
def test_different_bytes_under_one_name(
    load: Callable[[bytes], list[wherry.Image]],
    client: Client,
    more: list[tuple[str, bytes | tarfile.TarInfo]],
) -> None:
    with pytest.raises(UnsafeArchive, match="appears twice in the archive, with different") as got:
        load(archive([*FILES.items(), *more]))
    assert more[-1][0].removeprefix("./") in str(got.value)
    assert client.store.images() == []


def test_a_link_that_leads_nowhere_is_not_the_same(
    load: Callable[[bytes], list[wherry.Image]],
) -> None:
    with pytest.raises(WherryError):
        load(archive([*FILES.items(), ("0/layer.tar", link("nowhere", HARD))]))


def test_a_blob_of_a_layout_twice(
    load: Callable[[bytes], list[wherry.Image]], client: Client
) -> None:
    files = list(layout_files({"app:1": IMAGE}).items())
    (image,) = load(archive([*files, *files]))
    assert str(image.digest) == IMAGE.digest
    report = client.validate(f"store:{image.id}")
    assert report.findings == []


def test_one_layer_that_stands_twice_among_the_layers(
    load: Callable[[bytes], list[wherry.Image]],
) -> None:
    twice = build_image([TARS[0], TARS[0]])
    files = docker_files(twice, TARS[:1], ["app:1"])
    document = json.loads(files["manifest.json"])
    document[0]["Layers"] *= 2
    files["manifest.json"] = json.dumps(document).encode()
    (image,) = load(archive([*files.items(), ("0/layer.tar", TARS[0])]))
    assert [str(found) for found in image.config.diff_ids] == list(twice.diff_ids)


@pytest.mark.peer("tar")
def test_an_archive_that_was_appended_to(
    load: Callable[[bytes], list[wherry.Image]], tmp_path: Path
) -> None:
    tree = write_files(tmp_path / "tree", FILES)
    names = ["0/layer.tar", "1/layer.tar", "manifest.json", IMAGE.id[7:] + ".json"]
    subprocess.run(["tar", "-C", tree, "-cf", tmp_path / "made.tar", *names], check=True)
    subprocess.run(["tar", "-C", tree, "-rf", tmp_path / "made.tar", *names], check=True)
    (image,) = load((tmp_path / "made.tar").read_bytes())
    assert str(image.id) == IMAGE.id
