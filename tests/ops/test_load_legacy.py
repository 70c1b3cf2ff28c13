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


def test_an_id_that_is_not_its_directorys_name(client: Client, tmp_path: Path) -> None:
    files = legacy_files([(A, ""), (B, A), (C, B)], TARS, {"1": C})
    files[f"{B}/json"] = files[f"{B}/json"].replace(B.encode(), b"d" * 64)
    (tmp_path / "archive").write_bytes(tar_layer(files))
    with pytest.raises(InvalidDocument, match="not its directory's name"):
        client.load(tmp_path / "archive")
