"""Compare `tests/vectors` and archives with a real docker engine (20.10).

Run these tests by hand, as root, with Debian's `docker.io` installed. The engine has its own socket
and directories, no bridge, and no firewall rules.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from docker_engine import Engine, running_engine
from wherry.testing import build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.testing import FakeRegistry

pytestmark = [pytest.mark.peer("dockerd"), pytest.mark.long]

VECTOR_FILES = Path(__file__).parent.parent / "vectors"
VECTORS: dict[str, Any] = json.loads((VECTOR_FILES / "v1_images.json").read_text())
LAYERS = [tar_layer({f"f{number}": b"x%d" % number}) for number in range(2)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if os.getuid() != 0:
        pytest.skip("an engine runs as root")
    with running_engine(tmp_path_factory.mktemp("dockerd")) as engine:
        yield engine


def an_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def archive(name: str, texts: list[tuple[str, str]]) -> bytes:
    """Return an archive of an engine before 1.10."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:

        def add(path: str, data: bytes) -> None:
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))

        for (v1_id, text), layer in zip(texts, LAYERS, strict=True):
            directory = tarfile.TarInfo(v1_id)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
            add(f"{v1_id}/VERSION", b"1.0")
            add(f"{v1_id}/json", text.encode())
            add(f"{v1_id}/layer.tar", layer)
        add("repositories", json.dumps({name: {"latest": texts[-1][0]}}).encode())
    return buffer.getvalue()


def test_the_engine_gives_the_ids_that_the_vectors_say(engine: Engine) -> None:
    for number, entry in enumerate(VECTORS["images"], 1):
        base = VECTORS["base"].replace("@ID", an_id(0))
        top = entry["v1"].replace("@ID", an_id(number)).replace("@PARENT", an_id(0))
        name = f"v{number}"
        body = archive(name, [(an_id(0), base), (an_id(number), top)])
        engine.ask("POST", "/images/load", body)
        status, answer = engine.ask("GET", f"/images/{name}/json")
        assert (json.loads(answer)["Id"] if status == 200 else None) == entry["id"], entry["v1"]
        if entry["id"] is None:
            continue
        _, saved = engine.ask("GET", f"/images/{name}/get")
        with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
            member = tar.extractfile("manifest.json")
            assert member is not None
            (manifest,) = json.load(member)
        assert [path.split("/")[0] for path in manifest["Layers"]] == entry["v1_ids"]


def saved_as(name: str, config: bytes, layers: list[bytes]) -> bytes:
    """Return an archive of an engine since 1.10."""
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    listed = {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": list(listed)}]
    files = {config_name: config, **listed, "manifest.json": json.dumps(manifest).encode()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def test_the_engine_saves_the_trees_that_the_vectors_say(engine: Engine) -> None:
    trees = json.loads((VECTOR_FILES / "saved_trees.json").read_text())["trees"]
    layers = [tar_layer({f"f{number}": b"x%d" % number}) for number in range(3)]
    for number, tree in enumerate(trees):
        name = f"tree{number}:latest"
        load(engine, saved_as(name, tree["config"].encode(), layers[: len(tree["ids"])]))
        _, answer = engine.ask("GET", f"/images/{name}/get")
        found = members(answer)
        (manifest,) = json.loads(found["manifest.json"])
        ids = [path.split("/")[0] for path in manifest["Layers"]]
        assert ids == tree["ids"], tree["config"]
        written = [hashlib.sha256(found[f"{v1_id}/json"]).hexdigest() for v1_id in ids]
        assert written == tree["sha256"], tree["config"]


# Archives


@pytest.fixture
def saved(client: wherry.Client, fake: FakeRegistry, tmp_path: Path) -> bytes:
    """Return an archive of an image with every field of a config."""
    layers = [*LAYERS, LAYERS[0]]
    history: list[dict[str, object]] = [
        {"created": "2024-01-02T03:04:05.600Z", "created_by": f"step {number} <&>"}
        for number in range(3)
    ]
    history.insert(1, {"created_by": "ENV A=b", "empty_layer": True, "comment": "c"})
    image = build_image(
        layers,
        env=["A=b"],
        cmd=["sh", "-c", "a && b"],
        entrypoint=["/e"],
        labels={"b": "<1>", "a": ""},
        history=history,
        variant="v2",
        config_extra={
            "author": "me",
            "docker_version": "20.10.24",
            "container": "c" * 64,
            "container_config": {"Hostname": "h", "Cmd": ["x"], "ExposedPorts": {"80/tcp": {}}},
        },
    )
    fake.add_image("acme/app", image, "v1")
    client.pull(f"{fake.host}/acme/app:v1")
    file = tmp_path / "saved.tar"
    client.save(f"{fake.host}/acme/app:v1", file)
    return file.read_bytes()


def members(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {
            member.name: tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar
            if member.isfile() or member.issym()
        }


def load(engine: Engine, body: bytes) -> str:
    """Load an archive into the engine and return its message."""
    status, answer = engine.ask("POST", "/images/load", body)
    assert status == 200, answer
    assert b"errorDetail" not in answer, answer
    return answer.decode()


def test_the_engine_takes_what_wherry_saves_and_saves_the_same(
    engine: Engine, saved: bytes, store: wherry.Store
) -> None:
    load(engine, saved)
    (image,) = store.images()
    (name,) = [name for name in image.names if "@" not in name]
    _, answer = engine.ask("GET", f"/images/{name}/json")
    assert json.loads(answer)["Id"] == str(image.id)
    _, theirs = engine.ask("GET", f"/images/{name}/get")
    ours, found = members(saved), members(theirs)
    assert set(ours) == set(found)
    for path in ours:
        if path == "manifest.json":
            left, right = json.loads(ours[path]), json.loads(found[path])
            assert {**left[0], "Layers": 0} == {**right[0], "Layers": 0}
        else:
            assert ours[path].strip() == found[path].strip(), path


def without_manifest(raw: bytes) -> bytes:
    """Remove the files of an archive that engines before 1.10 do not write."""
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(raw)) as source,
        tarfile.open(fileobj=buffer, mode="w") as target,
    ):
        for member in source:
            if member.name == "manifest.json" or (
                "/" not in member.name.rstrip("/") and (member.name.endswith(".json"))
            ):
                continue
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    return buffer.getvalue()


def test_the_legacy_tree_gives_the_same_image_in_the_engine_and_here(
    engine: Engine, saved: bytes, tmp_path: Path, client: wherry.Client, store: wherry.Store
) -> None:
    legacy = without_manifest(saved)
    (image,) = store.images()
    (name,) = [name for name in image.names if "@" not in name]
    engine.ask("DELETE", f"/images/{name}?force=1")
    load(engine, legacy)
    _, answer = engine.ask("GET", f"/images/{name}/json")
    (tmp_path / "legacy.tar").write_bytes(legacy)
    (loaded,) = client.load(tmp_path / "legacy.tar", store=wherry.Store(tmp_path / "other"))
    assert str(loaded.id) == json.loads(answer)["Id"]
    assert name in loaded.names


def test_what_the_engine_saves_is_loaded(
    engine: Engine, saved: bytes, tmp_path: Path, client: wherry.Client, store: wherry.Store
) -> None:
    load(engine, saved)
    (image,) = store.images()
    (name,) = [name for name in image.names if "@" not in name]
    _, theirs = engine.ask("GET", f"/images/{name}/get")
    (tmp_path / "theirs.tar").write_bytes(theirs)
    sources: list[Path | io.BytesIO] = [tmp_path / "theirs.tar", io.BytesIO(theirs)]
    for number, source in enumerate(sources):
        other = wherry.Store(tmp_path / f"other{number}")
        (loaded,) = client.load(source, store=other)
        assert (loaded.id, loaded.names) == (image.id, (name,))
