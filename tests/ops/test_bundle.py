"""Bundles: the files of an image, and a config for a runtime."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from trees import member, tar
from wherry.content.events import Event, Status
from wherry.errors import InvalidDocument, NotFound, UnsafeArchive, Unsupported
from wherry.testing import build_image, layout_files, write_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client
    from wherry.testing import FakeRegistry

    Layout = Callable[..., str]

IS_ROOT = os.geteuid() == 0
PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
GROUP = b"extra:x:20:app\n"
FILES = tar(
    (member("etc/passwd", mode=0o644), PASSWD),
    (member("etc/group", mode=0o644), GROUP),
    member("data", tarfile.DIRTYPE, mode=0o2750, uid=7, gid=8),
    member("full", tarfile.DIRTYPE, mode=0o700),
    member("link", tarfile.SYMTYPE, linkname="../proc"),
    (member("full/file"), b"x"),
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return a function that makes an image with these settings of a container."""

    def make(*layers: bytes, **settings: Any) -> str:
        image = build_image(layers or [FILES], config_extra={"config": settings})
        write_files(tmp_path / "layout", layout_files({"x": image}))
        (tmp_path / "place").mkdir(exist_ok=True)
        return f"oci:{tmp_path / 'layout'}:x"

    return make


def config_of(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "config.json").read_text(encoding="ascii"))
    return found


def test_files_and_config(client: Client, layout: Layout, tmp_path: Path) -> None:
    bundle = tmp_path / "place" / "box"
    client.unpack(layout(Cmd=["/é"]), bundle, bundle=True)
    assert sorted(each.name for each in bundle.iterdir()) == ["config.json", "rootfs"]
    assert (bundle / "rootfs" / "etc" / "passwd").read_bytes() == PASSWD
    found = config_of(bundle)
    assert found["root"] == {"path": "rootfs"}
    assert found["process"]["args"] == ["/é"]
    assert "HOME=/root" in found["process"]["env"]


def test_it_has_the_mode_of_a_new_directory(client: Client, layout: Layout, tmp_path: Path) -> None:
    bundle, usual = tmp_path / "box", tmp_path / "usual"
    usual.mkdir()
    client.unpack(layout(), bundle, bundle=True)
    assert bundle.stat().st_mode == usual.stat().st_mode
    assert stat.S_IMODE((bundle / "config.json").stat().st_mode) & ~0o644 == 0


def test_from_a_registry(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add_image("app", build_image([FILES], cmd=["/app"]), "1")
    client.unpack(f"{fake.host}/app:1", tmp_path / "box", bundle=True)
    assert config_of(tmp_path / "box")["process"]["args"] == ["/app"]


@pytest.mark.skipif(not IS_ROOT, reason="only root can be another user")
def test_a_user_of_the_image(client: Client, layout: Layout, tmp_path: Path) -> None:
    address = layout(User="app")
    client.unpack(address, tmp_path / "box", bundle=True)
    assert config_of(tmp_path / "box")["process"]["user"] == {
        "uid": 1000,
        "gid": 1001,
        "additionalGids": [20],
    }
    ranges = [(0, 100_000, 2000)]
    client.unpack(address, tmp_path / "mapped", bundle=True, uid_map=ranges, gid_map=ranges)
    assert config_of(tmp_path / "mapped")["process"]["user"]["uid"] == 1000
    assert (tmp_path / "mapped" / "rootfs" / "data").stat().st_uid == 100_007
    with pytest.raises(Unsupported, match="has the user 1000:1001"):
        client.unpack(address, tmp_path / "x", bundle=True, uid_map=[(0, 1, 100)])


@pytest.mark.parametrize(("user", "kind"), [("nope", "user"), ("app:nope", "group")])
def test_an_unknown_user_leaves_nothing(
    client: Client, layout: Layout, tmp_path: Path, user: str, kind: str
) -> None:
    with pytest.raises(NotFound, match=f"the image has no {kind} 'nope'"):
        client.unpack(layout(User=user), tmp_path / "place" / "box", bundle=True)
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../../../../../../../../../etc/passwd", "/proc/1/root/etc"]
)
def test_users_of_the_host_are_not_read(
    client: Client, layout: Layout, tmp_path: Path, target: str
) -> None:
    link = member("etc/passwd", tarfile.SYMTYPE, linkname=target)
    circle = member("etc/group", tarfile.SYMTYPE, linkname="/etc/none")
    with pytest.raises((NotFound, UnsafeArchive)) as caught:
        client.unpack(layout(tar(link, circle), User="root"), tmp_path / "box", bundle=True)
    assert isinstance(caught.value, UnsafeArchive) == (target != "/proc/1/root/etc")
    assert not (tmp_path / "box").exists()


@pytest.mark.timeout(30)
def test_a_fifo_is_not_read(client: Client, layout: Layout, tmp_path: Path) -> None:
    address = layout(tar(member("etc/passwd", tarfile.FIFOTYPE)))
    with pytest.raises(UnsafeArchive, match="not a regular file") as caught:
        client.unpack(address, tmp_path / "box", bundle=True)
    assert caught.value.member == "/etc/passwd"


def test_volumes(client: Client, layout: Layout, tmp_path: Path) -> None:
    volumes: dict[str, dict[str, str]] = {
        name: {} for name in ("/data", "/full", "/none", "/etc/passwd", "/proc", "/link/x")
    }
    events: list[Event] = []
    address = layout(Volumes=volumes, Cmd=["x"])
    client.unpack(address, tmp_path / "box", bundle=True, on_event=events.append)
    found = {
        each["destination"]: each["options"][3:]
        for each in config_of(tmp_path / "box")["mounts"]
        if each["source"] == "tmpfs" and each["destination"] != "/dev"
    }
    uid, gid = (7, 8) if IS_ROOT else (0, 0)
    assert found == {
        "/data": ["mode=2750", f"uid={uid}", f"gid={gid}"],
        "/etc/passwd": ["mode=755"],
        "/full": ["mode=700", "uid=0", "gid=0", "tmpcopyup"],
        "/none": ["mode=755"],
    }
    warnings = [each.message for each in events if each.status is Status.WARNING]
    reason = "cannot be a volume: the runtime has its own mounts there"
    assert warnings == [f"'/link/x' {reason}", f"'/proc' {reason}"]


def test_what_is_left_out_is_told(client: Client, layout: Layout, tmp_path: Path) -> None:
    events: list[Event] = []
    address = layout(Labels={"run.oci.handler": "krun"}, User="app")
    client.unpack(address, tmp_path / "box", bundle=True, rootless=True, on_event=events.append)
    warnings = [each.message for each in events if each.status is Status.WARNING]
    assert [each.partition(":")[0] for each in warnings] == [
        "the user 1000",
        "the label 'run.oci.handler' is left out",
        "the image has no command",
    ]
    found = config_of(tmp_path / "box")
    assert found["process"]["args"] == ["sh"]
    assert found["process"]["user"] == {"uid": 0, "gid": 0}
    assert found["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    owners = {each.lstat().st_uid for each in (tmp_path / "box").rglob("*")}
    assert owners == {os.geteuid()}


def test_settings_that_cannot_be_read_are_told(
    client: Client, layout: Layout, tmp_path: Path
) -> None:
    events: list[Event] = []
    address = layout(Cmd=["/app"], Env=5)
    client.unpack(address, tmp_path / "box", bundle=True, on_event=events.append)
    warnings = [each.message for each in events if each.status is Status.WARNING]
    assert len(warnings) == 1
    assert "config.Env" in warnings[0]


def test_images_that_are_no_bundles(client: Client, layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="NUL"):
        client.unpack(layout(Cmd=["\0"]), tmp_path / "box", bundle=True)
    image = build_image([FILES], os="windows")
    write_files(tmp_path / "other", layout_files({"x": image}))
    address = f"oci:{tmp_path / 'other'}:x"
    with pytest.raises(Unsupported, match="image for windows"):
        client.unpack(address, tmp_path / "box", bundle=True, platform="windows/amd64")
    assert not (tmp_path / "box").exists()


def test_a_bundle_is_replaced(client: Client, layout: Layout, tmp_path: Path) -> None:
    client.unpack(layout(Cmd=["1"]), tmp_path / "box", bundle=True)
    client.unpack(layout(Cmd=["2"]), tmp_path / "box", bundle=True, replace=True)
    assert config_of(tmp_path / "box")["process"]["args"] == ["2"]


@pytest.mark.parametrize(
    "options", [{"layer": 1}, {"strip_components": 1}, {"bundle": False, "rootless": True}]
)
def test_options_that_cannot_be_combined(
    client: Client, layout: Layout, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="bundle"):
        client.unpack(layout(), tmp_path / "box", **{"bundle": True} | options)


def test_the_command(wherry: Wherry, layout: Layout, tmp_path: Path) -> None:
    bundle = str(tmp_path / "box")
    done = wherry("unpack", "--bundle", "--rootless", layout(Cmd=["/app"]), bundle)
    assert (done.returncode, done.stdout) == (0, "")
    assert config_of(tmp_path / "box")["linux"]["uidMappings"]
    for words, text in (
        (["--rootless"], "--rootless needs --bundle"),
        (["--bundle", "--layer", "1"], "cannot be combined with --layer"),
        (["--bundle", "--strip-components", "1"], "cannot be combined with --layer"),
    ):
        done = wherry("unpack", *words, "x", bundle)
        assert done.returncode == 2
        assert text in done.stderr
