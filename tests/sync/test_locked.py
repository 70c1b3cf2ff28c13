"""`pull --locked` and `copy --locked`: names stand for the digests in a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import wherry as library
from index_images import IMAGE, INDEX
from wherry.errors import NotFound
from wherry.sync.lock_file import Lock
from wherry.testing import build_image, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client
    from wherry.testing import FakeRegistry

MOVED = build_image([tar_layer({"a": b"3"})])


@pytest.fixture
def lock(fake: FakeRegistry, client: Client, tmp_path: Path) -> Path:
    """A lock of two images, one of which has moved since."""
    fake.add_image("app", INDEX, "1")
    fake.add_image("tool", IMAGE, "latest")
    file = tmp_path / "images.toml"
    sources = (f'[[images]]\nsource = "{fake.host}/{name}"' for name in ("app:1", "tool:latest"))
    file.write_text("\n".join(sources))
    client.lock(file)
    fake.add_image("app", MOVED, "1")
    fake.clear()
    return tmp_path / "images.lock"


def test_a_pull_takes_the_digest_of_the_lock(
    fake: FakeRegistry, client: Client, lock: Path
) -> None:
    name = f"{fake.host}/app:1"
    image = client.pull(name, locked=lock)
    assert str(image.digest) == INDEX.digest
    assert str(client.store.get(name).digest) == INDEX.digest
    assert not [each for each in fake.requests if each.path.endswith("/manifests/1")]
    assert str(client.pull(name).digest) == MOVED.digest
    fake.clear()
    assert str(client.pull(name, locked=Lock.read_existing(lock)).digest) == INDEX.digest
    assert not [each for each in fake.requests if "/manifests/" in each.path]
    assert str(client.store.get(name).digest) == INDEX.digest


def test_a_digest_that_is_gone_is_not_replaced_by_the_tag(
    fake: FakeRegistry, client: Client, lock: Path
) -> None:
    fake.manifests["app"].pop(INDEX.digest)
    for legacy in (False, True):
        with library.Client(store=client.store, legacy=legacy) as other:  # without its cache
            with pytest.raises(NotFound):
                other.pull(f"{fake.host}/app:1", locked=lock)
            with pytest.raises(NotFound):
                other.copy(f"{fake.host}/app:1", f"{fake.host}/copied:1", locked=lock)
    assert client.store.images() == []


def test_a_copy_takes_the_digest_of_the_lock(
    fake: FakeRegistry, client: Client, lock: Path
) -> None:
    plan = client.plan_copy(f"{fake.host}/app:1", f"{fake.host}/planned:1", locked=lock)
    copied = client.copy(
        f"{fake.host}/app:1", f"{fake.host}/copied:1", all_platforms=True, locked=lock
    )
    assert str(copied.root.digest) == INDEX.digest == fake.tags["copied"]["1"]
    assert str(plan.execute(client).root.digest) == IMAGE.digest
    client.pull(f"{fake.host}/copied:1")
    client.copy(f"store:{fake.host}/copied:1", f"{fake.host}/again:1", locked=lock)


def test_what_the_lock_does_not_have_is_not_moved(
    fake: FakeRegistry, client: Client, lock: Path
) -> None:
    for name in ("app", "app:2", "other:1"):
        with pytest.raises(NotFound, match=f"/{name}(:latest)? is not locked"):
            client.pull(f"{fake.host}/{name}", locked=lock)
        with pytest.raises(NotFound, match=f"/{name}(:latest)? is not locked"):
            client.copy(f"{fake.host}/{name}", "oci:layout", locked=lock)
    assert fake.requests == []


class TestCommand:
    def test_everything_in_the_lock_is_pulled(
        self, wherry: Wherry, fake: FakeRegistry, client: Client, lock: Path
    ) -> None:
        done = wherry("pull", "-q", "--locked", str(lock))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{IMAGE.id}\n" * 2
        assert str(client.store.get(f"{fake.host}/app:1").digest) == INDEX.digest

    def test_named_images_are_pulled_if_all_are_locked(
        self, wherry: Wherry, fake: FakeRegistry, lock: Path
    ) -> None:
        named = [f"--locked={lock}", f"{fake.host}/tool"]
        done = wherry("pull", "-q", *named, f"{fake.host}/app:2")
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == (
            f"wherry: {fake.host}/app:2 is not locked\n"
            "  `wherry lock` locks what images.toml names\n"
        )
        assert fake.requests == []
        assert wherry("pull", "-q", *named).stdout == f"{IMAGE.id}\n"

    def test_the_default_is_the_lock_of_this_directory(
        self,
        wherry: Wherry,
        fake: FakeRegistry,
        lock: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(lock.parent)
        for more in (["--locked", f"{fake.host}/app:1"], [f"{fake.host}/app:1", "--locked"]):
            done = wherry("pull", "--dry-run", *more)
            assert (done.returncode, done.stderr) == (0, "")
            assert "2 documents; 1 name" in done.stdout  # the index and a manifest
        lock.unlink()
        done = wherry("pull", "--locked")
        assert done.returncode == 1
        assert done.stderr.startswith("wherry: images.lock: there is no such file\n")

    def test_copy_takes_the_lock_too(self, wherry: Wherry, fake: FakeRegistry, lock: Path) -> None:
        more = "--all-platforms", "--locked", str(lock)
        done = wherry("copy", "-q", *more, f"{fake.host}/app:1", f"{fake.host}/copied:1")
        assert (done.returncode, done.stdout) == (0, f"{INDEX.digest}\n")
        done = wherry("copy", "-q", *more, f"{fake.host}/app:2", f"{fake.host}/copied:2")
        assert (done.returncode, "app:2 is not locked" in done.stderr) == (3, True)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["pull", "-a", "--locked", "alpine"], "--all-tags cannot be combined"),
            (["copy", "--locked", "store:a", "b/c"], "--locked needs a SOURCE in a registry"),
            (["pull", "--", "--locked"], "invalid reference"),
        ],
    )
    def test_contradictions_are_refused(
        self,
        wherry: Wherry,
        lock: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
        words: str,
    ) -> None:
        monkeypatch.chdir(lock.parent)
        done = wherry(*arguments)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
