"""``wherry inspect``, ``tags``, ``blob`` and ``referrers``."""

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

from waiting import wait_for
from wherry.errors import InvalidReference
from wherry.testing import (
    Corrupt,
    Cut,
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    Stall,
    build_image,
    build_index,
    layout_files,
    refused_port,
    sha256,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from conftest import Wherry
    from wherry import Client

IMAGE = build_image([tar_layer({"a": b"1"})], labels={"a.b": "<1>\x1b[31m"}, env=["A=b"])
ARM = build_image([tar_layer({"a": b"2"})], architecture="arm64")
INDEX = build_index(
    [
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
        (ARM, {"os": "linux", "architecture": "arm64"}),
    ]
)


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
        assert len(done.stderr.splitlines()) == 1

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


class TestTags:
    @pytest.mark.parametrize("more", [":latest", f"@{INDEX.digest}", f":1@{INDEX.digest}"])
    def test_a_tag_or_digest_is_refused(
        self, wherry: Wherry, name: str, fake: FakeRegistry, client: Client, more: str
    ) -> None:
        done = wherry("tags", name + more)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"wherry: {name}{more}: expected a name without a tag or digest\n"
            "  see `wherry tags --help`\n"
        )
        for call in (client.tags, client.pull_all_tags):
            with pytest.raises(InvalidReference, match="neither tag nor digest") as caught:
                call(name + more)
            assert caught.value.position == len(name)
        assert fake.requests == []

    def test_one_tag_per_line(self, wherry: Wherry, name: str) -> None:
        assert wherry("tags", name).stdout == "1.10.0\n1.9.0\nlatest\n"
        assert wherry("tags", "--sort", "version", name).stdout == "latest\n1.9.0\n1.10.0\n"
        assert wherry("tags", "--filter", ">=1.10", name).stdout == "1.10.0\n"
        assert json.loads(wherry("tags", "--json", "--filter", r"^1\.9", name).stdout) == ["1.9.0"]
        assert wherry("tags", "--filter", "none", name).stdout == ""

    def test_an_invalid_filter_is_shown_with_a_caret(self, wherry: Wherry, name: str) -> None:
        done = wherry("tags", "--filter", "semver:>=x", name)
        assert done.returncode == 0  # ``x`` is any version
        done = wherry("tags", "--filter", "semver:>=y", name)
        assert done.returncode == 2
        assert done.stderr.splitlines()[1:] == ["  semver:>=y", "           ^"]

    @pytest.mark.parametrize("address", ["store:app", "oci:layout"])
    def test_other_addresses_have_no_tags(self, wherry: Wherry, address: str) -> None:
        assert wherry("tags", address).returncode == 2


class TestBlob:
    def test_to_a_pipe_and_to_a_file(
        self, wherry: Wherry, name: str, fake: FakeRegistry, tmp_path: Path
    ) -> None:
        data = bytes(range(256)) * 2000
        digest = fake.add_blob(data)
        fake.inject(Fault(Cut(after=100_000), path="/blobs/", times=1))
        done = subprocess.run(
            [sys.executable, "-m", "wherry", "blob", f"{name}@{digest}"],
            capture_output=True, env=wherry.environment, timeout=30, check=True,
        )  # fmt: skip
        assert done.stdout == data
        target = tmp_path / "layer"
        target.write_bytes(b"before")
        assert wherry("blob", "-o", str(target), name, digest).returncode == 0
        assert target.read_bytes() == data
        (tmp_path / "plain").touch()  # with the mode that the umask leaves
        assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_a_damaged_blob_leaves_no_file(
        self, wherry: Wherry, name: str, fake: FakeRegistry, tmp_path: Path
    ) -> None:
        digest = fake.add_blob(b"x" * 500_000)
        fake.inject(Fault(Corrupt(400_000), path="/blobs/"))
        (tmp_path / "out").mkdir()
        target = tmp_path / "out" / "layer"
        done = wherry("blob", "-o", str(target), name, digest)
        assert done.returncode == 5
        assert digest in done.stderr
        assert list((tmp_path / "out").iterdir()) == []
        piped = [sys.executable, "-m", "wherry", "blob", name, digest]
        streamed = subprocess.run(piped, capture_output=True, env=wherry.environment, check=False)
        assert (streamed.returncode, len(streamed.stdout)) == (5, 500_000)

    def test_a_device_is_written_to_and_stays(self, wherry: Wherry, name: str) -> None:
        assert wherry("blob", "-o", os.devnull, name, IMAGE.layers[0].digest).returncode == 0
        assert Path(os.devnull).is_char_device()

    def test_a_digest_that_is_not_a_blob(self, wherry: Wherry, name: str, tmp_path: Path) -> None:
        assert wherry("blob", name).returncode == 2
        assert wherry("blob", name, "sha256:1").returncode == 2
        assert wherry("blob", name, sha256(b"nothing")).returncode == 3
        nowhere = str(tmp_path / "no" / "layer")
        done = wherry("blob", "-o", nowhere, name, IMAGE.layers[0].digest)
        assert done.returncode == 1
        assert nowhere in done.stderr


class TestReferrers:
    def test_a_table_and_json(self, wherry: Wherry) -> None:
        with FakeRegistry(referrers=True) as fake:
            fake.add_image("app", IMAGE, "t")
            extra = {
                "artifactType": "application/vnd.example.sbom",
                "subject": IMAGE.manifest.descriptor(),
                "annotations": {"a": "b"},
            }
            artifact = build_image([], manifest_extra=extra)
            fake.add_image("app", artifact)
            done = wherry("referrers", f"{fake.host}/app:t")
            header, row = done.stdout.splitlines()
            assert header.split() == ["ARTIFACT", "TYPE", "DIGEST", "SIZE"]
            assert row.split()[:2] == ["application/vnd.example.sbom", artifact.digest]
            (entry,) = json.loads(wherry("referrers", "--json", f"{fake.host}/app:t").stdout)
            assert entry == artifact.manifest.descriptor() | {
                "artifactType": "application/vnd.example.sbom",
                "annotations": {"a": "b"},
            }
            none = wherry("referrers", "--artifact-type", "x/y", "--json", f"{fake.host}/app:t")
            assert json.loads(none.stdout) == []


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
