"""A tour of wherry: pull an image, look at it, push and copy it, and refuse a damaged layer.

The registry is a `wherry.testing.FakeRegistry` in this process, and the image is made from files
of this machine, so the tour needs no network.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import wherry
from wherry.testing import BuiltImage, Corrupt, FakeRegistry, Fault, build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterable

LAYER_BYTES = 16_000_000  # of files, before compression
_BOLD, _PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")


def main() -> None:
    """Run all steps; exit with 1 if one of them fails."""
    with tempfile.TemporaryDirectory(prefix="wherry-demo-") as directory:
        tell("wherry: container images from Python, without a daemon or root")
        image = make_image()
        with FakeRegistry() as registry:
            registry.add_image("demo/tour", image, "1.0")
            Tour(registry, image, Path(directory)).walk()


class Tour:
    """The steps of the tour. Each one checks what it shows."""

    def __init__(self, registry: FakeRegistry, image: BuiltImage, directory: Path) -> None:
        self.registry = registry
        self.image = image
        self.directory = directory
        self.name = f"{registry.host}/demo/tour:1.0"
        self.environment = environment(directory)

    def walk(self) -> None:
        self.first_pull()
        self.look()
        self.second_pull()
        self.from_python()
        self.push()
        self.corrupted()
        tell("That is the tour. Next: wherry pull --help, README.md")

    def first_pull(self) -> None:
        tell("1. Pull it: every blob is hashed, every layer is decompressed and verified")
        started = time.monotonic()
        result = self.wherry("pull", self.name)
        check(result.returncode == 0, "the pull works")
        check(result.stdout.strip() == self.image.id, "and prints the id that the image has")
        say(f"   {len(self.registry.requests)} requests, {time.monotonic() - started:.1f} s")

    def look(self) -> None:
        tell("2. List and show the images in the store")
        self.wherry("images")
        self.wherry("show", self.name)

    def second_pull(self) -> None:
        tell("3. Pull it again: one request, no download")
        self.registry.clear()
        result = self.wherry("pull", self.name)
        methods = [request.method for request in self.registry.requests]
        say(f"   the registry saw: {' '.join(methods)}")
        check("up to date" in result.stderr and methods == ["HEAD"], "the image is up to date")

    def from_python(self) -> None:
        tell("4. Do the same in Python")
        store = wherry.Store(self.directory / "store")
        say(">>> image = store.get(name)")
        image = store.get(self.name)
        say(">>> image.config.entrypoint, len(image.layers)")
        say(repr((image.config.entrypoint, len(image.layers))))
        say(">>> with image.layers[0].open_tar() as tar: len(tar.getnames())")
        with image.layers[0].open_tar() as tar:
            say(repr(len(tar.getnames())))
        check(str(image.id) == self.image.id, "store and registry agree")
        store.close()

    def push(self) -> None:
        tell("5. Push it under another name: see the plan first; no layer is sent twice")
        mirror = f"{self.registry.host}/mirror/tour:1.0"
        self.wherry("push", "--dry-run", self.name, mirror)
        self.registry.clear()
        result = self.wherry("push", self.name, mirror)
        check(result.stdout.strip() == self.image.digest, "the digest stays the same")
        bodies = [each.method for each in self.registry.requests if each.method == "PATCH"]
        check(not bodies, "the registry mounted the layers from the other repository")
        with FakeRegistry() as other:
            tell("6. Copy it to another registry, without the store")
            result = self.wherry("copy", mirror, f"{other.host}/team/tour:1.0")
            check(other.tags["team/tour"] == {"1.0": self.image.digest}, "it has the image now")

    def corrupted(self) -> None:
        tell("7. A proxy changes one byte of a layer: the pull fails, and the image gets no name")
        layer = max(self.image.layers, key=lambda piece: piece.size)
        self.registry.inject(Fault(Corrupt(at=layer.size // 2), path=layer.digest))
        other = self.directory / "other-store"
        result = self.wherry("pull", self.name, store=other)
        check(result.returncode == 5, "exit code 5: integrity")  # noqa: PLR2004
        check(not wherry.Store(other).images(), "the store holds no image")

    def wherry(
        self, *arguments: str, store: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command, show what it prints, and return it."""
        say(f"{_BOLD}$ wherry {shlex.join(arguments)}{_PLAIN}")
        result = subprocess.run(  # noqa: S603 - the command of this installation
            [sys.executable, "-m", "wherry", *arguments],
            env=self.environment | {"WHERRY_STORE": str(store or self.directory / "store")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        for line in (result.stderr + result.stdout).splitlines():
            say(line)
        return result


def environment(home: Path) -> dict[str, str]:
    """Return the environment without the settings of this machine's user."""
    settings = ("WHERRY_", "DOCKER_", "CONTAINERS_", "REGISTRY_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    return kept | {"HOME": str(home)}


def make_image() -> BuiltImage:
    """Build an image with three layers from installed files."""
    tell("0. Build an image from files of this machine")
    library = Path(sysconfig.get_path("stdlib"))
    packages = Path(sysconfig.get_path("purelib"))
    script = b"#!/bin/sh\nexec /opt/python/bin/python3 -m this\n"
    tars = [
        tar_layer(dict(files(library, "opt/python/lib", skip="site-packages"))),
        tar_layer(dict(files(packages, "opt/python/site-packages"))),
        tar_layer({"app": None, "app/start": script}),
    ]
    image = build_image(tars, entrypoint=["/app/start"], env=["LANG=C.UTF-8"])
    for piece in image.layers:
        say(f"   layer {piece.digest[7:19]}  {piece.size / 1e6:6.1f} MB")
    return image


def files(root: Path, prefix: str, skip: str = "") -> Iterable[tuple[str, bytes]]:
    """Yield files below a directory in order, up to the wanted size."""
    left = LAYER_BYTES
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink() or (skip and skip in path.parts):
            continue
        data = path.read_bytes()
        yield f"{prefix}/{path.relative_to(root)}", data
        left -= len(data)
        if left <= 0:
            return


def tell(text: str) -> None:
    say(f"\n{_BOLD}{text}{_PLAIN}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def check(holds: bool, claim: str) -> None:  # noqa: FBT001 - the result of the check
    """Print the claim if it holds, else end the tour."""
    say(f"   {'ok' if holds else 'FAILED'}: {claim}")
    if not holds:
        sys.exit(1)


if __name__ == "__main__":
    main()
