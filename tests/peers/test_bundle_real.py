"""Bundles run with crun and runc, and compared with those of umoci and runc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trees import member, tar
from wherry.testing import build_image, find_binary, layout_files, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry import Client

    Peer = Callable[..., str]
    Run = Callable[[str, Path], list[str]]

IS_ROOT = os.geteuid() == 0
HYBRID = Path("/sys/fs/cgroup/unified")
WITHOUT_VERSION_2 = ["unshare", "-m", "sh", "-c", f'umount -l {HYBRID} && exec "$@"', "sh"]
MOUNT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"tmpfs", b"/sys/fs/cgroup", b"tmpfs", 0, None):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""
WITHOUT_CGROUPS = [
    *("unshare", "--map-current-user", "--keep-caps", "-m"),
    *(sys.executable, "-c", MOUNT),
]
PROGRAM = r"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

extern char **environ;

static int can_write(const char *path) { return open(path, O_WRONLY | O_CREAT, 0600) >= 0; }

int main(int count, char **arguments) {
    char directory[4096];
    gid_t groups[64];
    for (int i = 1; i < count; i++) printf("argument %s\n", arguments[i]);
    for (char **each = environ; *each; each++) printf("variable %s\n", *each);
    printf("directory %s\n", getcwd(directory, sizeof directory));
    printf("user %d:%d\n", getuid(), getgid());
    count = getgroups(64, groups);
    for (int i = 0; i < count; i++) if (groups[i] != getgid()) printf("group %d\n", groups[i]);
    printf("volume %d %d\n", access("/data/seed", R_OK) == 0, can_write("/data/new"));
    printf("root %d\n", can_write("/place/new"));
    return 0;
}
"""
FILES = {
    "etc/passwd": b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
    "etc/group": b"root:x:0:\napp:x:1001:\nextra:x:20:other,app\nwheel:x:10:root\n",
}
LABELS = {"own": "1", "org.opencontainers.image.title": "a title"}
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A static program that prints what it finds."""
    place = tmp_path_factory.mktemp("program")
    (place / "show.c").write_text(PROGRAM, encoding="ascii")
    subprocess.run(["gcc", "-static", "-o", place / "show", place / "show.c"], check=True)
    return (place / "show").read_bytes()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can reach, since a user namespace may have no root of here."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def layer(program: bytes) -> bytes:
    owner: dict[str, Any] = {"uid": 1000, "gid": 1001}
    return tar(
        (member("show", mode=0o755), program),
        *((member(name, mode=0o644), content) for name, content in FILES.items()),
        member("data", tarfile.DIRTYPE, mode=0o700, **owner),
        (member("data/seed", mode=0o600, **owner), b"seed"),
        member("place", tarfile.DIRTYPE, mode=0o755, **owner),
    )


def address(place: Path, files: bytes, **settings: Any) -> str:
    image = build_image([files], config_extra={"config": settings, "author": "me"})
    write_files(place / "layout", layout_files({"x": image}))
    return f"oci:{place / 'layout'}:x"


def start(runtime: str, bundle: Path) -> subprocess.CompletedProcess[str]:
    command = [find_binary(runtime) or runtime, "--root", str(bundle.parent / "state")]
    if runtime == "crun" and HYBRID.is_mount():
        # Crun refuses a machine with version 2 of cgroups beside version 1.
        command = [*(WITHOUT_VERSION_2 if IS_ROOT else WITHOUT_CGROUPS), *command]
    return subprocess.run(
        [*command, "run", "--bundle", bundle, f"wherry-{os.getpid()}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def run(program: bytes, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a bundle, and return what the program prints; skip if nothing can run here."""
    refused: dict[str, str] = {}

    def probe(runtime: str) -> str:
        """Return why a runtime does not run a bundle that runc made; empty if it does."""
        bundle = tmp_path_factory.mktemp("probe") / "bundle"
        (bundle / "rootfs").mkdir(parents=True)
        (bundle / "rootfs" / "sh").write_bytes(program)
        (bundle / "rootfs" / "sh").chmod(0o755)
        document = runc_spec(bundle, rootless=not IS_ROOT)
        document["process"] |= {"args": ["/sh"], "terminal": False}
        (bundle / "config.json").write_text(json.dumps(document), encoding="utf-8")
        done = start(runtime, bundle)
        return "" if done.returncode == 0 else done.stderr.strip()

    def call(runtime: str, bundle: Path) -> list[str]:
        if runtime not in refused:
            refused[runtime] = probe(runtime)
        if refused[runtime]:
            pytest.skip(f"{runtime} runs no container here: {refused[runtime]}")
        done = start(runtime, bundle)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return call


def runc_spec(directory: Path, *, rootless: bool) -> dict[str, Any]:
    options = ["--rootless"] if rootless else []
    runc = find_binary("runc") or "runc"
    subprocess.run([runc, "spec", *options, "--bundle", directory], check=True)
    found: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    (directory / "config.json").unlink()
    return found


def config_of(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.peer("crun", "runc", "gcc")
@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize("kind", ["root", "mapped", "rootless"])
def test_a_runtime_runs_it(
    client: Client, run: Run, program: bytes, place: Path, runtime: str, kind: str
) -> None:
    if not IS_ROOT and kind != "rootless":
        pytest.skip("only root has other users")
    made = address(
        place,
        layer(program),
        Entrypoint=["/show", "one"],
        Cmd=["two words", "é"],
        Env=["A=b c"],
        User="app",
        WorkingDir="/place",
        Volumes={"/data": {}},
    )
    ranges = [(0, 100_000, 65_536)] if kind == "mapped" else []
    is_rootless = IS_ROOT and kind == "rootless"
    client.unpack(
        made, place / "box", bundle=True, rootless=is_rootless, uid_map=ranges, gid_map=ranges
    )
    assert run(runtime, place / "box") == [
        "argument one",
        "argument two words",
        "argument é",
        f"variable {PATH}",
        "variable A=b c",
        "variable HOME=/home/app",
        "directory /place",
        *(["user 0:0"] if kind == "rootless" else ["user 1000:1001", "group 20"]),
        "volume 1 1",
        "root 1",
    ]
    # The files of the volume are not in the root file system.
    assert (place / "box" / "rootfs" / "place" / "new").exists()
    assert not (place / "box" / "rootfs" / "data" / "new").exists()


@pytest.mark.peer("umoci")
@pytest.mark.parametrize("rootless", [False, True])
@pytest.mark.parametrize("user", ["", "app", "1000", "app:extra", "77", "77:88", "0"])
def test_umoci_makes_the_same_of_a_config(
    client: Client, umoci: Peer, tmp_path: Path, user: str, *, rootless: bool
) -> None:
    if not (IS_ROOT or rootless):
        pytest.skip("only root makes other bundles")
    made = address(
        tmp_path,
        layer(b""),
        Entrypoint=["/e"],
        Cmd=["c"],
        Env=["A=b"],
        User=user,
        Labels=LABELS,
        StopSignal="SIGINT",
        ExposedPorts={"80/tcp": {}},
        Volumes={"/data": {}},
        WorkingDir="/place",
    )
    options = ["--rootless"] if rootless else []
    umoci("unpack", *options, "--image", made.removeprefix("oci:"), tmp_path / "theirs")
    client.unpack(made, tmp_path / "ours", bundle=True, rootless=rootless)
    ours, theirs = config_of(tmp_path / "ours"), config_of(tmp_path / "theirs")
    theirs["process"]["env"].remove("TERM=xterm")
    for name in ("args", "cwd", "env"):
        assert ours["process"][name] == theirs["process"][name], name
    assert ours["annotations"] == theirs["annotations"]
    assert {each["destination"] for each in theirs["mounts"]} - {"/etc/resolv.conf"} <= {
        each["destination"] for each in ours["mounts"]
    }
    if rootless:  # runc would refuse other users and further groups
        assert ours["process"]["user"] == {"uid": 0, "gid": 0}
        for name in ("uidMappings", "gidMappings"):
            assert ours["linux"][name] == theirs["linux"][name]
    else:
        assert ours["process"]["user"] == theirs["process"]["user"]


@pytest.mark.peer("runc")
@pytest.mark.parametrize("rootless", [False, True])
def test_all_else_is_that_of_runc(client: Client, tmp_path: Path, *, rootless: bool) -> None:
    if not (IS_ROOT or rootless):
        pytest.skip("only root makes other bundles")
    made = address(tmp_path, layer(b""), User="77")
    client.unpack(made, tmp_path / "box", bundle=True, rootless=rootless)
    ours, theirs = config_of(tmp_path / "box"), runc_spec(tmp_path, rootless=rootless)
    # docs/command.md, "Bundle", has these differences.
    del ours["annotations"], theirs["root"]["readonly"], ours["ociVersion"], theirs["ociVersion"]
    assert (ours.pop("hostname"), theirs.pop("hostname")) == ("wherry", "runc")
    theirs["process"]["capabilities"].pop("ambient", None)
    theirs["process"]["terminal"] = False
    theirs["process"]["env"].remove("TERM=xterm")
    ours["process"]["user"]["uid"] = 0
    for document in (ours, theirs):
        spaces = {each["type"] for each in document["linux"]["namespaces"]} | {"cgroup"}
        document["linux"]["namespaces"] = spaces
    assert ours == theirs
