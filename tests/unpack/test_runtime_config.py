"""Runtime configs made from the configs of images, without files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wherry.errors import InvalidDocument, Unsupported
from wherry.model.config import ImageConfig, parse_config
from wherry.unpack.image_users import ContainerUser
from wherry.unpack.isolation import Isolation
from wherry.unpack.owners import IdRange, Owners
from wherry.unpack.runtime_config import (
    Volume,
    can_be_volume,
    has_command,
    runtime_config,
    unsafe_labels,
    volume_paths,
)

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAPPED = Owners(uids=(IdRange(0, 100_000, 65_536),), gids=(IdRange(0, 200_000, 10),))


def image(settings: dict[str, Any] | None = None, **more: Any) -> ImageConfig:
    document = {"os": "linux", "architecture": "arm64", "config": settings or {}} | more
    return parse_config(json.dumps({"rootfs": {"diff_ids": []}, **document}).encode())


def made(
    settings: dict[str, Any] | None = None,
    *,
    user: ContainerUser | None = None,
    isolation: Isolation | None = None,
    volumes: tuple[Volume, ...] = (),
    **more: Any,
) -> dict[str, Any]:
    found = image(settings, **more)
    return runtime_config(found, user or ContainerUser(), isolation or Isolation(), volumes)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "args"),
    [
        (["/e", "1"], ["c", "2"], ["/e", "1", "c", "2"]),
        (["/e"], None, ["/e"]),
        (None, ["/c"], ["/c"]),
        ([], ["/c"], ["/c"]),
        (None, ["é", ""], ["é", ""]),
        (None, None, ["sh"]),
        ([], [], ["sh"]),
    ],
)
def test_commands(entrypoint: list[str] | None, cmd: list[str] | None, args: list[str]) -> None:
    settings = {"Entrypoint": entrypoint, "Cmd": cmd}
    assert made(settings)["process"]["args"] == args
    assert has_command(image(settings)) == (args != ["sh"])


@pytest.mark.parametrize(
    ("env", "home", "found"),
    [
        ([], "", [PATH]),
        ([], "/root", [PATH, "HOME=/root"]),
        (["A=b", "C="], "/root", [PATH, "A=b", "C=", "HOME=/root"]),
        (["HOME=/own", "A=1=2"], "/root", [PATH, "HOME=/own", "A=1=2"]),
        (["A=b", "PATH=/bin"], "", ["PATH=/bin", "A=b"]),
        (["A=1", "A=2"], "", [PATH, "A=2"]),
    ],
)
def test_environments(env: list[str], home: str, found: list[str]) -> None:
    assert made({"Env": env}, user=ContainerUser(home=home))["process"]["env"] == found


@pytest.mark.parametrize(
    ("given", "cwd"), [("", "/"), ("/w", "/w"), ("w/x", "/w/x"), ("//w/", "/w"), ("/a/../..", "/")]
)
def test_directories(given: str, cwd: str) -> None:
    assert made({"WorkingDir": given})["process"]["cwd"] == cwd


@pytest.mark.parametrize("settings", [{"Cmd": ["a\0b"]}, {"Env": ["A=\0"]}, {"WorkingDir": "/\0"}])
def test_texts_that_no_process_has(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument, match="NUL"):
        made(settings)


def test_users() -> None:
    assert made()["process"]["user"] == {"uid": 0, "gid": 0}
    user = ContainerUser(5, 6, (7, 8))
    assert made(user=user)["process"]["user"] == {"uid": 5, "gid": 6, "additionalGids": [7, 8]}


def test_annotations() -> None:
    prefix = "org.opencontainers.image."
    settings = {
        "Labels": {"own": "1", f"{prefix}author": "by label", "run.oci.handler": "krun", "": "x"},
        "StopSignal": "SIGINT",
        "ExposedPorts": {"80/tcp": {}, "443": {}},
    }
    more: dict[str, Any] = {
        "author": "by field",
        "created": "2024-01-02T03:04:05Z",
        "variant": "v8",
        "os.version": "6",
        "os.features": ["a", "b"],
    }
    assert made(settings, **more)["annotations"] == {
        "own": "1",
        f"{prefix}architecture": "arm64",
        f"{prefix}author": "by label",
        f"{prefix}created": "2024-01-02T03:04:05Z",
        f"{prefix}exposedPorts": "80/tcp,443",
        f"{prefix}os": "linux",
        f"{prefix}os.features": "a,b",
        f"{prefix}os.version": "6",
        f"{prefix}stopSignal": "SIGINT",
        f"{prefix}variant": "v8",
    }
    assert unsafe_labels(image(settings)) == ["run.oci.handler"]


def test_paths_of_volumes() -> None:
    names = ["/data/", "srv/../db", "//db", "/"]
    assert volume_paths(image({"Volumes": {name: {} for name in names}})) == ["/", "/data", "/db"]
    places = ["/", "/proc", "/sys/x", "/dev/shm", "/processes", "/data"]  # noqa: S108
    assert [path for path in places if can_be_volume(path)] == ["/processes", "/data"]


def test_mounts_of_volumes() -> None:
    mounts = made(volumes=(Volume("/data", "nosuid mode=755"),))["mounts"]
    assert mounts[-1] == {
        "destination": "/data",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "mode=755"],
    }


def test_root_without_a_map_has_no_user_namespace() -> None:
    isolation = Isolation.choose(Owners(sets=True), (0, 0), rootless=False)
    linux = made(isolation=isolation)["linux"]
    assert "uidMappings" not in linux
    assert {"type": "user"} not in linux["namespaces"]
    assert linux["resources"]
    user = ContainerUser(5, 6, (7,))
    assert isolation.user(user) == user
    assert isolation.inside(8, 9) == (8, 9)


def test_rootless() -> None:
    isolation = Isolation.choose(Owners(), (1000, 1001), rootless=True)
    document = made(isolation=isolation)
    linux = document["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 1001, "size": 1}]
    assert {"type": "network"} not in linux["namespaces"]
    assert "resources" not in linux
    assert "gid=5" not in json.dumps(document["mounts"])
    assert isolation.user(ContainerUser(0, 0, (7,), "/root")) == ContainerUser(0, 0, (), "/root")
    assert isolation.user(ContainerUser(5, 6, (7,), "/home")) == ContainerUser(home="/home")
    assert isolation.inside(1000, 1001) == (0, 0)


def test_maps() -> None:
    isolation = Isolation.choose(MAPPED, (0, 0), rootless=False)
    linux = made(isolation=isolation)["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    assert {"type": "user"} in linux["namespaces"]
    assert {"type": "network"} in linux["namespaces"]
    assert isolation.user(ContainerUser(5, 6, (7, 20))) == ContainerUser(5, 6, (7,))
    assert isolation.inside(100_005, 200_006) == (5, 6)
    with pytest.raises(Unsupported, match="no range of the map has the user 5:10"):
        isolation.user(ContainerUser(5, 10))


def test_a_map_of_users_alone_keeps_groups() -> None:
    isolation = Isolation.choose(MAPPED.replace(gids=()), (0, 0), rootless=False)
    assert isolation.user(ContainerUser(5, 4000)) == ContainerUser(5, 4000)
    assert isolation.inside(100_005, 4000) == (5, 4000)
