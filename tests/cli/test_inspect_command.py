"""``wherry inspect``, ``history`` of a registry, and layouts."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from index_images import ARM, IMAGE, INDEX
from waiting import wait_for
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    Stall,
    build_image,
    layout_files,
    refused_port,
    write_files,
)

if TYPE_CHECKING:
    from conftest import Wherry


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    """An index with two tags."""
    fake.add_image("team/app", INDEX, "1.9.0", "1.10.0", "latest")
    return f"{fake.host}/team/app"


class TestInspect:
    def test_it_prints_only_json(self, wherry: Wherry, name: str) -> None:
        done = wherry("inspect", name)
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert list(found) == [
            "Name", "Digest", "RepoTags", "Created", "DockerVersion", "Labels", "Architecture",
            "Os", "Layers", "LayersData", "Env",
        ]  # fmt: skip
        assert found["Digest"] == INDEX.digest
        assert found["RepoTags"] == ["1.10.0", "1.9.0", "latest"]
        assert "\\u003c1\\u003e\\u001b" in done.stdout
        assert not Path(wherry.environment["WHERRY_STORE"]).exists()

    def test_raw_bytes_are_unchanged(self, wherry: Wherry, name: str) -> None:
        assert wherry("inspect", "--raw", name).stdout.encode() == INDEX.index.data
        arm = ("--platform", "linux/arm64", name)
        assert wherry("inspect", "--raw", *arm).stdout.encode() == ARM.manifest.data
        assert wherry("inspect", "--config", "--raw", *arm).stdout.encode() == ARM.config.data
        assert wherry("manifest", name).stdout.encode() == INDEX.index.data
        assert wherry("manifest", *arm).stdout.encode() == ARM.manifest.data
        assert wherry("config", *arm).stdout.encode() == ARM.config.data
        assert wherry("digest", name).stdout == f"{INDEX.digest}\n"
        assert wherry("digest", *arm).stdout == f"{ARM.digest}\n"

    def test_all_platforms_with_their_sizes(self, wherry: Wherry, name: str) -> None:
        found = json.loads(wherry("inspect", "--all-platforms", name).stdout)
        assert found["Digest"] == INDEX.digest
        assert [(each["Platform"], each["Size"]) for each in found["Platforms"]] == [
            ("linux/amd64", sum(piece.size for piece in IMAGE.blobs())),
            ("linux/arm64", sum(piece.size for piece in ARM.blobs())),
        ]
        form = "{{range .Platforms}}{{.Platform}} {{end}}"
        done = wherry("inspect", "--all-platforms", "--format", form, name)
        assert done.stdout == "linux/amd64 linux/arm64 \n"

    def test_templates(self, wherry: Wherry, name: str) -> None:
        form = '{{.Digest}}\\n{{join .Layers ","}} {{json .Env}} {{index .Labels "a.b"}}'
        done = wherry("inspect", "--no-tags", "-f", form, name)
        assert done.stdout == (f'{INDEX.digest}\n{IMAGE.layers[0].digest} ["A=b"] <1>\x1b[31m\n')
        done = wherry("inspect", "--config", "-f", "{{.OS}} {{len .History}}", name)
        assert done.stdout == "linux 1\n"

    @pytest.mark.parametrize(
        ("form", "column"), [("x {{.Nope}}", 4), ("{{.Name", 0), ("a\\n {{nope}}", 3)]
    )
    def test_an_invalid_template_is_shown_with_a_caret(
        self, wherry: Wherry, name: str, form: str, column: int
    ) -> None:
        done = wherry("inspect", "--format", form, name)
        assert (done.returncode, done.stdout) == (2, "")
        message, _, caret = done.stderr.splitlines()[:3]
        assert message.startswith("wherry: invalid template: ")
        assert caret == " " * (column + 2) + "^"

    @pytest.mark.parametrize(
        "options",
        [
            ("--raw", "--format", "x"),
            ("--all-platforms", "--raw"),
            ("--all-platforms", "--platform", "linux/arm64"),
        ],
    )
    def test_options_that_cannot_be_combined(
        self, wherry: Wherry, name: str, options: tuple[str, ...]
    ) -> None:
        assert wherry("inspect", *options, name).returncode == 2

    def test_a_denied_tag_list_is_a_warning(
        self, wherry: Wherry, name: str, fake: FakeRegistry
    ) -> None:
        fake.inject(Fault(FixedReply(403, {}, b""), path="/tags/"))
        done = wherry("inspect", f"{name}:1.9.0")
        assert (done.returncode, done.stderr.count("\n")) == (0, 1)
        assert "the tags cannot be listed" in done.stderr
        assert json.loads(done.stdout)["RepoTags"] is None

    @pytest.mark.parametrize(
        ("command", "code"),
        [("inspect", 3), ("digest", 3), ("manifest", 3), ("config", 3), ("tags", 3)],
    )
    def test_a_missing_name(
        self, wherry: Wherry, fake: FakeRegistry, command: str, code: int
    ) -> None:
        done = wherry(command, f"{fake.host}/nothing")
        assert (done.returncode, done.stdout) == (code, "")
        _, *advice = done.stderr.splitlines()
        assert ["--legacy" in line for line in advice] == [True] * (command in {"inspect", "tags"})

    def test_a_retry_of_two_requests_is_reported_once(self, wherry: Wherry) -> None:
        done = wherry("inspect", "--retries=3", f"127.0.0.1:{refused_port()}/app")
        assert done.returncode == 6
        *retries, last = done.stderr.splitlines()
        assert last.startswith("wherry: ")
        assert len(retries) == 2, retries
        assert all(line.startswith("Retrying in ") for line in retries)

    @pytest.mark.parametrize("path", ["/manifests/", "/tags/"])
    def test_a_retry_of_one_request_is_reported(
        self, wherry: Wherry, name: str, fake: FakeRegistry, path: str
    ) -> None:
        fake.inject(Fault(HangUp(), path=path, times=2))
        done = wherry("inspect", name)
        assert done.returncode == 0, done.stderr
        assert [line[:12] for line in done.stderr.splitlines()] == ["Retrying in "] * 2

    @pytest.mark.parametrize("path", ["/manifests/", "/tags/"])
    def test_an_interrupt_ends_it_at_once(
        self, wherry: Wherry, name: str, fake: FakeRegistry, path: str
    ) -> None:
        fault = fake.inject(Fault(Stall(after=5, seconds=60), path=path))
        process = wherry.start("inspect", name)
        wait_for(lambda: fault.count)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=20)
        assert (process.returncode, out, said) == (130, "", "wherry: interrupted\n")

    def test_control_characters_are_replaced_on_a_terminal(self, wherry: Wherry, name: str) -> None:
        master, slave = pty.openpty()
        form = '{{index .Labels "a.b"}}'
        subprocess.run(
            [sys.executable, "-m", "wherry", "inspect", "--no-tags", "-f", form, name],
            stdout=slave, env=wherry.environment, timeout=30, check=True,
        )  # fmt: skip
        os.close(slave)
        assert os.read(master, 1000).decode() == "<1>\N{REPLACEMENT CHARACTER}[31m\r\n"
        os.close(master)


def test_history_of_a_remote_image(wherry: Wherry, name: str) -> None:
    done = wherry("history", "--platform", "linux/arm64", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert ARM.layers[0].digest[7:19] in done.stdout
    assert wherry("history", f"docker://{name}").returncode == 0


def test_a_layout_is_read_like_a_registry(wherry: Wherry, tmp_path: Path) -> None:
    signature = build_image(
        [], manifest_extra={"artifactType": "x/sig", "subject": INDEX.index.descriptor()}
    )
    layout = write_files(tmp_path / "layout", layout_files({"v1": INDEX, "sig": signature}))
    address = f"oci:{layout}:v1"
    assert wherry("digest", address).stdout == f"{INDEX.digest}\n"
    assert wherry("manifest", address).stdout.encode() == INDEX.index.data
    assert wherry("config", "--platform", "linux/arm64", address).stdout.encode() == ARM.config.data
    assert wherry("inspect", "-f", "{{.Architecture}}", address).stdout == "amd64\n"
    assert len(wherry("history", address).stdout.splitlines()) == 2
    assert len(json.loads(wherry("referrers", "--json", address).stdout)) == 1
    layer = IMAGE.layers[0]
    done = wherry("blob", "-o", str(tmp_path / "blob"), f"oci:{layout}", layer.digest)
    assert (done.returncode, (tmp_path / "blob").read_bytes()) == (0, layer.data)
