"""Directories in which commands run under faults, and checks of the result."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from checking import DATABASE, blob_path
from wherry.testing import build_image, pseudo_random_files, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from wherry.testing import FakeRegistry
    from wherry.testing.images import BuiltImage

APP, NEW, OLD, GIVEN = (
    build_image([tar_layer(pseudo_random_files(seed + n, 9000, 2)) for n in range(2)])
    for seed in (10, 20, 30, 40)
)
# Large enough that the store keeps the address of its upload.
PUSHED = build_image([tar_layer(pseudo_random_files(50, 1_200_000, 1))])
LAYER = tar_layer({"etc/motd": b"hello\n"})
PASSWORD = "correct horse"


class World:
    """A directory with a store and files, made once and copied for each run."""

    def __init__(self, path: Path, registry: FakeRegistry, store: str = "store") -> None:
        self.path = path
        self.registry = registry
        self.store = path / store

    def name(self, repository: str) -> str:
        """Return a name in the registry."""
        return f"{self.registry.host}/{repository}:1"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of the command."""
        return {
            "HOME": str(self.path),
            "WHERRY_STORE": str(self.store),
            "REGISTRY_AUTH_FILE": str(self.path / "auth.json"),
            "PATH": os.environ["PATH"],
            "SOURCE_DATE_EPOCH": "1700000000",
        } | dict(more or {})

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command in this world."""
        return subprocess.run(
            [sys.executable, "-m", "wherry", *arguments],
            cwd=self.path,
            env=self.environment(env),
            input=PASSWORD,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def must(self, *arguments: str) -> None:
        """Run the command and check that it succeeds."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr

    def copy(self, path: Path) -> World:
        """Return a copy of this world at `path`."""
        if path.exists():
            shutil.rmtree(path)
        shutil.copytree(self.path, path, symlinks=True)
        return World(path, self.registry, str(self.store.relative_to(self.path)))

    def contents(self) -> dict[str, bytes]:
        """Return all blobs that the store may contain, by digest."""
        return {
            digest: data
            for image in (APP, NEW, OLD, GIVEN, PUSHED)
            for digest, data in blobs_of(image).items()
        }

    def names(self) -> dict[str, str]:
        """Return the names of the store with their manifests, read with SQLite only."""
        if not (self.store / DATABASE).exists():
            return {}
        connection = sqlite3.connect(self.store / DATABASE, timeout=30)
        try:
            return dict(connection.execute("SELECT name, manifest FROM refs"))
        except sqlite3.OperationalError:  # no such table: creating the database failed
            return {}
        finally:
            connection.close()


def blobs_of(image: BuiltImage) -> dict[str, bytes]:
    """Return the manifest, config and layers of an image, by digest."""
    return {piece.digest: piece.data for piece in image.blobs()} | {
        image.digest: image.manifest.data
    }


def make(path: Path, registry: FakeRegistry) -> World:
    """Make the initial world of all runs."""
    path.mkdir()
    world = World(path, registry)
    for repository, image in (("app", APP), ("new", NEW), ("old", OLD), ("given", GIVEN)):
        registry.add_image(repository, image, "1")
    (path / "layer.tar").write_bytes(LAYER)
    (path / "auth.json").write_text(json.dumps({"auths": {"kept.example": {"auth": "eDp5"}}}))
    (path / "old.tar").write_text("an archive of before")
    given, other = world.name("given"), ("--store", str(path / "other"))
    world.must("pull", "-q", world.name("app"))
    world.must("pull", "-q", world.name("old"))
    world.must("tag", world.name("app"), "mine:1")
    world.must(*other, "pull", "-q", given)
    world.must(*other, "save", "-q", "--format", "oci-archive", "-o", "given.tar", given)
    shutil.rmtree(path / "other")
    return world


class Command(NamedTuple):
    """A command, its preparation, and the check of its result.

    `done` returns what is missing from the result; `gone` are the names that it may remove.
    """

    name: str
    arguments: Callable[[World], Sequence[str]]
    done: Callable[[World], Sequence[str]]
    gone: Sequence[str] = ()
    output: str = ""
    prepare: Callable[[World], object] = lambda _world: None
    store: str = "store"


def has_names(*wanted: str) -> Callable[[World], Sequence[str]]:
    """Return a check that the database has names."""

    def look(world: World) -> list[str]:
        found = world.names()
        return [f"there is no {name}" for name in wanted if _full(world, name) not in found]

    return look


def lacks_names(*unwanted: str) -> Callable[[World], Sequence[str]]:
    """Return a check that the database lacks names."""

    def look(world: World) -> list[str]:
        found = world.names()
        return [f"there still is {name}" for name in unwanted if _full(world, name) in found]

    return look


def _full(world: World, name: str) -> str:
    if ":" in name:
        return f"docker.io/library/{name}"
    return world.name(name)


def lacks_blobs(*unwanted: str) -> Callable[[World], Sequence[str]]:
    """Return a check that the store lacks blobs."""

    def look(world: World) -> list[str]:
        return [f"there still is {d}" for d in unwanted if blob_path(world.store, d).exists()]

    return look


def has_output(name: str) -> Callable[[World], Sequence[str]]:
    """Compare the output with that of a run without faults."""

    def look(world: World) -> list[str]:
        good = tree(world.path / f"{name}.expected")
        return [] if tree(world.path / name) == good else [f"{name} is not complete"]

    return look


def tree(path: Path) -> dict[str, str]:
    """Return the hash of each file at or below a path."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


def has_login(world: World) -> list[str]:
    """Check that auth.json has the new entry and still has the old one."""
    auths = json.loads((world.path / "auth.json").read_text())["auths"]
    lacking = {"kept.example", world.registry.host} - auths.keys()
    return [f"auth.json has no {name}" for name in sorted(lacking)]


def lacks_login(world: World) -> list[str]:
    """Check that auth.json lacks the removed entry and still has the old one."""
    found = sorted(json.loads((world.path / "auth.json").read_text())["auths"])
    return [] if found == ["kept.example"] else [f"auth.json has {found}"]


def pull_once(world: World) -> None:
    """Pull an image that the registry loses afterwards, so that its blobs cannot be mounted."""
    world.registry.add_image("large", PUSHED, "1")
    world.must("pull", "-q", world.name("large"))
    empty(world.registry, "large")


def empty(registry: FakeRegistry, repository: str) -> None:
    """Remove all content of a repository."""
    for digest in [*registry.blobs]:
        if registry.has_blob(repository, digest):
            registry.delete_blob(repository, digest)
    for documents in (registry.manifests, registry.tags):
        documents.pop(repository, None)


def push_anew(world: World) -> Sequence[str]:
    """Return the arguments of a push to a repository that is empty again."""
    empty(world.registry, "pushed")
    return ("push", "-q", world.name("large"), world.name("pushed"))


def is_pushed(world: World) -> list[str]:
    """Check that the registry has an image with all its blobs."""
    registry = world.registry
    wanted = [piece.digest for piece in PUSHED.blobs()]
    lacking = [digest for digest in wanted if not registry.has_blob("pushed", digest)]
    named = registry.tags.get("pushed", {}) == {"1": PUSHED.digest}
    return [f"the registry has no {digest}" for digest in lacking] + ["no tag"] * (not named)


def nothing(_world: World) -> list[str]:
    """Check nothing."""
    return []


def _save(form: str, output: str) -> Command:
    return Command(
        f"save-{form}",
        lambda world: ("save", "-q", "--format", form, "-o", output, world.name("app")),
        has_output(output),
        output=output,
    )


def _copy(name: str, target: str, output: str) -> Command:
    return Command(
        f"copy-{name}",
        lambda world: ("copy", "-q", world.name("new"), target),
        has_output(output),
        output=output,
    )


def has_layout(*names: str) -> Callable[[World], Sequence[str]]:
    """Return a check that `layout` has names, and whole blobs."""

    def look(world: World) -> list[str]:
        path = world.path / "layout"
        entries = json.loads((path / "index.json").read_text())["manifests"]
        found = {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries}
        blobs = [file for file in path.rglob("*") if file.parent.name == "sha256"]
        wrong = [f for f in blobs if hashlib.sha256(f.read_bytes()).hexdigest() != f.name]
        lacking = {entry["digest"][7:] for entry in entries} - {file.name for file in blobs}
        problems = [f"{file} is damaged" for file in wrong] + sorted(lacking)
        return problems + [f"there is no {name}" for name in names if name not in found]

    return look


def has_flat(image: BuiltImage) -> Callable[[World], Sequence[str]]:
    """Return a check that the directory `flat` has an image, and maybe files of another."""

    def look(world: World) -> list[str]:
        wanted = {digest[7:]: data for digest, data in blobs_of(image).items()}
        wanted["manifest.json"] = wanted.pop(image.digest[7:])
        found = {file.name: file.read_bytes() for file in (world.path / "flat").iterdir()}
        return [] if wanted.items() <= found.items() else [f"flat has {sorted(found)}"]

    return look


COMMANDS = {
    command.name: command
    for command in (
        Command("pull", lambda world: ("pull", "-q", world.name("new")), has_names("new")),
        Command(
            "pull-into-a-new-store",
            lambda world: ("pull", "-q", world.name("new")),
            has_names("new"),
            prepare=lambda world: shutil.rmtree(world.store),
            store="deep/down/store",
        ),
        Command("load", lambda _: ("load", "-q", "-i", "given.tar"), has_names("given")),
        Command("import", lambda _: ("import", "layer.tar", "made:1"), has_names("made:1")),
        _save("docker", "old.tar"),
        _save("oci-archive", "new.tar"),
        _save("oci", "layout"),
        _save("dir", "flat"),
        _copy("docker-archive", "docker-archive:old.tar:app:1", "old.tar"),
        _copy("oci-archive", "oci-archive:new.tar:app:1", "new.tar"),
        _copy("oci", "oci:layout:t1", "layout"),
        _copy("dir", "dir:flat", "flat"),
        Command(
            "copy-into-a-layout",
            lambda world: ("copy", "-q", world.name("new"), "oci:layout:t2"),
            has_layout("t1", "t2"),
            prepare=lambda world: world.must("copy", "-q", world.name("app"), "oci:layout:t1"),
        ),
        Command(
            "copy-over-a-directory",
            lambda world: ("copy", "-q", world.name("new"), "dir:flat"),
            has_flat(NEW),
            prepare=lambda world: world.must("copy", "-q", world.name("app"), "dir:flat"),
        ),
        Command(
            "unpack-over-a-directory",
            lambda world: ("unpack", "-q", "--replace", f"docker://{world.name('new')}", "root"),
            has_output("root"),
            output="root",
            prepare=lambda world: world.must("unpack", "-q", f"store:{world.name('app')}", "root"),
        ),
        Command(
            "export",
            lambda world: ("export", "-q", world.name("app"), "-o", "root.tar"),
            has_output("root.tar"),
            output="root.tar",
        ),
        Command("tag", lambda world: ("tag", world.name("app"), "more:1"), has_names("more:1")),
        Command("untag", lambda _: ("untag", "mine:1"), lacks_names("mine:1"), gone=("mine",)),
        Command("rm", lambda world: ("rm", world.name("old")), lacks_names("old"), gone=("old",)),
        Command(
            "gc",
            lambda _: ("gc",),
            lacks_blobs(*blobs_of(OLD)),
            prepare=lambda world: world.must("untag", world.name("old")),
            gone=("old",),
        ),
        Command("fsck", lambda _: ("fsck",), nothing),
        Command("rebuild", lambda _: ("fsck", "--rebuild"), has_names("app", "old", "mine:1")),
        Command(
            "rebuild-of-a-lost-database",
            lambda _: ("fsck", "--rebuild"),
            has_names("app", "old", "mine:1"),
            prepare=lambda world: (world.store / DATABASE).unlink(),
        ),
        Command(
            "login",
            lambda world: ("login", "-u", "me", "--password-stdin", world.registry.host),
            has_login,
        ),
        Command(
            "logout",
            lambda world: ("logout", world.registry.host),
            lacks_login,
            prepare=lambda world: world.must(
                "login", "-u", "me", "--password-stdin", world.registry.host
            ),
        ),
        Command(
            "blob",
            lambda world: ("blob", "-o", "blob", world.name("app"), APP.layers[0].digest),
            has_output("blob"),
            output="blob",
        ),
        Command(
            "push",
            push_anew,
            is_pushed,
            prepare=pull_once,
        ),
    )
}
