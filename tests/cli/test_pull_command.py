"""``wherry pull``: results, progress, and names that fail."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command_images import IMAGE, TARS
from wherry.testing import (
    Cut,
    FakeRegistry,
    Fault,
    build_image,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    import wherry as library
    from conftest import Wherry

STATUSES = {
    "resolved",
    "pulling",
    "waiting",
    "downloading",
    "verifying",
    "downloaded",
    "exists",
    "complete",
    "retrying",
    "digest",
    "warning",
    "done",
}


def test_pull_continues_after_a_name_that_fails(wherry: Wherry, fake: FakeRegistry) -> None:
    images = [build_image([tar_layer({"a": text})]) for text in (b"1", b"2")]
    for tag, image in zip(("one", "two"), images, strict=True):
        fake.add_image("app", image, tag)
    host = fake.host
    names = (f"{host}/app:one", f"{host}/app:no", f"{host}/none:x", f"{host}/app:two")
    for progress in ("plain", "tty", "json"):
        done = wherry("pull", "--progress", progress, *names)
        assert done.returncode == 3
        assert done.stdout.split() == [image.id for image in images]
        errors = [line for line in done.stderr.splitlines() if line.startswith("wherry: ")]
        if progress == "json":
            events = [json.loads(line) for line in done.stderr.splitlines()]
            errors = [f"wherry: {e['message']}" for e in events if e["status"] == "error"]
        assert [error.partition(": not found")[0] for error in errors] == [
            f"wherry: {name}" for name in names[1:3]
        ]
    # Invalid names are refused before any request is sent.
    asked = len(fake.requests)
    assert wherry("pull", names[0], "app:").returncode == 2
    assert len(fake.requests) == asked


def test_only_ids_go_to_stdout(wherry: Wherry, name: str) -> None:
    done = wherry("pull", name)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n")
    lines = done.stderr.splitlines()
    assert lines[0] == "t: Pulling from team/app"
    assert lines[-2:] == [
        f"Digest: {IMAGE.digest}",
        f"Status: Downloaded newer image for {name}",
    ]
    layers = lines[1:-2]
    assert len(layers) == 2
    for piece in IMAGE.layers:
        short = piece.digest.removeprefix("sha256:")[:12]
        assert any(line.startswith(f"{short}  Pull complete") for line in layers)


def test_existing_layers_are_reported(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    wherry("pull", "-q", name)
    fake.add_image("team/app", build_image([TARS[0], TARS[2]]), "u")
    done = wherry("pull", name.replace(":t", ":u"))
    short = IMAGE.layers[0].digest.removeprefix("sha256:")[:12]
    assert f"{short}  Already exists" in done.stderr.splitlines()


def test_docker_scheme(wherry: Wherry, name: str) -> None:
    assert wherry("pull", f"docker://{name}").stdout == f"{IMAGE.id}\n"


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_quiet(wherry: Wherry, name: str, option: str) -> None:
    for _ in range(2):
        done = wherry("pull", option, name)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{IMAGE.id}\n", "")


def test_json_progress(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    largest = max(IMAGE.layers, key=lambda piece: piece.size)
    fake.inject(Fault(Cut(after=5000), path=largest.digest, times=1))
    done = wherry("pull", "--progress=json", name)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events.pop() == {"status": "success", "reference": "", "code": 0}
    events = [event for event in events if event["status"] != "summary"]
    for event in events:
        assert set(event) <= {
            "status", "reference", "digest", "current", "total", "seconds", "message",
        }  # fmt: skip
        assert event["status"] in STATUSES
        assert event["reference"] == name
        assert ("current" in event) == ("total" in event)
    kinds = [event["status"] for event in events]
    assert kinds[0] == "resolved"
    assert kinds[-2:] == ["digest", "done"]
    assert events[-2]["digest"] == IMAGE.digest
    assert events[-1]["message"] == f"Downloaded newer image for {name}"
    (retry,) = [event for event in events if event["status"] == "retrying"]
    assert retry["digest"] == largest.digest
    assert retry["seconds"] > 0
    assert retry["message"]
    for piece in IMAGE.layers:
        of_layer = [event for event in events if event.get("digest") == piece.digest]
        assert of_layer[0]["status"] == "pulling"
        assert of_layer[-1] == {
            "status": "complete",
            "reference": name,
            "digest": piece.digest,
            "current": piece.size,
            "total": piece.size,
        }


@pytest.mark.parametrize("form", ["auto", "plain", "tty", "json"])
def test_quiet_leaves_warnings_in_every_form(wherry: Wherry, fake: FakeRegistry, form: str) -> None:
    fake.add_image("odd", build_image(TARS[:1], architecture="s390x"), "t")
    done = wherry("pull", "-q", "--progress", form, f"{fake.host}/odd:t")
    assert done.returncode == 0
    warning, *last = done.stderr.splitlines()
    assert [json.loads(line)["status"] for line in last] == ["success"] * (form == "json")
    said = json.loads(warning)["message"] if form == "json" else warning
    assert "the image is for linux/s390x" in said
    assert warning.startswith("{" if form == "json" else "Warning: ")


def test_json_progress_counts_up(wherry: Wherry, fake: FakeRegistry) -> None:
    big = build_image([tar_layer(pseudo_random_files(7, 2_000_000, 2))])
    fake.add_image("big", big, "t")
    done = wherry("pull", "--progress=json", f"{fake.host}/big:t")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    counts = [
        event["current"] for event in events if event["status"] in {"downloading", "verifying"}
    ]
    assert counts == sorted(counts)
    assert counts[-1] == big.layers[0].size


def test_tty_progress(wherry: Wherry, name: str) -> None:
    done = wherry("pull", "--progress=tty", name)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n")
    last = done.stderr.splitlines()[-1]
    # A slow machine draws live lines, which are erased before the last line is written.
    assert last.rpartition("\x1b[2K")[2] == f"Status: Downloaded newer image for {name}"


def test_a_full_disk_keeps_the_part_file(
    wherry: Wherry, fake: FakeRegistry, store: library.Store
) -> None:
    big = build_image([tar_layer(pseudo_random_files(8, 1_500_000, 2))])
    fake.add_image("big", big, "t")
    name = f"{fake.host}/big:t"
    # No file may be larger than 300 KiB. A write beyond fails, as on a full disk.
    limited = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 600; exec "$@"', "sh", sys.executable, "-m", "wherry", "pull",
         "-q", name],
        capture_output=True,
        text=True,
        env=wherry.environment,
        timeout=30,
        check=False,
    )  # fmt: skip
    assert (limited.returncode, limited.stdout) == (1, "")
    first, *hints = limited.stderr.splitlines()
    assert first.startswith("wherry: ")
    assert "too large" in first
    assert all(hint.startswith("  ") for hint in hints)
    assert store.images() == []
    kept = 600 * 512
    done = wherry("pull", "-q", name)
    assert (done.returncode, done.stdout) == (0, f"{big.id}\n")
    ranges = [r.headers.get("range") for r in fake.requests if big.layers[0].digest in r.path]
    assert ranges == [None, f"bytes={kept}-"]
