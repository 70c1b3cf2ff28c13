"""Values that calls return survive pickling and copying, each of their classes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from public_api import public
from wherry import types
from wherry.model.record import Record
from wherry.testing import (
    FakeRegistry,
    build_image,
    build_index,
    build_schema1,
    compress,
    make_key,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE = build_image([tar_layer({"a": b"1"})], env=["A=1"], labels={"b": "2"})
TWO = build_image([tar_layer({"b": b"2"})], architecture="arm64")
AMD64, ARM64 = [{"os": "linux", "architecture": each} for each in ("amd64", "arm64")]
INDEX = build_index([(ONE, AMD64), (TWO, ARM64)])
KEYS = [("ES256", make_key("ES256"))]
SCHEMA1 = build_schema1([compress(tar_layer({"c": b"3"}), "gzip")], keys=KEYS)


def parts_of(value: Any) -> Iterator[Any]:
    """Yield a value and all that it is made of."""
    yield value
    if isinstance(value, Record | wherry.Image):
        inner: Any = vars(value).values()
    elif dataclasses.is_dataclass(value):
        inner = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, dict):
        inner = value.values()
    else:
        inner = value if isinstance(value, list | tuple | set) else ()
    for each in inner:
        yield from parts_of(each)


@pytest.fixture
def values(fake: FakeRegistry, client: wherry.Client, tmp_path: Path) -> list[Any]:
    """What every public call returns."""
    found: list[Any] = []
    fake.add_image("team/app", INDEX, "t")
    fake.add_image("team/one", ONE, "1.0")
    for layer in SCHEMA1.layers:
        fake.add_blob(layer)
    fake.add_manifest(
        "team/old", SCHEMA1.manifest.data, SCHEMA1.manifest.media_type, "t", digest=SCHEMA1.digest
    )
    name, store = f"{fake.host}/team/app:t", client.store
    client = wherry.Client(store=store, on_request=found.append)
    image = client.pull(name, all_platforms=True, on_event=found.append)
    found += [
        *image.members(),
        image,
        image.config,
        image.manifest,
        image.layers,
        image.history,
        image.platform,
    ]
    found += [client.manifest(name), client.config(name), client.history(name)]
    found += [client.inspect(name), client.manifest(f"{fake.host}/team/old:t")]
    found += [client.platforms(name), client.why(name), client.name_candidates("alpine")]
    found += [client.validate(name), client.save(name, tmp_path / "a.tar"), client.repair([])]
    client.login(fake.host, "me", "secret")
    found += [client.logout(fake.host), client.digest(name), client.referrers(name)]
    plan = client.plan_copy(name, f"{fake.host}/copied:1")
    found += [plan, plan.documents, plan.mounts, plan.execute(client)]
    blob = types.Descriptor("", wherry.Digest.of(b""), 0)
    gzip = types.Compression.parse("gzip")
    found += [types.Move(blob), types.Skip(blob, blob), types.Convert(blob, gzip)]
    found += [store, store.check(), store.usage(), store.gc(dry_run=True)]
    found += [client.plan_delete(name), client.delete(f"{fake.host}/team/old:t")]
    found += [types.Limits(), client.unpack(name, tmp_path / "rootfs")]
    found += [store.tag(name, "other:1"), store.remove("other:1")]
    (tmp_path / "images.toml").write_text(f'[[images]]\nsource = "{name}"')
    found.append(client.lock(tmp_path / "images.toml"))
    (tmp_path / "compose.yaml").write_text(f"services: {{a: {{image: '{name}'}}}}")
    found.append(client.pin(tmp_path / "compose.yaml"))
    return found


WITHOUT_A_SAMPLE = {
    # What takes a damaged or lost store, or a push, to be made; plain records and tuples as the
    # others.
    types.StoreProblem,
    types.RebuildReport,
    types.ArtifactRecord,
    types.DocumentFault,
    types.Finding,
    types.CopyArguments,  # a dict
}
STAYS = {wherry.Client, wherry.CancelToken}  # in its process; see test_errors


def test_each_value_is_pickled_and_copied_whole(values: list[Any]) -> None:
    kinds = set()
    for value in parts_of(values):
        kinds.add(type(value))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(value, protocol))  # noqa: S301 - our own
            assert type(again) is type(value)
            assert again == value
        assert copy.copy(value) == copy.deepcopy(value) == value
    classes = {item for item in public() if isinstance(item, type)}
    errors = {kind for kind in classes if issubclass(kind, wherry.WherryError)}
    assert classes - errors - STAYS - kinds == WITHOUT_A_SAMPLE


WORKER = """
import multiprocessing, sys
import wherry

def look(image):
    with image.layers[0].open_tar() as tar:
        return image, image.config.id, tar.getnames()

if __name__ == "__main__":
    images = wherry.Store(sys.argv[2]).images()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        for image, (same, found, names) in zip(images, pool.map_async(look, images).get(40)):
            assert (same, found, names) == (image, image.id, ["a"])
    print(len(images), "of", images[0].store)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_process_reads_the_image_that_it_is_given(
    fake: FakeRegistry, client: wherry.Client, tmp_path: Path, method: str
) -> None:
    fake.add_image("team/one", ONE, "1.0")
    store = client.pull(f"{fake.host}/team/one:1.0").store
    script = tmp_path / "workers.py"
    script.write_text(WORKER)
    command = [sys.executable, str(script), method, str(store.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (f"1 of <Store {store.path}>\n", "")


def test_a_copy_of_a_store_keeps_its_place_and_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = wherry.Store("images", limits=types.Limits(blob=7))
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own
    assert again.path == store.path == tmp_path / "images"
    assert again._limits == store._limits  # noqa: SLF001 - no call shows it
    assert {again, store, copy.deepcopy(store)} == {store}
    assert store != wherry.Store(tmp_path / "other")
