"""A tour of wherry: serve a registry, push and pull an image, mirror it, refuse a damaged layer.

The registries are `wherry serve` processes, and the image is made from files of this machine, so
the tour needs no network.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

import wherry
from wherry.testing import BuiltImage, build_image, layout_files, tar_layer, write_files

if TYPE_CHECKING:
    from collections.abc import Iterable

LAYER_BYTES = 16_000_000  # of files, before compression
_BOLD, _PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")


def main() -> None:
    """Run all steps; exit with 1 if one of them fails."""
    with tempfile.TemporaryDirectory(prefix="wherry-demo-") as directory:
        tell("wherry: container images from Python, without a daemon or root")
        Tour(make_image(), Path(directory)).walk()


class Tour:
    """The steps of the tour. Each one checks what it shows."""

    def __init__(self, image: BuiltImage, directory: Path) -> None:
        self.image = image
        self.directory = directory
        self.environment = environment(directory)

    def walk(self) -> None:
        write_files(self.directory / "image", layout_files({"1.0": self.image}))
        tell("1. Serve an empty store as a registry")
        with self.serve("registry") as first:
            name = f"{first.host}/demo/tour:1.0"
            self.first_push(name)
            self.first_pull(name)
            self.look(name)
            self.second_pull(name)
            self.from_python(name)
            self.push(name, f"{first.host}/mirror/tour:1.0")
            self.page(first)
            tell("9. Serve another store, which fetches from the first registry what it lacks")
            with self.serve("mirror", "--proxy", first.host) as mirror:
                through = f"{mirror.host}/{first.host.replace(':', '_')}/demo/tour:1.0"
                self.pull_through(through, "laptop")
                self.corrupted(name)
                tell("11. The first registry ends; the other one still has the image")
                first.end()
                self.pull_through(through, "desktop")
        tell("That is the tour. Next: wherry pull --help, README.md, docs/serve.md")

    def first_push(self, name: str) -> None:
        tell("2. Push the image from an OCI layout")
        result = self.wherry("copy", f"oci:{self.directory / 'image'}:1.0", name)
        check(result.stdout.strip() == self.image.digest, "the registry has it, byte for byte")

    def first_pull(self, name: str) -> None:
        tell("3. Pull it: every blob is hashed, every layer is decompressed and verified")
        started = time.monotonic()
        result = self.wherry("pull", name)
        check(result.returncode == 0, "the pull works")
        check(result.stdout.strip() == self.image.id, "and prints the id that the image has")
        say(f"   {time.monotonic() - started:.1f} s")

    def look(self, name: str) -> None:
        tell("4. List and show the images in the store")
        self.wherry("images")
        self.wherry("show", name)

    def second_pull(self, name: str) -> None:
        tell("5. Pull it again: one request, no download")
        result = self.wherry("-v", "pull", name)
        requests = [line for line in result.stderr.splitlines() if "/v2/" in line]
        check("up to date" in result.stderr, "the image is up to date")
        check(len(requests) == 1 and "HEAD" in requests[0], "one HEAD was enough")

    def from_python(self, name: str) -> None:
        tell("6. Do the same in Python")
        store = wherry.Store(self.directory / "store")
        say(">>> image = store.get(name)")
        image = store.get(name)
        say(">>> image.config.entrypoint, len(image.layers)")
        say(repr((image.config.entrypoint, len(image.layers))))
        say(">>> with image.layers[0].open_tar() as tar: len(tar.getnames())")
        with image.layers[0].open_tar() as tar:
            say(repr(len(tar.getnames())))
        check(str(image.id) == self.image.id, "store and registry agree")
        store.close()

    def push(self, name: str, other: str) -> None:
        tell("7. Push it under another name: see the plan first; no layer is sent twice")
        self.wherry("push", "--dry-run", name, other)
        result = self.wherry("push", name, other)
        check(result.stdout.strip() == self.image.digest, "the digest stays the same")
        check(result.stderr.count("Mounted from") == len(self.image.layers), "no layer was sent")

    def page(self, registry: Server) -> None:
        tell("8. Look at the registry in a browser: a page for people, without scripts")
        url = f"http://{registry.host}/"
        say(f"   {url}")
        with urllib.request.urlopen(url) as answer:
            check("mirror/tour" in answer.read().decode(), "it lists both repositories")

    def pull_through(self, name: str, store: str) -> None:
        result = self.wherry("pull", "-q", name, store=self.directory / store)
        check(result.stdout.strip() == self.image.id, "the image comes from the second registry")

    def corrupted(self, name: str) -> None:
        tell("10. A byte of a layer changes on the first registry's disk: pulls fail")
        layer = max(self.image.layers, key=lambda piece: piece.size)
        path = self.directory / "registry" / "blobs" / layer.digest.replace(":", "/")
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.seek(layer.size // 2)
            byte = file.read(1)
            file.seek(layer.size // 2)
            file.write(bytes([byte[0] ^ 1]))
        other = self.directory / "other-store"
        result = self.wherry("pull", name, store=other)
        check(result.returncode == 5, "exit code 5: integrity")  # noqa: PLR2004
        check(not wherry.Store(other).images(), "the store holds no image")

    def serve(self, store: str, *options: str) -> Server:
        """Serve a store on a free port."""
        say(f"{_BOLD}$ wherry {shlex.join(['--store', store, 'serve', *options])}{_PLAIN}")
        path = str(self.directory / store)
        command = [sys.executable, "-m", "wherry", "--store", path, "serve", *options]
        return Server([*command, "--listen", "127.0.0.1:0"], self.environment)

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


class Server:
    """A registry in a process of its own, until the end of a block."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the command of this installation
            command, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None  # noqa: S101 - a pipe
        self._messages = self._process.stderr
        line = self._messages.readline().rstrip()
        say(line)
        found = re.search(r"http://([0-9.:]+)", line)
        check(found is not None, "it accepts connections")
        self.host = found[1] if found else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process; idempotent."""
        self._process.terminate()
        self._process.wait()
        self._messages.close()


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
