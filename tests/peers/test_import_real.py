"""Podman and umoci unpack imported images."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry import Client

    Peer = Callable[..., str]

STATE = "a new file"
KINDS = {
    "sparse, gnu": ["--format=gnu", "-S"],
    "sparse, pax 0.0": ["--format=pax", "--sparse-version=0.0"],
    "sparse, pax 0.1": ["--format=pax", "--sparse-version=0.1"],
    "sparse, pax 1.0": ["--format=pax", "--sparse-version=1.0"],
    "incremental, gnu": ["--format=gnu", "-g", STATE],
    "incremental, pax": ["--format=pax", "-g", STATE],
    "label, gnu": ["--format=gnu", "-V", "label"],
    "label, pax": ["--format=pax", "-V", "label"],
    "all of them": ["--format=gnu", "-S", "-V", "label", "-g", STATE],
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_bytes(b"content")
    with (root / "holes").open("wb") as file:
        for place in range(30):
            file.seek(place * 100_000)
            file.write(b"x" * 5000)
    return root


def imported(client: Client, tree: Path, tmp_path: Path, options: list[str]) -> None:
    words = [tmp_path / "state" if word == STATE else word for word in options]
    with (tmp_path / "tree.tar").open("wb") as file:
        subprocess.run(["tar", "-C", tree, *words, "-c", "."], stdout=file, check=True)
    client.import_(tmp_path / "tree.tar", "mine:1")


@pytest.mark.peer("tar", "umoci")
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_umoci_unpacks_it(
    client: Client, umoci: Peer, tree: Path, tmp_path: Path, options: list[str]
) -> None:
    imported(client, tree, tmp_path, options)
    client.save("mine:1", tmp_path / "layout", format="oci")
    bundle = tmp_path / "bundle"
    name = f"{tmp_path}/layout:docker.io/library/mine:1"
    umoci("unpack", "--rootless", "--image", name, bundle)
    subprocess.run(["diff", "-r", tree, bundle / "rootfs"], check=True)


@pytest.mark.peer("tar", "podman")
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_podman_unpacks_it_and_saves_it_again(
    client: Client, podman: Peer, tree: Path, tmp_path: Path, options: list[str]
) -> None:
    imported(client, tree, tmp_path, options)
    client.save("mine:1", tmp_path / "mine.tar")
    podman("load", "--quiet", "--input", tmp_path / "mine.tar")
    image = podman("inspect", "--format", "{{.Id}}", "docker.io/library/mine:1").strip()
    assert f"sha256:{image}" == str(client.store.get("mine:1").id)
    podman("save", "--quiet", "--format", "oci-dir", "--output", tmp_path / "again", image)
    report = client.validate(f"oci:{tmp_path / 'again'}")
    assert [found for found in report.findings if found.error] == []
    podman("rmi", "--force", image)


@pytest.mark.peer("tar", "podman")
def test_podman_import_agrees(client: Client, podman: Peer, tree: Path, tmp_path: Path) -> None:
    """The same changes make the same config, for settings that podman has."""
    with (tmp_path / "tree.tar").open("wb") as file:
        subprocess.run(["tar", "-C", tree, "-c", "."], stdout=file, check=True)
    changes = [
        'CMD ["/bin/app", "--flag"]',
        "ENTRYPOINT /bin/entry with words",
        "ENV KEY=value",
        "EXPOSE 8080",
        "LABEL name=text",
        "STOPSIGNAL 2",  # podman stores a number, docker the given text
        "USER 1000:1000",
        "VOLUME /data",
        "WORKDIR /srv",
    ]
    given = [word for change in changes for word in ("--change", change)]
    podman("import", "--quiet", *given, "--message", "a note", tmp_path / "tree.tar", "theirs:1")
    theirs = json.loads(podman("inspect", "localhost/theirs:1"))[0]
    ours = client.import_(tmp_path / "tree.tar", "ours:1", changes=changes, message="a note")
    config = json.loads(ours.config.raw)
    for key in ("Cmd", "Entrypoint", "Labels", "User", "Volumes", "WorkingDir", "StopSignal"):
        assert config["config"][key] == theirs["Config"][key]
    assert config["config"]["ExposedPorts"] == theirs["Config"]["ExposedPorts"]
    assert "KEY=value" in theirs["Config"]["Env"]
    assert config["config"]["Env"] == ["KEY=value"]
    assert config["history"][0]["comment"] == theirs["History"][0]["comment"] == "a note"
