"""Load archives of engines before 1.10, which have one directory a layer."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

import wherry
from saved_images import IMAGE, TARS, contents
from wherry.errors import InvalidDocument, NotFound, WherryError
from wherry.model import v1
from wherry.testing import FakeRegistry, compress, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wherry import Client, Store


@pytest.fixture
def name(fake: FakeRegistry, client: Client) -> str:
    """An image in the store."""
    fake.add_image("app", IMAGE, "v1")
    client.pull(f"{fake.host}/app:v1")
    return f"{fake.host}/app:v1"


def legacy_files(
    chain: list[tuple[str, str]], layers: list[bytes], tags: Mapping[str, str]
) -> dict[str, bytes]:
    """Return an archive of layers with ids and parents; tags give ids to names of `app`."""
    files = {"repositories": json.dumps({"app": dict(tags)}).encode()}
    for (v1_id, parent), layer in zip(chain, layers, strict=True):
        found = {
            "id": v1_id,
            "created": "2014-01-01T00:00:00Z",
            "os": "linux",
            "architecture": "amd64",
        }
        if parent:
            found["parent"] = parent
        files |= {
            f"{v1_id}/VERSION": b"1.0",
            f"{v1_id}/json": json.dumps(found).encode(),
            f"{v1_id}/layer.tar": layer,
        }
    return files


A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("how", ["none", "gzip"])
def test_an_archive_of_an_old_engine(
    client: Client, tmp_path: Path, how: str, stores: Iterator[Store], *, piped: bool
) -> None:
    layers = [compress(tar, how) for tar in TARS]
    files = legacy_files([(A, ""), (B, A), (C, A)], layers, {"1": B, "2": B, "3": A})
    data = tar_layer(files)
    (tmp_path / "archive").write_bytes(data)
    source = io.BytesIO(data) if piped else tmp_path / "archive"
    loaded = client.load(source, store=next(stores))
    names = ["docker.io/library/app:1", "docker.io/library/app:2"]
    assert [list(image.names) for image in loaded] == [names, ["docker.io/library/app:3"], []]
    diff_ids = [wherry.Digest.of(tar) for tar in TARS]
    assert [list(image.config.diff_ids) for image in loaded] == [
        diff_ids[:2],
        diff_ids[:1],
        [diff_ids[0], diff_ids[2]],
    ]
    raws = [files[f"{v1_id}/json"] for v1_id in (A, B)]
    history = [v1.history_entry(raw, empty_layer=False) for raw in raws]
    assert loaded[0].config.raw == v1.config_from_v1(raws[1], diff_ids[:2], history)
    assert client.validate(f"docker-archive:{tmp_path / 'archive'}:app:1").findings == []


def test_the_tree_for_old_engines_is_read_as_they_read_it(
    client: Client, name: str, tmp_path: Path, stores: Iterator[Store]
) -> None:
    client.save(name, tmp_path / "archive")
    files = {
        path: data
        for path, data in contents(tmp_path / "archive").items()
        if path == "repositories" or "/" in path
    }
    (tmp_path / "legacy").write_bytes(tar_layer(files))
    (loaded,) = client.load(tmp_path / "legacy", store=next(stores))
    assert loaded.names == (name,)
    assert loaded.config.diff_ids == client.store.get(name).config.diff_ids


@pytest.mark.parametrize(
    ("chain", "tags", "error"),
    [
        ([(A, B), (B, C), (C, A)], {"1": A}, InvalidDocument),
        ([(A, A), (B, A), (C, B)], {"1": C}, InvalidDocument),
        ([(A, ""), (B, "d" * 64), (C, B)], {"1": C}, NotFound),
        ([(A, ""), (B, "../x"), (C, B)], {"1": C}, InvalidDocument),
        ([(A, ""), (B, A), (C, B)], {"1": "d" * 64}, NotFound),
        ([(A, ""), (B, A), (C, B)], {"1": "../../etc"}, InvalidDocument),
    ],
    ids=["cycle", "own parent", "missing parent", "bad parent", "missing image", "bad id"],
)
@pytest.mark.parametrize("piped", [False, True])
def test_broken_chains(
    client: Client,
    tmp_path: Path,
    chain: list[tuple[str, str]],
    tags: dict[str, str],
    error: type[WherryError],
    *,
    piped: bool,
) -> None:
    data = tar_layer(legacy_files(chain, TARS, tags))
    (tmp_path / "archive").write_bytes(data)
    with pytest.raises(error):
        client.load(io.BytesIO(data) if piped else tmp_path / "archive")
    assert client.store.images() == []


@pytest.mark.parametrize("piped", [False, True])
def test_a_loop_that_no_image_leads_to(client: Client, tmp_path: Path, *, piped: bool) -> None:
    data = tar_layer(legacy_files([(A, ""), (B, C), (C, B)], TARS, {"1": A}))
    (tmp_path / "archive").write_bytes(data)
    with pytest.raises(InvalidDocument, match=rf"{C}/json.*: {B} is its own ancestor"):
        client.load(io.BytesIO(data) if piped else tmp_path / "archive")
    assert client.store.images() == []


def changed(files: dict[str, bytes], v1_id: str, old: str, new: str) -> bytes:
    """Return an archive with a change in the JSON of a layer."""
    path = f"{v1_id}/json"
    assert old in files[path].decode()
    return tar_layer(files | {path: files[path].replace(old.encode(), new.encode())})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f'"id": "{B}"', f'"id": "{B.upper()}"', f"{B}/json.*id: '{B.upper()}' is not an image id"),
        (f'"id": "{B}", ', "", f"{B}/json.*id: '' is not an image id"),
        (f'"id": "{B}"', f'"id": "{C}"', f"{B}/json.*id: is {C}, not its directory's name"),
        (f'"parent": "{A}"', f'"parent": "{A}", "Parent": "{C}"', "parent: is given twice"),
        (f'"parent": "{A}"', f'"parent": "{A}", "parent": "{C}"', "parent"),
        (f'"parent": "{A}"', '"parent_id": "sha256:../x"', "parent_id: '../x' is not an image id"),
        (f'"parent": "{A}"', f'"parent_id": "sha256:{"d" * 64}"', f"{'d' * 64} is missing"),
    ],
    ids=["upper case", "no id", "other id", "two parents", "two keys", "bad parent_id", "missing"],
)
def test_ids_that_contradict(
    client: Client, tmp_path: Path, old: str, new: str, message: str
) -> None:
    files = legacy_files([(A, ""), (B, A), (C, B)], TARS, {"1": C})
    (tmp_path / "archive").write_bytes(changed(files, B, old, new))
    with pytest.raises((InvalidDocument, NotFound), match=message) as caught:
        client.load(tmp_path / "archive")
    assert "\n" not in str(caught.value)
    assert client.store.images() == []


def test_an_archive_of_engine_1_9(client: Client, tmp_path: Path) -> None:
    """It has the ids of content beside those of directories, or in place of a parent."""
    files = legacy_files([(A, ""), (B, A), (C, B)], TARS, {"1": C})
    strong = f'"layer_id": "sha256:{"e" * 64}", "parent_id": "sha256:{"f" * 64}"'
    both = changed(files, B, f'"parent": "{A}"', f'"parent": "{A}", {strong}')
    (tmp_path / "both").write_bytes(both)
    (tmp_path / "one").write_bytes(changed(files, B, '"parent": "', '"parent_id": "sha256:'))
    diff_ids = [[*image.config.diff_ids] for place in ("both", "one")
                for image in client.load(tmp_path / place)]  # fmt: skip
    assert diff_ids == [[wherry.Digest.of(tar) for tar in TARS]] * 2


@pytest.mark.parametrize("piped", [False, True])
def test_a_layer_that_many_images_name_is_loaded_once(
    client: Client, tmp_path: Path, *, piped: bool
) -> None:
    files = legacy_files([(A, ""), (B, A), (C, B)], TARS, {"3": C, "2": B, "1": A, "again": C})
    data = tar_layer(files)
    (tmp_path / "archive").write_bytes(data)
    events: list[wherry.Event] = []
    source = io.BytesIO(data) if piped else tmp_path / "archive"
    assert len(client.load(source, on_event=events.append)) == 3
    loaded = [event.digest for event in events if event.status is wherry.Status.LOADED]
    assert len(loaded) == len(set(loaded)) == len(TARS)


def test_an_id_that_is_not_its_directorys_name(client: Client, tmp_path: Path) -> None:
    files = legacy_files([(A, ""), (B, A), (C, B)], TARS, {"1": C})
    files[f"{B}/json"] = files[f"{B}/json"].replace(B.encode(), b"d" * 64)
    (tmp_path / "archive").write_bytes(tar_layer(files))
    with pytest.raises(InvalidDocument, match="not its directory's name"):
        client.load(tmp_path / "archive")
